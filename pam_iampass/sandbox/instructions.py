"""The configuration that leads a machine's logins to a sandbox, ready to paste."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

import yaml

from pam_iampass.sandbox.sandbox import Sandbox

_FOLDER = "/etc/iampass"
_SECRET = f"{_FOLDER}/application-secret"
_CA = f"{_FOLDER}/sandbox-ca.pem"


def configuration_text(sandbox: Sandbox, users: Iterable[str]) -> str:
    """Two files and the two commands that put secret and certificate next to them."""
    settings = {
        "application_id": sandbox.application_id,
        "application_secret_file": _SECRET,
        "server": sandbox.url,
        "ca_file": _CA,
        "users": f"{_FOLDER}/users.yaml",
    }
    table = {user: user for user in users}
    return "\n".join(
        [
            f"# {_FOLDER}/iampass.yaml",
            _yaml(settings),
            f"# {_FOLDER}/users.yaml: a name on this machine, and its user here",
            _yaml(table) if table else "# alice: alice    (start the sandbox with --user alice)\n",
            "# as root",
            f"install -o root -g iampass -m 0640 {_quoted(sandbox.secret_file)} {_SECRET}",
            f"install -o root -g root -m 0644 {_quoted(sandbox.ca_file)} {_CA}",
        ]
    )


def control_text(sandbox: Sandbox) -> str:
    """How a script answers requests; the token stays out of every argument list."""
    token = f"printf 'Authorization: Bearer '; cat {_quoted(sandbox.control_token_file)}"
    curl = f"curl --cacert {_quoted(sandbox.ca_file)} -H @-"
    return "\n".join(
        [
            "# answer requests from a script: GET …/sandbox/requests lists them",
            f"{{ {token}; }} | {curl} -X POST {sandbox.url}/sandbox/requests/1/approve",
        ]
    )


def phone_text(sandbox: Sandbox, private: bool) -> str:
    """Where the phone is. Its address holds the key, so it stands in full only where output is private."""
    if not private:
        return (
            f"# the phone, in a browser: its address, with a key, is in {_quoted(sandbox.phone_address_file)}"
        )
    return "\n".join(
        [
            "# the phone, in a browser:",
            sandbox.phone_url,
            "# the browser will ask about the certificate, which is the sandbox's own; its SHA-256 fingerprint:",
            f"# {sandbox.certificate_fingerprint}",
        ]
    )


def _yaml(value: dict[str, str]) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1000))


def _quoted(path: object) -> str:
    return shlex.quote(str(path))

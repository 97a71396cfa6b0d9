"""How a machine's logins are led to a sandbox: the settings, and commands that are ready to paste."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from pam_iampass.sandbox.sandbox import Sandbox

_FOLDER = "/etc/iampass"
_SECRET = f"{_FOLDER}/application-secret"
_CA = f"{_FOLDER}/sandbox-ca.pem"


def settings_text(application_id: str, url: str) -> str:
    """The iampass.yaml of a machine whose logins go to the sandbox."""
    settings = {
        "application_id": application_id,
        "application_secret_file": _SECRET,
        "server": url,
        "ca_file": _CA,
        "users": f"{_FOLDER}/users.yaml",
        "services": {"su": {"approver": "ruser"}, "su-l": {"approver": "ruser"}},
    }
    return str(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=1000))


def configuration_text(sandbox: Sandbox, users: Iterable[str]) -> str:
    """The commands that lead this machine's logins to the sandbox, up to a first sudo."""
    install = "install -o root -g"
    tokens = [f"pam-iampass user add {_quoted(user)} --token {_quoted(user)}" for user in users]
    return "\n".join(
        [
            f"# as root: lead this machine's logins here (what {_FOLDER}/iampass.yaml was is kept beside it)",
            f"{install} iampass -m 0640 --backup=numbered {_quoted(sandbox.settings_file)} {_FOLDER}/iampass.yaml",
            f"{install} iampass -m 0640 {_quoted(sandbox.secret_file)} {_SECRET}",
            f"{install} root -m 0644 {_quoted(sandbox.ca_file)} {_CA}",
            *(tokens or ["# (start the sandbox with --user alice, and it says how alice gets a token)"]),
            "pam-iampass check",
            "",
            "# as root: let sudo ask the phone, for ten minutes",
            "pam-iampass setup sudo --try 10",
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


def _quoted(path: object) -> str:
    return shlex.quote(str(path))

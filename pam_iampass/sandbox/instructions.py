"""The commands that make a machine's logins use a sandbox, ready to paste."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pam_iampass.sandbox.sandbox import Sandbox


def configuration_text(sandbox: Sandbox, users: Collection[str]) -> str:
    """The commands from the configuration to a first sudo."""
    return "\n".join(
        [
            "# as root: make this machine's logins use the sandbox; `pam-iampass sandbox leave` undoes it",
            f"pam-iampass sandbox use {_quoted(sandbox.folder)}",
            *([] if users else ["# (start the sandbox with --user alice, and alice has a phone)"]),
            "pam-iampass check",
            "",
            "# as root: make sudo ask the phone, for ten minutes",
            "pam-iampass setup sudo --try 10",
        ]
    )


def control_text(sandbox: Sandbox) -> str:
    """How a script answers requests, without the token in an argument list."""
    token = f"printf 'Authorization: Bearer '; cat {_quoted(sandbox.control_token_file)}"
    curl = f"curl --cacert {_quoted(sandbox.ca_file)} -H @-"
    return (
        "# answer requests from a script: GET …/sandbox/requests lists them\n"
        f"{{ {token}; }} | {curl} -X POST {sandbox.url}/sandbox/requests/1/approve"
    )


def phone_text(sandbox: Sandbox, private: bool) -> str:
    """The address of the phone page. It contains the key, so only private output shows it."""
    if not private:
        return (
            f"# the phone, in a browser: its address, with a key, is in {_quoted(sandbox.phone_address_file)}"
        )
    return (
        f"# the phone, in a browser:\n{sandbox.phone_url}\n"
        "# the browser warns about the sandbox's own certificate, with this SHA-256 fingerprint:\n"
        f"# {sandbox.certificate_fingerprint}"
    )


def _quoted(value: object) -> str:
    return shlex.quote(str(value))

"""What `pam-iampass sandbox use` writes into the settings and the user table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from pam_iampass.config.validation import name_error, token_error
from pam_iampass.setup.sandbox_folder import SandboxAccess
from pam_iampass.system.accounts import Accounts, UnknownAccount


def users(access: SandboxAccess) -> list[str]:
    """The sandbox's users who have an account here, in order."""
    found = []
    accounts = Accounts()
    for user in access.users:
        try:
            if not name_error(user) and not token_error(user) and accounts.named(user).name == user:
                found.append(user)
        except UnknownAccount:
            continue
    return found


def names_application(content: bytes | None) -> bool:
    """Whether the settings name an application; also for settings that only look like it."""
    return re.search(rb"application_id['\"]?[ \t]*:[ \t]*[^\s#~]", content or b"") is not None


def merged(before: bytes | None, access: SandboxAccess, folder: str) -> bytes:
    """The settings with the keys that lead to the sandbox replaced; the others stay.

    :param folder: has the secret, the certificate and the user table.
    """
    text = (before or b"").decode("utf-8", "surrogateescape")
    wanted = {
        "application_id": access.application_id,
        "application_secret_file": f"{folder}/application-secret",
        "server": access.url,
        "ca_file": f"{folder}/ca.pem",
        "users": f"{folder}/users.yaml",
    }
    for key, value in wanted.items():
        line = f"{key}: {json.dumps(value)}"
        text, count = re.subn(rf"(?m)^{key}[ \t]*:.*$", line, text)
        if not count:
            text += ("" if text.endswith("\n") or not text else "\n") + f"{line}\n"
    text = re.sub(r"(?m)^proxy[ \t]*:.*$", "proxy: null", text)
    return text.encode("utf-8", "surrogateescape")


def table(users: Iterable[str]) -> str:
    """The user table, in which each token is the user's name, as in the sandbox."""
    import yaml

    return str(
        yaml.safe_dump({user: user for user in users}, allow_unicode=True, sort_keys=False, width=10_000)
    )

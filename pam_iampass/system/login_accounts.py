"""The accounts of the machine that people log in with."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterable
from pathlib import Path

LOGIN_DEFS = Path("/etc/login.defs")

_LOWEST, _HIGHEST = 1000, 60000  # defaults of useradd(8)
_NO_SHELLS = frozenset({"nologin", "false", "true", "sync", "halt", "shutdown"})


def login_accounts(
    accounts: Iterable[pwd.struct_passwd] | None = None, login_defs: Path = LOGIN_DEFS
) -> list[str]:
    """The names of root and of every account of a person, sorted.

    A person's user id lies between UID_MIN and UID_MAX of `login_defs`, and the account has a login shell. By
    default `accounts` come from NSS: getpwent(3) lists none of a directory service that does not enumerate, as sssd
    by default.
    """
    lowest, highest = _range(login_defs)
    people = set()
    for entry in pwd.getpwall() if accounts is None else accounts:
        shell = entry.pw_shell or "/bin/sh"  # passwd(5)
        if (entry.pw_uid == 0 or lowest <= entry.pw_uid <= highest) and is_login_shell(shell):
            people.add(entry.pw_name)
    return sorted(people)


def is_login_shell(shell: str) -> bool:
    """Whether the shell is a program with which a user can work."""
    return os.path.basename(shell) not in _NO_SHELLS and os.path.isfile(shell) and os.access(shell, os.X_OK)


def _range(login_defs: Path) -> tuple[int, int]:
    """UID_MIN and UID_MAX."""
    try:
        text = login_defs.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    limits = dict(re.findall(r"^[ \t]*(UID_MIN|UID_MAX)[ \t]+([0-9]{1,10})\b", text, re.MULTILINE))
    return int(limits.get("UID_MIN", _LOWEST)), int(limits.get("UID_MAX", _HIGHEST))

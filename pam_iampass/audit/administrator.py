"""The administrator of the machine, for the records of what was done."""

from __future__ import annotations

import functools
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.system import programs
from pam_iampass.system.programs import CommandUnavailable

NO_LOGIN = 2**32 - 1
"""The login uid of a process that no login has started (AUDIT_UID_UNSET), and its session."""


@dataclass(frozen=True)
class Administrator:
    """The person who acts. Texts are not cleaned."""

    name: str
    """The account that logged in, by the kernel's login uid; else the caller of sudo, else root."""
    sudo_user: str = ""
    """The caller of sudo."""
    tty: str = ""
    rhost: str = ""
    """Where the login came from, as logind has it; empty if local or unknown."""


def login_uid(pid: int | str) -> int:
    """The login uid of a process (proc_pid_loginuid(5)); NO_LOGIN for none. Raises OSError."""
    try:
        return int(Path(f"/proc/{pid}/loginuid").read_text("ascii"))
    except FileNotFoundError:  # a kernel without audit
        return NO_LOGIN


def name_of(uid: int, sudo_user: str) -> str:
    """The name of an administrator with this login uid."""
    if uid == NO_LOGIN:
        return sudo_user or "root"
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


@functools.cache
def administrator() -> Administrator:
    """The administrator who runs this process."""
    sudo_user = os.environ.get("SUDO_USER", "")
    return Administrator(name_of(login_uid("self"), sudo_user), sudo_user, _terminal(), _remote_host())


def _terminal() -> str:
    for descriptor in range(3):
        try:
            return os.ttyname(descriptor)
        except OSError:
            continue
    return ""


def _remote_host() -> str:
    try:
        session = Path("/proc/self/sessionid").read_text("ascii").strip()
        if session == str(NO_LOGIN):
            return ""
        command = ["loginctl", "show-session", session, "--property=RemoteHost", "--value"]
        return programs.run(command, timeout=10.0).output.strip()
    except (OSError, CommandUnavailable):
        return ""

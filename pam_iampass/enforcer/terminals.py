"""Writes a line to the terminals of a login session."""

from __future__ import annotations

import contextlib
import os
import stat

from pam_iampass.enforcer import processes
from pam_iampass.enforcer.registrations import Registration

_PTS, _VIRTUAL_CONSOLE = 136, 4  # major device numbers: Linux, Documentation/admin-guide/devices.txt
_MOST_CONSOLES = 63
_FLAGS = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW


def tell(registration: Registration, text: str) -> int:
    """Write `text` to the terminals of the registered process and its descendants; returns their number.

    A terminal that is stopped does not get it.
    """
    seen: set[int] = set()
    for process in processes.with_descendants(registration.pid):
        path = _path(process.terminal)
        if path and process.terminal not in seen and _write(path, process, registration, text):
            seen.add(process.terminal)
    return len(seen)


def _path(device: int) -> str | None:
    major, minor = os.major(device), os.minor(device)
    if major == _PTS:
        return f"/dev/pts/{minor}"
    if major == _VIRTUAL_CONSOLE and 1 <= minor <= _MOST_CONSOLES:
        return f"/dev/tty{minor}"
    return None


def _write(path: str, process: processes.Process, registration: Registration, text: str) -> bool:
    """Write to the terminal if it belongs to the login.

    A process can have a terminal of another devpts, in a mount namespace of its own, with the number of a terminal of
    another person: so the terminal's owner counts too, or that root has registered it.
    """
    with contextlib.suppress(OSError):
        descriptor = os.open(path, _FLAGS)
        with contextlib.closing(os.fdopen(descriptor, "wb", buffering=0)) as terminal:
            found = os.fstat(descriptor)
            owners = (registration.uid, processes.real_uid(process.pid))
            is_its_own = found.st_uid in owners or path in (registration.tty, f"/dev/{registration.tty}")
            if stat.S_ISCHR(found.st_mode) and found.st_rdev == process.terminal and is_its_own:
                return bool(terminal.write(f"\r\n{text}\r\n".encode("ascii")))
    return False

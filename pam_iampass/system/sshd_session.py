"""The installed program of sshd that calls PAM, and whether its version shows PAM's texts at once.

Root controls both facts: the kernel reports what the door's process runs, and only root can write the program. Nothing
that a client sends counts. A wrong answer lets nobody in: the phone would only get its request before the user reads
why.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from functools import lru_cache

#: Where Debian and Ubuntu, and Fedora and RHEL have it. OpenSSH before 9.8 has none, and shows no text in time.
PROGRAMS = ("/usr/lib/openssh/sshd-session", "/usr/libexec/openssh/sshd-session")
#: The first version that shows a text of keyboard-interactive at once (openssh-portable, commit b9a6dd4d6).
SHOWS_TEXT = (10, 3)
#: In the program: `OpenSSH_10.6p1`. Names of other versions, to which it adapts, have no `p1`.
_RELEASE = re.compile(rb"OpenSSH_(\d{1,3})\.(\d{1,3})p\d")


def shows_text(executable: str, programs: Sequence[str] = PROGRAMS) -> bool:
    """Whether this program of sshd shows a text of PAM at once in keyboard-interactive.

    `executable` is the program that runs, as a door names it: device, inode, and the time in nanoseconds of the last
    change of the inode. Only an installed program of a known version is believed: not one that an upgrade has replaced.
    """
    for path in programs:
        with contextlib.suppress(OSError):
            if _identity(os.stat(path)) == executable:
                return _version(path, executable) >= SHOWS_TEXT
    return False


def installed_shows_text(programs: Sequence[str] = PROGRAMS) -> bool:
    """The same of the program that is installed."""
    for path in programs:
        with contextlib.suppress(OSError):
            return shows_text(_identity(os.stat(path)), programs)
    return False


def _identity(status: os.stat_result) -> str:
    return f"{status.st_dev}:{status.st_ino}:{status.st_ctime_ns}"


@lru_cache(8)
def _version(path: str, executable: str) -> tuple[int, ...]:
    """The version of the program at this path, if it is `executable`; empty if that is not known for sure.

    Raises OSError.
    """
    with open(path, "rb") as file:
        found = set(_RELEASE.findall(file.read()))
        unchanged = _identity(os.fstat(file.fileno())) == executable
    return tuple(map(int, found.pop())) if len(found) == 1 and unchanged else ()

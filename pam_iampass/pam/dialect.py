"""Where the libpam of one system differs from that of another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Dialect:
    """How this system's libpam reads and plays a stack."""

    name: str
    at_include: bool
    """Whether a line `@include FILE` brings all lines of another file; elsewhere it is a line that fails."""
    includes_from_everywhere: bool
    """Whether an included file may be in /usr/lib/pam.d too; else in /etc/pam.d only."""
    jump_counts_for_setcred: bool
    """Whether a module that is jumped from counts as `ok` in pam_setcred."""


LINUX_PAM = Dialect("Linux-PAM", False, True, True)

DEBIAN = Dialect("Debian's Linux-PAM", True, False, False)
"""Debian and what comes of it (patches 031_pam_include and 045_pam_dispatch_jump_is_ignore of its package pam)."""


def dialect(sign: Path = Path("/etc/debian_version")) -> Dialect:
    """This machine's dialect. `sign` is a file that only Debian and what comes of it has."""
    return DEBIAN if sign.exists() else LINUX_PAM

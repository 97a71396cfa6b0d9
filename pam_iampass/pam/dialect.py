"""Differences between the libpam of one system and another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Dialect:
    """How a system's libpam reads and runs a stack."""

    name: str
    at_include: bool
    """Whether a line `@include FILE` includes all lines of another file; otherwise the line fails."""
    includes_from_everywhere: bool
    """Whether included files are searched in all folders; otherwise only in /etc/pam.d."""
    jump_counts_for_setcred: bool
    """Whether a jump counts as `ok` in pam_setcred."""


LINUX_PAM = Dialect("Linux-PAM", False, True, True)

DEBIAN = Dialect("Debian's Linux-PAM", True, False, False)
"""Debian and its derivatives (patches 031_pam_include and 045_pam_dispatch_jump_is_ignore of the package pam)."""


def dialect(sign: Path = Path("/etc/debian_version")) -> Dialect:
    """This machine's dialect. The file `sign` exists on Debian and its derivatives only."""
    return DEBIAN if sign.exists() else LINUX_PAM

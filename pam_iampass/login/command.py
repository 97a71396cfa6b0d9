"""Describes the command of sudo, su or doas for a record. It decides nothing."""

from __future__ import annotations

import os
import re

from pam_iampass.text import shell_quoted

_PROGRAMS = frozenset(("sudo", "sudo-rs", "sudo.ws", "su", "su-rs", "doas"))
_FORM = re.compile("([0-9]{1,10}):((?:[0-9a-f]{2})*):((?:[0-9a-f]{2})*)")
_HEAD, _TAIL, _LONGEST_FOLDER = 650, 300, 200
"""Characters."""


def described(program: str, command: str, folder: str) -> str:
    """Return the command line and the folder, quoted as for a shell and printable; empty for other programs.

    `command` is the door's item: the length of the arguments, the first and the last of their bytes. What a long one
    leaves out is counted, so that padding cannot hide that there is more.
    """
    name = os.path.basename(program.replace(" (deleted)", ""))  # replaced by an upgrade since
    found = _FORM.fullmatch(command)
    if name not in _PROGRAMS or found is None:
        return ""
    head, tail = bytes.fromhex(found[2]), bytes.fromhex(found[3])
    left_out = int(found[1]) - len(head) - len(tail)
    if left_out <= 0:
        first = last = " ".join([name, *_words(head + tail)])
    else:
        first, last = " ".join([name, *_words(head)]), " ".join(_words(tail))
    if left_out > 0 or len(first) > _HEAD + _TAIL:
        first = f"{first[:_HEAD]} … [{int(found[1]):,} bytes] … {last[-_TAIL:]}"
    where = shell_quoted(folder) if folder else "a folder that is not known"  # its path may be too long
    if len(where) > _LONGEST_FOLDER:
        where = f"…{where[-_LONGEST_FOLDER:]}"
    return f"{first} (in {where})"


def _words(arguments: bytes) -> list[str]:
    """The arguments, each of which ends in a NUL, unless it was cut."""
    parts = arguments.split(b"\0")
    return [
        shell_quoted(part.decode("utf-8", "surrogateescape"))
        for part in parts[: -1 if not parts[-1] else None]
    ]

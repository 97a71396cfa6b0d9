"""Shows what changes in a file, as a unified diff that a terminal may see."""

from __future__ import annotations

import difflib
from pathlib import Path

from pam_iampass.text import clean


def lines(path: Path, before: bytes | None, after: bytes | None) -> list[str]:
    """The diff, line by line, cleaned; empty where nothing changes. None stands for no file."""
    if before == after:
        return []
    told = difflib.unified_diff(
        _lines(before),
        _lines(after),
        fromfile=str(path) if before is not None else "/dev/null",
        tofile=str(path) if after is not None else "/dev/null",
        lineterm="",
    )
    return [clean(line, 300) for line in told]


def _lines(content: bytes | None) -> list[str]:
    return (content or b"").decode("utf-8", "surrogateescape").splitlines()

"""The changes in a file as a unified diff, safe to print on a terminal."""

from __future__ import annotations

import difflib
from pathlib import Path

from pam_iampass.text import clean


def lines(path: Path, before: bytes | None, after: bytes | None) -> list[str]:
    """The diff, line by line; empty if nothing changes. None stands for no file."""
    if before == after:
        return []
    old, new = ("/dev/null" if content is None else str(path) for content in (before, after))
    diff = difflib.unified_diff(_lines(before), _lines(after), old, new, lineterm="")
    return [clean(line, 300) for line in diff]


def _lines(content: bytes | None) -> list[str]:
    return (content or b"").decode("utf-8", "surrogateescape").splitlines()

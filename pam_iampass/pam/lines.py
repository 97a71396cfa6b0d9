"""The lines of a PAM file, joined and split into words as libpam does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BLANKS = " \n\t"
_WORD = re.compile(r"\[((?:\\\]|[^\]])*)\]?|([^ \n\t]+)")


@dataclass(frozen=True)
class PamLine:
    """A line, which may be written on several lines of the file."""

    number: int
    """The number of its first line in the file, from 1."""
    text: str
    words: tuple[str, ...]
    """Text in brackets is one word, without the brackets."""
    end: int = 0
    """The number of its last line in the file."""


def lines(content: str) -> tuple[list[PamLine], bool]:
    """All lines with text, and whether the file is complete: its last line does not end in a backslash."""
    found: list[PamLine] = []
    parts: list[str] = []
    start, continues = 0, False
    for number, raw in enumerate(_split(content), 1):
        part, continues = _part(raw.partition("\0")[0])
        if part and (continues or parts or part != "\n"):
            start = start if parts else number
            parts.append(part)
        if continues:
            continue
        text = "".join(parts)
        parts = []
        if text:
            found.append(PamLine(start, text.strip(), tuple(_words(text)), number))
    return found, not continues


def _split(content: str) -> list[str]:
    """The lines of the file, with their ends. Only a line feed ends one."""
    pieces = content.split("\n")
    return [piece + "\n" for piece in pieces[:-1]] + ([pieces[-1]] if pieces[-1] else [])


def _part(raw: str) -> tuple[str, bool]:
    """The text of one line of the file, and whether the next one continues it. A comment ends both."""
    bare = raw.rstrip(_BLANKS)
    continues = bare.endswith("\\")
    text = (bare[:-1] + " ") if continues else raw
    before, comment, _ = text.partition("#")
    return before.lstrip(" \t"), continues and not comment


def _words(text: str) -> Iterator[str]:
    for word in _WORD.finditer(text):
        bracketed, plain = word.groups()
        yield plain if bracketed is None else bracketed.replace("\\]", "]")

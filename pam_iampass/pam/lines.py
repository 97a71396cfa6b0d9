"""The lines of a PAM file, put together and cut into words as libpam does."""

from __future__ import annotations

from dataclasses import dataclass

_BLANKS = " \n\t"


class CutOff(Exception):
    """The file ends in a line that says that it goes on; holds the lines before it."""

    def __init__(self, lines: list[Line]) -> None:
        super().__init__("the last line ends in a backslash")
        self.lines = lines


@dataclass(frozen=True)
class Line:
    """A line, which several lines of the file may make up."""

    number: int
    """Of its first line in the file, from 1."""
    text: str


def lines(content: str) -> list[Line]:
    """All lines that say something. Raises CutOff."""
    found: list[Line] = []
    parts: list[str] = []
    start, goes_on = 0, False
    for number, raw in enumerate(_split(content), 1):
        part, goes_on = _part(raw.partition("\0")[0])
        if part and (goes_on or parts or part != "\n"):
            start = start if parts else number
            parts.append(part)
        if goes_on:
            continue
        text = "".join(parts)
        parts = []
        if text:
            found.append(Line(start, text))
    if goes_on:
        raise CutOff(found)
    return found


def _split(content: str) -> list[str]:
    """The lines of the file, with their ends. Only a line feed ends one."""
    pieces = content.split("\n")
    return [piece + "\n" for piece in pieces[:-1]] + ([pieces[-1]] if pieces[-1] else [])


def _part(raw: str) -> tuple[str, bool]:
    """What a line of the file adds, and whether the next one belongs to it. A comment ends both."""
    bare = raw.rstrip(_BLANKS)
    goes_on = bare.endswith("\\")
    text = (bare[:-1] + " ") if goes_on else raw
    said, comment, _ = text.partition("#")
    return said.lstrip(" \t"), goes_on and not comment


def words(text: str) -> list[str]:
    """The words of a line; what stands in brackets is one, without them."""
    found: list[str] = []
    while True:
        text = text.lstrip(_BLANKS)
        if not text:
            return found
        word, text = _bracketed(text[1:]) if text.startswith("[") else _plain(text)
        found.append(word)


def _plain(text: str) -> tuple[str, str]:
    end = next((place for place, character in enumerate(text) if character in _BLANKS), len(text))
    return text[:end], text[end + 1 :]


def _bracketed(text: str) -> tuple[str, str]:
    word = []
    place = 0
    while place < len(text) and text[place] != "]":
        if text.startswith("\\]", place):
            place += 1
        word.append(text[place])
        place += 1
    return "".join(word), text[place + 1 :]

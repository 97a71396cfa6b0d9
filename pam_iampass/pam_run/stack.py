"""Which lines a PAM service has, with what they include."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FOLDERS = (Path("/etc/pam.d"), Path("/usr/lib/pam.d"), Path("/usr/share/pam.d"))
"""Where Linux-PAM looks for a service, in this order (pam.conf(5); the last two where it was built so)."""

_DEEPEST = 32
_CONTROL = re.compile(r"\[[^\]]*\]|\S+")


@dataclass(frozen=True)
class Line:
    """One line that runs a module."""

    file: Path
    number: int
    phase: str
    control: str
    module: str
    arguments: str


def lines(service: str, folders: tuple[Path, ...] = FOLDERS) -> list[Line]:
    """All lines of a service, those of included files in their places; none where there is no such service.

    Raises OSError.
    """
    return list(_of(service, folders, None, 0))


def names_pam_python(found: list[Line]) -> Line | None:
    """The first line that runs a script in pam_python, which crashes inside a Python program."""
    return next((line for line in found if Path(line.module).name == "pam_python.so"), None)


def _of(service: str, folders: tuple[Path, ...], phase: str | None, depth: int) -> Iterator[Line]:
    file = file_of(service, folders)
    if file is None or depth > _DEEPEST:
        return
    for number, text in _joined(file.read_text("utf-8", "surrogateescape")):
        words = text.split(None, 1)
        if words[0] == "@include":
            yield from _of(words[1].strip() if len(words) > 1 else "", folders, phase, depth + 1)
        elif len(words) > 1:
            yield from _line(file, number, words[0].lstrip("-").lower(), words[1], folders, phase, depth)


def _line(
    file: Path, number: int, kind: str, rest: str, folders: tuple[Path, ...], phase: str | None, depth: int
) -> Iterator[Line]:
    if phase is not None and kind != phase:
        return
    found = _CONTROL.match(rest)
    if found is None:
        return
    control = found.group()
    module, _, arguments = rest[found.end() :].strip().partition(" ")
    if control in ("include", "substack"):
        yield from _of(module, folders, kind, depth + 1)
    else:
        yield Line(file, number, kind, control, module, arguments.strip())


def file_of(service: str, folders: tuple[Path, ...] = FOLDERS) -> Path | None:
    """Where the lines of a service are; None where there is no such service."""
    if service in ("", ".", ".."):
        return None
    # An absolute name is taken as it is by pathlib, and by Linux-PAM too.
    return next((folder / service for folder in folders if (folder / service).is_file()), None)


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """The lines that say something, each with its number; a backslash at the end goes on on the next line."""
    held, began = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        began = began or number
        held += line.partition("#")[0].strip()
        if held.endswith("\\"):
            held = held[:-1] + " "
            continue
        if held.strip():
            yield began, held.strip()
        held, began = "", 0

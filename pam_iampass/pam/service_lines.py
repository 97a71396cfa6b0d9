"""Which lines a PAM service has, with what they include."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.pam import lines as pam_lines
from pam_iampass.pam.lines import words

FOLDERS = (Path("/etc/pam.d"), Path("/usr/lib/pam.d"), Path("/usr/share/pam.d"))
"""Where Linux-PAM looks for a service, in this order (pam.conf(5); the last two where it was built so)."""

_DEEPEST = 32


@dataclass(frozen=True)
class Line:
    """One line that runs a module."""

    file: Path
    number: int
    phase: str
    control: str
    """Without brackets."""
    module: str
    arguments: str
    """With one blank between two."""


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
    for line in _said(file):
        found = words(line.text)
        kind = found[0].lstrip("-").lower()
        if kind == "@include":
            yield from _of(" ".join(found[1:2]), folders, phase, depth + 1)
        elif len(found) > 2 and phase in (None, kind):
            control, module = found[1:3]
            if control.lower() in ("include", "substack"):
                yield from _of(module, folders, kind, depth + 1)
            else:
                yield Line(file, line.number, kind, control, module, " ".join(found[3:]))


def _said(file: Path) -> list[pam_lines.Line]:
    """The lines of a file that hold a word, as libpam puts them together."""
    try:
        found = pam_lines.lines(file.read_bytes().decode("utf-8", "surrogateescape"))
    except pam_lines.CutOff as cut_off:
        found = cut_off.lines
    return [line for line in found if words(line.text)]


def file_of(service: str, folders: tuple[Path, ...] = FOLDERS) -> Path | None:
    """Where the lines of a service are; None where there is no such service."""
    if service in ("", ".", ".."):
        return None
    # An absolute name is taken as it is by pathlib, and by Linux-PAM too.
    return next((folder / service for folder in folders if (folder / service).is_file()), None)

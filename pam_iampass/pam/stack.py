"""A PAM service's modules, with its includes and substacks followed, as libpam puts them together (pam.conf(5))."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pam_iampass.errors import shown
from pam_iampass.pam.controls import ALL_BAD, Does, control
from pam_iampass.pam.dialect import DEBIAN, Dialect
from pam_iampass.pam.lines import CutOff, Line, lines, words

FOLDERS = (Path("/etc/pam.d"), Path("/usr/lib/pam.d"))
"""Where PAM files are looked for, in this order."""

OTHER = "other"
"""The service that stands in for one without a file, or without lines of a type."""

_DEEPEST = 16  # PAM_SUBSTACK_MAX_LEVEL
_MOST = 2000  # modules of a stack, and files read for it: one that includes itself twice would make 32,768


class Type(enum.Enum):
    """What a line is for."""

    AUTH = "auth"
    ACCOUNT = "account"
    SESSION = "session"
    PASSWORD = "password"  # noqa: S105 - a word of pam.conf(5)


class Kind(enum.Enum):
    """What is called at a place of a stack."""

    MODULE = "module"
    MUST_FAIL = "must fail"
    """A line that makes no sense: it answers PAM_PERM_DENIED."""
    SUBSTACK = "substack"
    """Where a substack begins; nothing is called."""


class Broken(Exception):
    """libpam cannot use the configuration of a service: every call fails."""


@dataclass(frozen=True)
class Handler:
    """One place of a stack."""

    kind: Kind
    level: int
    """How deep in substacks it stands."""
    does: tuple[Does, ...]
    path: str
    """The module as the line has it, or the file that a substack names."""
    arguments: tuple[str, ...]
    file: Path
    line: int
    text: str
    """The line itself."""

    @property
    def name(self) -> str:
        """The module without its folder."""
        return self.path.rpartition("/")[2]

    @property
    def place(self) -> str:
        """The file and the line."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Service:
    """All stacks of a service."""

    name: str
    file: Path | None
    """None: it has no file, and `other` stands in."""
    stacks: dict[Type, list[Handler]]
    files: tuple[Path, ...]
    """All files that were read for it."""
    faults: tuple[str, ...] = ()
    """What libpam could not understand."""


@dataclass
class _Reading:
    """What has come together so far."""

    stacks: dict[Type, list[Handler]] = field(default_factory=lambda: {kind: [] for kind in Type})
    files: list[Path] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class PamFiles:
    """The PAM files of a machine."""

    def __init__(self, folders: Sequence[Path] = FOLDERS, dialect: Dialect = DEBIAN) -> None:
        self.folders = tuple(folders)
        self.dialect = dialect

    def names(self) -> list[str]:
        """All services that have a file. libpam wants their names in small letters. Raises OSError."""
        found = set()
        for folder in self.folders:
            if folder.is_dir():
                found |= {entry.name for entry in folder.iterdir() if entry.is_file()}
        return sorted(name for name in found if name == name.lower())

    def path(self, name: str) -> Path | None:
        """The file of the service `name`, None where there is none."""
        return _first(folder / name for folder in self.folders)

    def included(self, name: str) -> Path | None:
        """The file that a line includes under `name`, None where there is none."""
        if name.startswith("/"):
            return _first([Path(name)])
        return _first(
            folder / name for folder in self.folders[: None if self.dialect.includes_from_everywhere else 1]
        )

    def service(self, name: str) -> Service:
        """The stacks of a service, those of `other` where it has no lines of its own. Raises Broken and OSError."""
        own, others = _Reading(), _Reading()
        file = self.path(name)
        for reading, source in ((own, file), (others, self.path(OTHER))):
            if source is not None and not _Reader(self, reading).read(source, None, 0, 0):
                raise Broken(f"{source} cannot be used: {'; '.join(reading.faults)}")
        if not own.files and not others.files:
            raise Broken(f"neither {name} nor {OTHER} has a file")
        stacks = {kind: own.stacks[kind] or others.stacks[kind] for kind in Type}
        return Service(name, file, stacks, tuple(dict.fromkeys(own.files)), tuple(own.faults))


def _first(places: Iterable[Path]) -> Path | None:
    return next((place for place in places if place.exists()), None)


class _Reader:
    """Reads a file, and those that it includes, into a reading."""

    def __init__(self, pam_files: PamFiles, reading: _Reading) -> None:
        self.pam_files = pam_files
        self.reading = reading

    def read(self, file: Path, only: Type | None, depth: int, level: int) -> bool:
        """Whether libpam would take the file. Of an included one only lines of one type count."""
        self.reading.files.append(file)
        if len(self.reading.files) > _MOST:
            raise Broken(f"{file} is included again and again")
        # To libpam a folder is an empty file.
        content = "" if file.is_dir() else file.read_bytes().decode("utf-8", "surrogateescape")
        try:
            found, complete = lines(content), True
        except CutOff as cut_off:
            found, complete = cut_off.lines, False
            self.reading.faults.append(f"{file}: {cut_off}")
        return all(self._line(file, line, only, depth, level) for line in found) and complete

    def _line(self, file: Path, line: Line, only: Type | None, depth: int, level: int) -> bool:
        made = _Line(file, line, words(line.text), only, level)
        if made.includes_all and self.pam_files.dialect.at_include:
            return self._include(made, only, made.included, depth, level)
        if made.fault:
            self.reading.faults.append(f"{file}:{line.number}: {made.fault}")
        if only is not None and made.type is not only:
            return True
        control_word = made.control.lower() if made.control is not None else ""
        if control_word in ("include", "substack"):
            target = made.rest[0] if made.rest else None
            if control_word == "substack":
                if not self._add(made.handler(Kind.SUBSTACK, target or "?unknown", ()), made.type):
                    return False
                level += 1
            return self._include(made, made.type, target, depth, level)
        return self._add(made.of_module(), made.type)

    def _include(self, made: _Line, only: Type | None, target: str | None, depth: int, level: int) -> bool:
        """Read what a line includes; where that fails, the line itself fails in its place."""
        if target is None and self.pam_files.dialect is DEBIAN:
            raise Broken(f"{made.file}:{made.line.number} includes nothing, which makes libpam crash")
        file = self.pam_files.included(target) if target else None
        if file is not None and depth + 1 < _DEEPEST and self.read(file, only, depth + 1, level):
            return True
        why = "includes nothing" if not target else f"{target} cannot be included"
        self.reading.faults.append(f"{made.file}:{made.line.number}: {why}")
        if only is None:
            return False
        return self._add(made.handler(Kind.MUST_FAIL, "", ()), only)

    def _add(self, handler: Handler, kind: Type) -> bool:
        stack = self.reading.stacks[kind]
        stack.append(handler)
        if len(stack) > _MOST:
            raise Broken(f"{handler.file} makes a stack of more than {_MOST} modules")
        # libpam logs a module's name, and refuses a line without one.
        nameless = handler.kind is not Kind.MUST_FAIL and handler.name.rpartition(".")[0] in ("", "?")
        if (nameless and "." in handler.name) or handler.path.endswith("/"):
            self.reading.faults.append(f"{handler.place}: the module has no name")
            return False
        return True


class _Line:
    """A line, understood as far as it goes."""

    def __init__(self, file: Path, line: Line, found: list[str], only: Type | None, level: int) -> None:
        self.file, self.line, self.level = file, line, level
        self.fault = ""
        first, rest = (found[0], found[1:]) if found else ("", [])
        word = first[
            first.startswith("-") :
        ].lower()  # a dash in front: a module that is missing is not logged
        self.includes_all = word == "@include"
        self.control: str | None = None
        self.rest = rest
        self.type = only or Type.AUTH  # what libpam takes where the type makes no sense
        self.included = rest[0] if rest else None
        try:
            self.type = Type(word)
        except ValueError:
            self.fault = f"{shown(first)} is no type of module" if first else "has no type"
        self.control, self.rest = (rest[0], rest[1:]) if rest else (None, [])

    def of_module(self) -> Handler:
        """The module that the line names, or what fails in its place."""
        if self.fault or self.control is None or not self.rest:
            self.fault = self.fault or "names no module"
            return self.handler(Kind.MUST_FAIL, "", ())
        return self.handler(Kind.MODULE, self.rest[0], tuple(self.rest[1:]))

    def handler(self, kind: Kind, path: str, arguments: tuple[str, ...]) -> Handler:
        usable = self.control is not None and self.control.lower() not in ("include", "substack")
        does = control(self.control) if usable and self.control is not None else ALL_BAD
        return Handler(
            kind, self.level, does, path, arguments, self.file, self.line.number, self.line.text.strip()
        )

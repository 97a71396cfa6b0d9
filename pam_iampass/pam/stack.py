"""The stacks of a PAM service, with includes and substacks followed as libpam does (pam.conf(5))."""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pam_iampass.errors import shown
from pam_iampass.pam.lines import ALL_BAD, ControlAction, PamLine, control, lines


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


FOLDERS = (Path("/etc/pam.d"), Path("/usr/lib/pam.d"), Path("/usr/share/pam.d"))
"""The folders of PAM files, in the order of precedence (the last two if Linux-PAM was built with them)."""

OTHER = "other"
"""The service that replaces one without a file, or without lines of a type."""

# The files that dpkg, ucf, rpm, pam-auth-update and editors leave behind. libpam would read such a file if a program
# asked for a service of its name. Only root can configure a program so. A program whose caller chooses the service can
# use every service that does not ask the phone, for example that of cron: the file adds no way in.
_LEFT_BEHIND = re.compile(r"\..*|.*(~|\.(bak|old|orig|new|save|dpkg-\w+|rpm\w+|ucf-\w+|pam-\w+))", re.DOTALL)

_INCLUDES = ("include", "substack")
_MAX_DEPTH = 16  # PAM_SUBSTACK_MAX_LEVEL
_MAX_FILES = 200  # a file that includes itself twice makes libpam read 32,768
_MAX_LINES = 1000
_MAX_BYTES = 100_000  # of one file


class PamType(enum.Enum):
    """The management group of a line."""

    AUTH = "auth"
    ACCOUNT = "account"
    SESSION = "session"
    PASSWORD = "password"  # noqa: S105 - a word of pam.conf(5)


class HandlerKind(enum.Enum):
    """The kind of a place of a stack: what libpam calls there."""

    MODULE = "module"
    MUST_FAIL = "must fail"
    """An invalid line: it returns PAM_PERM_DENIED."""
    SUBSTACK = "substack"
    """The start of a substack; nothing is called."""


class UnusableService(Exception):
    """libpam cannot use the configuration of a service, so that every call fails; or it would read for minutes."""


@dataclass(frozen=True)
class Handler:
    """One place of a stack."""

    kind: HandlerKind
    level: int
    """The depth of substacks."""
    actions: tuple[ControlAction, ...]
    path: str
    """The module as the line names it, or the file of a substack."""
    arguments: tuple[str, ...]
    file: Path
    line: int
    text: str
    """The line itself."""
    top: int = 0
    """The line of the service's own file that leads to it."""

    @property
    def name(self) -> str:
        """The module without its folder."""
        return self.path.rpartition("/")[2]

    @property
    def place(self) -> str:
        """The file and the line."""
        return f"{self.file}:{self.line}"

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


@dataclass(frozen=True)
class PamService:
    """All stacks of a service."""

    name: str
    stacks: dict[PamType, list[Handler]]
    files: tuple[Path, ...]
    """All files that were read for it."""
    errors: tuple[str, ...] = ()
    """The things that libpam cannot interpret."""

    @property
    def handlers(self) -> list[Handler]:
        """The places of all stacks."""
        return [handler for stack in self.stacks.values() for handler in stack]


@dataclass
class _Reading:
    """The result of reading so far."""

    stacks: dict[PamType, list[Handler]] = field(default_factory=lambda: {kind: [] for kind in PamType})
    files: list[Path] = field(default_factory=list)
    lines: int = 0
    errors: list[str] = field(default_factory=list)


class PamFiles:
    """The PAM files of a machine. Each file is read once."""

    def __init__(
        self,
        folders: Sequence[Path] = FOLDERS,
        dialect: Dialect = DEBIAN,
        instead: Mapping[Path, str] | None = None,
    ) -> None:
        """`instead` are the contents of files that differ from those on the disk, or are not there yet."""
        self.folders = tuple(folders)
        self.dialect = dialect
        self._read = {file: (text, *lines(text)) for file, text in (instead or {}).items()}

    def with_contents(self, instead: Mapping[Path, str]) -> PamFiles:
        """The same, some files with other contents."""
        other = PamFiles(self.folders, self.dialect, instead)
        other._read = {**self._read, **other._read}
        return other

    def names(self, configured: Collection[str] = ()) -> list[str]:
        """All services that have a file, which libpam requires to be lower case. Raises OSError.

        Leaves out files that packages and editors left behind, unless a program is `configured` to use them.
        """
        found = set()
        for folder in self.folders:
            if folder.is_dir():
                found |= {entry.name for entry in folder.iterdir() if entry.is_file()}
            found |= {file.name for file in self._read if file.parent == folder}
        return sorted(
            name
            for name in found
            if name == name.lower() and (name in configured or not _LEFT_BEHIND.fullmatch(name))
        )

    def path(self, name: str) -> Path | None:
        """The file of the service `name`, None if there is none."""
        return self._first(folder / name for folder in self.folders)

    def included(self, name: str) -> Path | None:
        """The file that a line includes as `name`, None if there is none."""
        if name.startswith("/"):
            return self._first([Path(name)])
        return self._first(
            folder / name for folder in self.folders[: None if self.dialect.includes_from_everywhere else 1]
        )

    def _first(self, places: Iterable[Path]) -> Path | None:
        return next((place for place in places if place in self._read or place.exists()), None)

    def content(self, file: Path) -> tuple[str, list[PamLine], bool]:
        """Text and lines of a file, and whether it is complete. Raises UnusableService and OSError."""
        if file not in self._read:
            text = "" if file.is_dir() else _text(file)  # to libpam a folder is an empty file
            self._read[file] = (text, *lines(text))
        return self._read[file]

    def service(self, name: str) -> PamService:
        """The stacks of a service, from `other` where it has no lines of a type. Raises UnusableService and OSError.

        Reading is bounded: it ends at once for files that include each other, however often.
        """
        own, others = _Reading(), _Reading()
        for reading, source in ((own, self.path(name)), (others, self.path(OTHER))):
            if source is not None and not _ServiceReader(self, reading).read(source, None, 0, 0):
                raise UnusableService(f"{source} cannot be used: {'; '.join(reading.errors)}")
        if not own.files and not others.files:
            raise UnusableService(f"neither {name} nor {OTHER} has a file")
        stacks = {kind: own.stacks[kind] or others.stacks[kind] for kind in PamType}
        return PamService(name, stacks, tuple(dict.fromkeys(own.files)), tuple(own.errors))

    def usable(self) -> Iterator[PamService]:
        """All services that can be read, and that libpam can use."""
        try:
            names = self.names()
        except OSError:
            return
        for name in names:
            try:
                service = self.service(name)
            except (OSError, UnusableService):
                continue
            yield service

    def texts(self, name: str) -> Iterator[str]:
        """The texts of all files that a service leads to, whether or not libpam can use them. Raises OSError."""
        pending = [self.path(name)]
        seen: set[Path] = set()
        while pending and len(seen) < _MAX_FILES:
            file = pending.pop()
            if file is None or file in seen:
                continue
            seen.add(file)
            try:
                text, found, _complete = self.content(file)
            except UnusableService:
                continue
            yield text
            for words in (line.words for line in found):
                if len(words) > 1 and words[0].lower() == "@include":
                    pending.append(self.included(words[1]))
                elif len(words) > 2 and words[1].lower() in _INCLUDES:
                    pending.append(self.included(words[2]))


def _text(file: Path) -> str:
    """The file's text. A FIFO or a device does not block."""
    with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC), "rb") as opened:
        found = opened.read(_MAX_BYTES + 1) or b""
    if len(found) > _MAX_BYTES:
        raise UnusableService(f"{file} has more than {_MAX_BYTES:,} bytes")
    return found.decode("utf-8", "surrogateescape")


class _ServiceReader:
    """Reads a file, and the files that it includes, into a reading."""

    def __init__(self, pam_files: PamFiles, reading: _Reading) -> None:
        self.pam_files = pam_files
        self.reading = reading
        self.top = 0

    def read(self, file: Path, only: PamType | None, depth: int, level: int) -> bool:
        """Whether libpam would accept the file. Of an included one only lines of the type `only` count."""
        self.reading.files.append(file)
        _text, found, complete = self.pam_files.content(file)
        self.reading.lines += len(found)
        if len(self.reading.files) > _MAX_FILES or self.reading.lines > _MAX_LINES:
            raise UnusableService(
                f"{file}: with everything that is included, the service has more than {_MAX_FILES} files or "
                f"{_MAX_LINES:,} lines: does a file include itself?"
            )
        if not complete:
            self.reading.errors.append(f"{file}: the last line ends in a backslash")
        return all(self._line(file, line, only, depth, level) for line in found) and complete

    def _line(self, file: Path, line: PamLine, only: PamType | None, depth: int, level: int) -> bool:
        if depth == 0:
            self.top = line.number
        parsed = _ParsedLine(file, line, only, level, self.top)
        if parsed.includes_all and self.pam_files.dialect.at_include:
            return self._include(parsed, only, parsed.first_argument, depth, level)
        if parsed.error:
            self.reading.errors.append(f"{file}:{line.number}: {parsed.error}")
        if only is not None and parsed.type is not only:
            return True
        if parsed.control in _INCLUDES:
            target = parsed.rest[0] if parsed.rest else None
            if parsed.control == "substack":
                handler = parsed.handler(HandlerKind.SUBSTACK, target or "?unknown", ())
                if not self._add(handler, parsed.type):
                    return False
                level += 1
            return self._include(parsed, parsed.type, target, depth, level)
        return self._add(parsed.of_module(), parsed.type)

    def _include(
        self, parsed: _ParsedLine, only: PamType | None, target: str | None, depth: int, level: int
    ) -> bool:
        """Read the file that a line includes; if that fails, the line itself fails."""
        place = f"{parsed.file}:{parsed.line.number}"
        if target is None and self.pam_files.dialect is DEBIAN:
            raise UnusableService(f"{place}: an include without a file makes libpam crash")
        file = self.pam_files.included(target) if target else None
        if file is None:
            error = f"{target} cannot be included" if target else "the include names no file"
        elif depth + 1 >= _MAX_DEPTH:
            error = f"{target} is included more than {_MAX_DEPTH} levels deep"
        elif self.read(file, only, depth + 1, level):
            return True
        else:
            error = f"{target} cannot be included"
        if (message := f"{place}: {error}") not in self.reading.errors:
            self.reading.errors.append(message)
        if only is None:
            return False
        return self._add(parsed.handler(HandlerKind.MUST_FAIL, "", ()), only)

    def _add(self, handler: Handler, kind: PamType) -> bool:
        self.reading.stacks[kind].append(handler)
        # libpam logs a module's name, and rejects a line without one.
        nameless = handler.kind is not HandlerKind.MUST_FAIL and handler.name.rpartition(".")[0] in ("", "?")
        if (nameless and "." in handler.name) or handler.path.endswith("/"):
            self.reading.errors.append(f"{handler.place}: the module has no name")
            return False
        return True


class _ParsedLine:
    """A line, interpreted as far as possible."""

    def __init__(self, file: Path, line: PamLine, only: PamType | None, level: int, top: int) -> None:
        self.file, self.line, self.level, self.top = file, line, level, top
        self.error = ""
        first, rest = (line.words[0], line.words[1:]) if line.words else ("", ())
        # a leading dash: a missing module is not logged
        word = first[first.startswith("-") :].lower()
        self.includes_all = word == "@include"
        self.first_argument = rest[0] if rest else None
        self.type = only or PamType.AUTH  # which libpam assumes for an invalid type
        try:
            self.type = PamType(word)
        except ValueError:
            self.error = f"{shown(first)} is not a module type" if first else "the line has no type"
        self.control = self.first_argument.lower() if self.first_argument is not None else None
        self.rest = rest[1:]
        if not self.error and not self.rest and self.control not in _INCLUDES:
            self.error = "the line names no module"

    def of_module(self) -> Handler:
        """The module that the line names, or one that fails."""
        if self.error:
            return self.handler(HandlerKind.MUST_FAIL, "", ())
        return self.handler(HandlerKind.MODULE, self.rest[0], self.rest[1:])

    def handler(self, kind: HandlerKind, path: str, arguments: tuple[str, ...]) -> Handler:
        usable = self.first_argument is not None and self.control not in _INCLUDES
        actions = control(self.first_argument) if usable and self.first_argument is not None else ALL_BAD
        return Handler(
            kind, self.level, actions, path, arguments, self.file, self.line.number, self.line.text, self.top
        )

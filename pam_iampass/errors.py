"""The errors of this machine's configuration and state.

    PamIampassError              each has .diagnostics(): what is wrong, and how to fix it
    ├── UntrustedFile            users other than root can write the file, or can read a secret
    │   ├── MissingFile          the file does not exist
    │   └── UnreadableFile       this process cannot read the file
    ├── ConfigurationError       a configuration file is invalid; holds every Problem found
    ├── EditRefused              a change to the user table was not made
    ├── SetupError               `setup` did not do it; the files are unchanged, unless the text says otherwise
    │   ├── SetupRefused         it would do harm; the text says what to do, and whether --force overrides it
    │   └── FileEdited           a file was edited after it was set up, and the edits would be lost
    └── StateError               the agent cannot use its state, its socket or its file

The errors of the IAMPASS service are in `pam_iampass.client.errors`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.text import clean, in_quotes


def shown(value: str) -> str:
    """A value as messages show it: in double quotes, cleaned, and cut where it is long."""
    return in_quotes(value, 80)


def _line(text: str) -> str:
    return clean(text, 2000)


RUN_AS_ROOT = "run it as root"
"""The remedy where a file may be in order and only this user cannot read it."""

_IN_ONE_LINE = 5  # problems; a user table can have a hundred thousand


class Severity(enum.Enum):
    """How bad a problem or a finding is, the worst first."""

    ERROR = "error"
    """Logins fail, or users get in without a factor that they need."""
    WARNING = "warning"
    """It works, but not as intended, or not for everybody."""
    NOTE = "note"
    """Information."""
    OK = "ok"
    """Nothing is wrong: what `setup` has checked."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, or worth knowing: where, and what to do."""

    file: Path | None
    """None for a problem of no file, or one whose `evidence` says where it is."""
    line: int | None
    """Counted from 1; None for a problem of the whole file or of a missing key."""
    key: str
    """The setting as a dotted path, the user's name, or another subject such as sshd; empty for the whole file."""
    what: str
    remedy: str
    severity: Severity = Severity.ERROR
    kind: str = ""
    """Its id in `docs/reference/findings.md`; empty for what `check` reports as configuration-error or
    configuration-warning."""
    evidence: str = ""
    """The facts that show it."""
    forcible: bool = False
    """Whether `setup --force` goes on nevertheless: the machine works, but the administrator may be locked out."""

    @property
    def is_error(self) -> bool:
        """Whether it is an error."""
        return self.severity is Severity.ERROR

    def __str__(self) -> str:
        place = str(self.file or "") if self.line is None else f"{self.file}:{self.line}"
        word = "warning" if self.severity is Severity.WARNING else ""
        return _line(": ".join(part for part in (place, self.key, word, self.what) if part))


def by_severity(problems: Iterable[Problem]) -> tuple[int, int]:
    """The number of errors, and of warnings."""
    severities = [problem.severity for problem in problems]
    return severities.count(Severity.ERROR), severities.count(Severity.WARNING)


class PamIampassError(Exception):
    """The root of this package's errors.

    :param what: what is wrong, and with what.
    :param remedy: how to fix it; empty where `what` says it.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.remedy = remedy

    def diagnostics(self) -> str:
        """Explain what is wrong and how to fix it, in one or more lines."""
        return _line(self.args[0]) + (f"\n    {_line(self.remedy)}" if self.remedy else "")


class UntrustedFile(PamIampassError):
    """A file that must not be used."""

    def __init__(self, path: str, what: str, remedy: str) -> None:
        super().__init__(f"{path}: {what}", remedy)
        self.path = Path(path)
        self.what = what

    def problem(self, file: Path, line: int | None = None, key: str = "") -> Problem:
        """The same as a problem of `file`: this file, one that leads to it, or one that names it in `key`."""
        what = self.what if self.path == file else f"{self.path} {self.what}"
        return Problem(file, line, key, what, self.remedy)


class MissingFile(UntrustedFile):
    """A file, or a folder on its path, that does not exist."""

    def __init__(self, path: str, what: str, remedy: str, *, folder: bool) -> None:
        super().__init__(path, what, remedy)
        self.folder = folder
        """True if a folder on the path is missing, False if only the file itself is."""


class UnreadableFile(UntrustedFile):
    """A file that this process cannot read."""


class ConfigurationError(PamIampassError):
    """Configuration that cannot be used.

    As a string it is one line with the first few problems; `diagnostics` lists them all.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        first = [str(problem) for problem in self.problems[:_IN_ONE_LINE]]
        more = len(self.problems) - len(first)
        super().__init__("; ".join([*first, f"and {more} more"] if more else first))

    def diagnostics(self) -> str:
        return "\n".join(f"{problem}\n    {_line(problem.remedy)}" for problem in self.problems)


class EditRefused(PamIampassError):
    """A change to the user table that was not made."""


class SetupError(PamIampassError):
    """It could not be done. `details` are lines of evidence, such as the output of a program."""

    def __init__(self, what: str, remedy: str, details: Sequence[str] = ()) -> None:
        super().__init__(what, remedy)
        self.details = tuple(details)

    def diagnostics(self) -> str:
        what, *remedy = super().diagnostics().split("\n")
        return "\n".join([what, *("    " + clean(line, 500) for line in self.details), *remedy])


class SetupRefused(SetupError):
    """It would do harm."""


class FileEdited(SetupError):
    """A file was edited after it was set up; `details` is the difference."""


class StateError(PamIampassError):
    """The state of the agent or of the enforcer cannot be read or written.

    As a string it is one line, with the remedy.
    """

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"

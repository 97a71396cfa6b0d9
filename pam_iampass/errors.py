"""What can be wrong on this machine, and how it is told to a person.

    PamIampassError              each has .diagnostics(): what is wrong, with what, and what to do
    ├── UntrustedFile            somebody other than root could have written it, or others may read a secret
    │   ├── MissingFile          it is not there
    │   └── UnreadableFile       this process may not read it, or reading failed
    ├── ConfigurationError       a file of ours says something that makes no sense; holds every Problem found
    ├── EditRefused              the table of users cannot be changed so, and is as it was
    └── StateError               what the module remembers cannot be read or written

The errors of the IAMPASS service have a tree of their own, in `pam_iampass.client.errors`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.text import clean


def shown(value: str) -> str:
    """A value as it stands in a message: in double quotes, cleaned, and cut where it is long."""
    return f'"{clean(value, 80)}"'


def _line(text: str) -> str:
    return clean(text, 2000)


_TOLD = 5  # problems in one line; a table of users can hold a hundred thousand


class Severity(enum.Enum):
    """How bad a problem or a finding is, the worst first."""

    ERROR = "error"
    """Logins fail, or users get in without a factor that they need."""
    WARNING = "warning"
    """It works, but not as intended, or not for everybody."""
    NOTE = "note"
    """Information."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in one file."""

    file: Path
    line: int | None
    """Counted from 1; None where the problem is the file as a whole, or a key that is not there."""
    key: str
    """The setting as a dotted path, or the user's name; empty where the problem is the file."""
    what: str
    remedy: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        place = str(self.file) if self.line is None else f"{self.file}:{self.line}"
        word = "warning" if self.severity is Severity.WARNING else ""
        return _line(": ".join(part for part in (place, self.key, word, self.what) if part))


class PamIampassError(Exception):
    """The root of this package's errors."""

    def diagnostics(self) -> str:
        """What is wrong, with what, and what to do: one or more lines for a person."""
        return _line(str(self))


class UntrustedFile(PamIampassError):
    """A file that must not be used."""

    def __init__(self, path: str, what: str, remedy: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = Path(path)
        self.what = what
        self.remedy = remedy

    def diagnostics(self) -> str:
        return f"{_line(str(self))}\n    {_line(self.remedy)}"

    def problem(self, file: Path, line: int | None = None, key: str = "") -> Problem:
        """The same as a problem of `file`, which is this file, lies behind it, or names it in `key`."""
        what = self.what if self.path == file else f"{self.path} {self.what}"
        return Problem(file, line, key, what, self.remedy)


class MissingFile(UntrustedFile):
    """A file, or a folder on the way to it, that is not there."""

    def __init__(self, path: str, what: str, remedy: str, *, folder: bool) -> None:
        super().__init__(path, what, remedy)
        self.folder = folder
        """True where a folder on the way is missing, False where only the file itself is."""


class UnreadableFile(UntrustedFile):
    """A file that this process cannot read."""


class ConfigurationError(PamIampassError):
    """Configuration that cannot be used.

    As a string it is one line, with the first few problems; `diagnostics` tells them all.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        told = [str(problem) for problem in self.problems[:_TOLD]]
        more = len(self.problems) - len(told)
        super().__init__("; ".join([*told, f"and {more} more"] if more else told))

    def diagnostics(self) -> str:
        return "\n".join(f"{problem}\n    {_line(problem.remedy)}" for problem in self.problems)


class EditRefused(PamIampassError):
    """A change to the table of users that was not made."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.remedy = remedy

    def diagnostics(self) -> str:
        return f"{_line(str(self))}\n    {_line(self.remedy)}"


class StateError(PamIampassError):
    """What the module remembers, below /run/iampass or /var/lib/iampass, cannot be read or written.

    As a string it is one line, with the remedy.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what = what
        self.remedy = remedy

    def diagnostics(self) -> str:
        return f"{_line(self.what)}\n    {_line(self.remedy)}"

"""A row of the fault table: the failure, and the expected result of the login."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Callable, Union

if TYPE_CHECKING:
    from tests.support.faults.place import Ended, Place


#: The PAM stack of a case that is about something else.
MODULE_ALONE = ("auth required {module}",)

SUCCESS, AUTH_ERR, MAXTRIES, IGNORE, ABORT = 0, 7, 11, 25, 26
PERM_DENIED, AUTHINFO_UNAVAIL = 6, 9
#: The application died of SIGSEGV.
CRASHED = -11
#: The application was killed.
KILLED = -9
CODES = {
    SUCCESS: "PAM_SUCCESS",
    PERM_DENIED: "PAM_PERM_DENIED",
    AUTH_ERR: "PAM_AUTH_ERR",
    AUTHINFO_UNAVAIL: "PAM_AUTHINFO_UNAVAIL",
    CRASHED: "a crash",
    KILLED: "none",
    MAXTRIES: "PAM_MAXTRIES",
    IGNORE: "PAM_IGNORE",
    ABORT: "PAM_ABORT",
}


@dataclass(frozen=True)
class Requests:
    """How many requests reached the server, by kind."""

    starts: int = 0
    polls: int | None = 0
    """None: some, depending on time."""
    ends: int = 0
    least: int = 1
    """The smallest number of polls, if it depends on time."""

    @property
    def at_all(self) -> str:
        """As text for the page."""
        if self == Requests():
            return "0"
        polls = f"{self.polls} poll" if self.polls is not None else "polls" if self.least else "0 poll"
        parts = (f"{self.starts} start", polls, f"{self.ends} end")
        return ", ".join(part for part in parts if not part.startswith("0"))

    def fit(self, seen: Requests) -> bool:
        """Whether the server saw these requests."""
        polls = seen.polls or 0
        right = polls >= self.least if self.polls is None else polls == self.polls
        return (self.starts, self.ends) == (seen.starts, seen.ends) and right


NONE = Requests()


@dataclass(frozen=True)
class Expected:
    """The expected result of a login."""

    code: int
    """The result of the module; in a stack of several modules, that of the stack."""
    outcome: str
    """In the audit record; empty if the module must not be reached, so that there is no record."""
    result: str
    message: str = ""
    """The result as the user reads it, in one line; empty: nothing. Waiting times are written `…`."""
    requests: Requests = NONE
    within: float = 1.0
    """Seconds until PAM has the result, without the start of an interpreter."""
    record: str = ""
    """A part of the audit record's line."""
    also: str = ""
    """What the user reads before that, besides instructions."""

    def but(self, **changes: object) -> Expected:
        """The same with changes."""
        return replace(self, **changes)  # type: ignore[arg-type]


#: Runs one or more logins in a place.
Play = Callable[["Place"], "list[Ended]"]
Option = Union[str, bytes, int, bool]


@dataclass(frozen=True, eq=False)
class Case:
    """One row."""

    name: str
    """Completes a sentence that begins with "when"."""
    expected: Expected
    server: Callable[[Place], AbstractContextManager[object]]
    """The server at the configured address; see `server`."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Keys of iampass.yaml with their YAML text."""
    prepare: Callable[[Place], object] = lambda place: None
    """Changes the valid files of this login."""
    play: Play | None = None
    """None: run the application of `tests/pam/native/application.c` with the options of `application`."""
    application: Mapping[str, Option] = field(default_factory=dict)
    others: tuple[Expected, ...] = ()
    """The expected results of further logins, if they differ from the first."""
    stack: tuple[str, ...] = MODULE_ALONE
    """The PAM file. `{module}` is the door with its arguments, `{other}` the name of the file in `included`."""
    included: tuple[str, ...] = ()
    lingers: float = 0.0
    """Seconds that the module keeps working after its reply."""
    people: int = 1
    """The number of users."""

    def __str__(self) -> str:
        return self.name

    @property
    def ends_at_deadline(self) -> bool:
        """Whether the login lasts until its deadline."""
        return self.expected.within > float(self.settings.get("timeout", "20s")[:-1])

    @property
    def takes(self) -> float:
        """The approximate total time, in seconds."""
        return self.expected.within + self.lingers

    def code_of_the_stack(self, expected: Expected) -> int:
        """The code that the application gets: a stack in which every module returns PAM_IGNORE fails."""
        alone = expected.code == IGNORE and len(self.stack) == 1
        return PERM_DENIED if alone else expected.code

    def each(self, logins: int) -> list[Expected]:
        """The expected result of each login."""
        return [self.expected, *self.others] if self.others else [self.expected] * logins

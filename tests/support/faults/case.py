"""What a row of the fault table says: what is wrong, and what must come of a login all the same."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Callable, Protocol, Union

from tests.support.ways import WITH_AGENT, WITH_HELPER, Way

if TYPE_CHECKING:
    from tests.support.faults.place import Ended, Place
    from tests.support.faults.stage import Stage

WITH_NATIVE_HELPER, WITH_PAM_PYTHON = WITH_HELPER
#: Through PAM: each door, the native one with the agent and with the helper.
BY_PAM = (WITH_PAM_PYTHON, WITH_AGENT, WITH_NATIVE_HELPER)
#: The test speaks with the agent in the place of a door.
WITHOUT_PAM = Way("the agent, without PAM", "", agent=True)
#: The PAM stack of a case that is about something else.
MODULE_ALONE = ("auth required {module}",)

SUCCESS, AUTH_ERR, MAXTRIES, IGNORE, ABORT = 0, 7, 11, 25, 26
PERM_DENIED, AUTHINFO_UNAVAIL = 6, 9
#: The application died of SIGSEGV.
CRASHED = -11
#: It was killed.
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
    """None: one or more, as time allows."""
    ends: int = 0

    @property
    def at_all(self) -> str:
        """For a reader."""
        if self == Requests():
            return "0"
        polls = "polls" if self.polls is None else f"{self.polls} poll"
        parts = (f"{self.starts} start", polls, f"{self.ends} end")
        return ", ".join(part for part in parts if not part.startswith("0"))

    def fit(self, seen: Requests) -> bool:
        """Whether these are they."""
        polls = seen.polls or 0
        right = polls >= 1 if self.polls is None else polls == self.polls
        return (self.starts, self.ends) == (seen.starts, seen.ends) and right


NONE = Requests()


@dataclass(frozen=True)
class Expected:
    """What must come of a login."""

    code: int
    """What the module says; with a stack of several modules, what the stack says."""
    outcome: str
    """In the audit record; empty where the module is not to be reached, and so there is no record."""
    result: str
    message: str = ""
    """What the person reads of it, in one line; empty: nothing. A time to wait in it is written `…`."""
    requests: Requests = NONE
    within: float = 1.0
    """Seconds until PAM has its answer, beside the start of an interpreter where one is started."""
    record: str = ""
    """A part of the audit record's line."""
    also: str = ""
    """What the person reads before that, where there is more than what to do."""
    recorded: bool = True
    """Whether there is a log for the audit record to be in."""

    def but(self, **changes: object) -> Expected:
        """The same with changes."""
        return replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Difference:
    """Another expectation on one way."""

    why: str
    expected: Expected


#: From a place to a login on it, or to some at once.
Play = Callable[["Place"], "list[Ended]"]
Option = Union[str, bytes, int, bool]


class Log(Protocol):
    """Where audit records go."""

    def lines(self) -> list[str]:
        """What came so far."""


@dataclass(frozen=True)
class Circumstance:
    """What holds for the whole machine while its cases are played; the others wait."""

    name: str
    make: Callable[[Stage], AbstractContextManager[Log | None]]
    """Brings the log that records go to, where that is not the journal."""

    def __str__(self) -> str:
        return self.name


def _as_it_is(stage: Stage) -> AbstractContextManager[None]:
    return nullcontext()


AS_EVER = Circumstance("as ever", _as_it_is)
#: For those that give the machine enough to do.
ALONE = Circumstance("alone", _as_it_is)


@dataclass(frozen=True, eq=False)
class Case:
    """One row."""

    name: str
    """Reads as a sentence together with «when»."""
    expected: Expected
    server: Callable[[Place], AbstractContextManager[object]]
    """Who answers where the settings say that IAMPASS is; see `server`."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Keys of iampass.yaml with their YAML text."""
    prepare: Callable[[Place], object] = lambda place: None
    """What is done to the files of this login, once they are as they should be."""
    play: Play | None = None
    """None: by the application of `tests/pam/native/application.c`, with `application` for options."""
    application: Mapping[str, Option] = field(default_factory=dict)
    others: tuple[Expected, ...] = ()
    """What must come of the logins after the first, where the case plays some and they differ."""
    stack: tuple[str, ...] = MODULE_ALONE
    """The PAM file. `{module}` is the door with its arguments, `{other}` the name of the file in `included`."""
    included: tuple[str, ...] = ()
    lingers: float = 0.0
    """Seconds that the module is at work after its answer."""
    people: int = 1
    """How many take part."""
    circumstance: Circumstance = AS_EVER
    differs: Mapping[Way, Difference] = field(default_factory=dict)
    stage: str = ""
    """At which step of a login it goes wrong, where that is not the subject of the row."""
    about_pam: bool = False
    """Whether it is about the application, a door or PAM itself, and so cannot be played without PAM."""

    def __str__(self) -> str:
        return self.name

    @property
    def needs_pam(self) -> bool:
        """Whether it can be played through PAM only."""
        return self.about_pam or bool(self.differs) or self.stack != MODULE_ALONE

    @property
    def takes(self) -> float:
        """About how long it takes in all, in seconds."""
        return self.expected.within + self.lingers

    def code_of_the_stack(self, expected: Expected, way: Way) -> int:
        """What the application gets to see: a stack in which every module says PAM_IGNORE fails."""
        alone = expected.code == IGNORE and len(self.stack) == 1 and way != WITHOUT_PAM
        return PERM_DENIED if alone else expected.code

    def each(self, way: Way, logins: int) -> list[Expected]:
        """What must come of each of so many logins on this way."""
        return [self.on(way), *self.others] if self.others else [self.on(way)] * logins

    def on(self, way: Way) -> Expected:
        """What must come of it on this way."""
        return self.differs[way].expected if way in self.differs else self.expected

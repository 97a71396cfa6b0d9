"""What is remembered of one person's logins, and the rules that follow from it.

Moments are seconds on a clock that runs from the start of the machine, so that nothing depends on the time of day; a
moment that is still to come is from before the last start, and forgotten. Places are keyed by a salted hash.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

HOUR = 3600.0
"""Seconds after which everything is forgotten."""
LONGEST_LOGIN = 600.0
"""Seconds. A login that has been pending for longer is none: its process is stuck, and must not lock anybody out."""
MOST_ATTEMPTS = 500
"""Wrong recovery codes that are remembered; of more the oldest are forgotten, so that the file stays small."""


class Broken(Exception):
    """The text is not what this module writes."""


@dataclass
class Failures:
    """Requests of one place in a row that were refused, not answered or broken off."""

    count: int
    last: float


@dataclass
class Request:
    """A request that was not approved, or not yet."""

    ticket: str
    at: float


@dataclass
class Pending:
    """A login that has a request on the phone, or is about to."""

    place: str
    ticket: str
    since: float
    decided: bool = False
    """Whether it is known what became of its request: it is only seeing its session to the end."""


@dataclass
class Attempt:
    """A wrong recovery code."""

    place: str
    at: float


@dataclass
class State:
    """One person's."""

    salt: str
    failures: dict[str, Failures] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    pending: list[Pending] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)

    def forget(self, now: float) -> None:
        """Forget what is too old to count, and what lies in the future."""
        self.failures = {
            place: found for place, found in self.failures.items() if 0 <= now - found.last < HOUR
        }
        self.requests = [request for request in self.requests if 0 <= now - request.at < HOUR]
        self.pending = [login for login in self.pending if 0 <= now - login.since < LONGEST_LOGIN]
        self.attempts = [attempt for attempt in self.attempts if 0 <= now - attempt.at < HOUR]

    def fail(self, place: str, now: float) -> None:
        """A request of the place was refused, not answered or broken off."""
        before = self.failures.get(place)
        self.failures[place] = (
            Failures(before.count + 1, max(before.last, now)) if before else Failures(1, now)
        )

    def withdraw(self, ticket: str) -> None:
        """The request was approved, or never went out: it does not count."""
        self.requests = [request for request in self.requests if request.ticket != ticket]

    def cool_off(self, place: str, first: float, longest: float, now: float) -> float:
        """Seconds until the next request of the place may go out. The first failure is free: anybody may slip."""
        found = self.failures.get(place)
        if found is None or found.count < 2:
            return 0.0
        length = min(first * 2.0 ** min(found.count - 2, 20), longest)
        return max(found.last + length - now, 0.0)

    def wait_for_cap(self, most: int, now: float) -> float:
        """Seconds until one more request may go out, where `most` may within an hour."""
        if len(self.requests) < most:
            return 0.0
        moments = sorted(request.at for request in self.requests)
        return moments[len(moments) - most] + HOUR - now

    def wait_for_attempt(self, place: str, most: int, now: float) -> float:
        """Seconds until one more recovery code of the place is looked at, where `most` are within an hour."""
        moments = sorted(attempt.at for attempt in self.attempts if attempt.place == place)
        return 0.0 if len(moments) < most else moments[len(moments) - most] + HOUR - now

    def attempt(self, place: str, now: float) -> None:
        """A recovery code of the place is looked at; wrong until it proves right."""
        self.attempts = [*self.attempts, Attempt(place, now)][-MOST_ATTEMPTS:]

    def attempt_was_right(self, place: str) -> None:
        """The last one of the place does not count."""
        mine = [attempt for attempt in self.attempts if attempt.place == place]
        if mine:
            self.attempts.remove(mine[-1])


def encoded(state: State) -> bytes:
    """The content of a file."""
    import json

    return json.dumps(
        {
            "version": 1,
            "salt": state.salt,
            "failures": {place: [found.count, found.last] for place, found in state.failures.items()},
            "requests": [[request.ticket, request.at] for request in state.requests],
            "pending": [[login.place, login.ticket, login.since, login.decided] for login in state.pending],
            "attempts": [[attempt.place, attempt.at] for attempt in state.attempts],
        },
        separators=(",", ":"),
    ).encode("ascii")


def decoded(data: bytes) -> State:
    """What such content says. Raises Broken."""
    import json

    try:
        read = json.loads(data)
        if read["version"] != 1:
            raise Broken
        return State(
            salt=_text(read["salt"]),
            failures={
                place: Failures(_count(count), _moment(last))
                for place, (count, last) in read["failures"].items()
            },
            requests=[Request(_text(ticket), _moment(at)) for ticket, at in read["requests"]],
            pending=[
                Pending(_text(place), _text(ticket), _moment(since), _truth(decided))
                for place, ticket, since, decided in read["pending"]
            ],
            attempts=[Attempt(_text(place), _moment(at)) for place, at in read["attempts"]],
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise Broken from None


def _text(value: Any) -> str:
    """A token of ours: letters and digits only, since some are parts of file names."""
    if not isinstance(value, str) or not (value.isascii() and value.isalnum()):
        raise Broken
    return value


def _count(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise Broken
    return value


def _moment(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise Broken
    return float(value)


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise Broken
    return value

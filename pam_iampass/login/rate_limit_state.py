"""The rate limit's state of one person, and the rules that follow from it.

Times are seconds since boot, so that nothing depends on the time of day; a time in the future is from before the last
boot, and is dropped. Origins are keyed by a salted hash.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

HOUR = 3600.0
"""Seconds after which everything is dropped."""
LONGEST_LOGIN = 600.0
"""Seconds. A login that is pending for longer is ignored: its process hangs, and must not lock users out."""
MOST_ATTEMPTS = 500
"""The number of wrong recovery codes that are kept; older ones are dropped, so that the file stays small."""


class CorruptState(Exception):
    """The content was not written by this module."""


@dataclass
class Failures:
    """Consecutive requests of one origin that were refused, unanswered or abandoned."""

    count: int
    last: float


@dataclass
class SentRequest:
    """A request that was not approved, or is not yet."""

    lease: str
    at: float


@dataclass
class Pending:
    """A login that has sent a request, or is about to."""

    origin: str
    lease: str
    since: float
    decided: bool = False
    """Whether the result of its request is known, and only its session remains to be ended."""


@dataclass
class Attempt:
    """A wrong recovery code."""

    origin: str
    at: float


@dataclass
class RateLimitState:
    """The state of one person."""

    salt: str
    failures: dict[str, Failures] = field(default_factory=dict)
    requests: list[SentRequest] = field(default_factory=list)
    pending: list[Pending] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)

    def forget(self, now: float) -> None:
        """Drop what is too old to count, and what lies in the future."""
        self.failures = {
            origin: found for origin, found in self.failures.items() if 0 <= now - found.last < HOUR
        }
        self.requests = [request for request in self.requests if 0 <= now - request.at < HOUR]
        self.pending = [login for login in self.pending if 0 <= now - login.since < LONGEST_LOGIN]
        self.attempts = [attempt for attempt in self.attempts if 0 <= now - attempt.at < HOUR]

    def fail(self, origin: str, now: float) -> None:
        """Count a request of the origin that was refused, unanswered or abandoned."""
        before = self.failures.get(origin)
        self.failures[origin] = (
            Failures(before.count + 1, max(before.last, now)) if before else Failures(1, now)
        )

    def withdraw(self, lease: str) -> None:
        """Do not count a request that was approved or not sent."""
        self.requests = [request for request in self.requests if request.lease != lease]

    def backoff(self, origin: str, first: float, longest: float, now: float) -> float:
        """Seconds until the next request of the origin may be sent. The first failure has no effect."""
        found = self.failures.get(origin)
        if found is None or found.count < 2:
            return 0.0
        length = min(first * 2.0 ** min(found.count - 2, 20), longest)
        return max(found.last + length - now, 0.0)

    def wait_for_cap(self, most: int, now: float) -> float:
        """Seconds until one more request may be sent, where `most` may be sent within an hour."""
        if len(self.requests) < most:
            return 0.0
        moments = sorted(request.at for request in self.requests)
        return moments[len(moments) - most] + HOUR - now

    def wait_for_attempt(self, origin: str, most: int, now: float) -> float:
        """Seconds until the origin may try one more recovery code, where it may try `most` within an hour."""
        moments = sorted(attempt.at for attempt in self.attempts if attempt.origin == origin)
        return 0.0 if len(moments) < most else moments[len(moments) - most] + HOUR - now

    def attempt(self, origin: str, now: float) -> None:
        """Count an attempt with a recovery code; it is wrong until it proves right."""
        self.attempts = [*self.attempts, Attempt(origin, now)][-MOST_ATTEMPTS:]

    def attempt_was_right(self, origin: str) -> None:
        """Do not count the last attempt of the origin."""
        mine = [attempt for attempt in self.attempts if attempt.origin == origin]
        if mine:
            self.attempts.remove(mine[-1])


def encoded(state: RateLimitState) -> bytes:
    """The content of a file."""
    import json

    return json.dumps(
        {
            "version": 1,
            "salt": state.salt,
            "failures": {origin: [found.count, found.last] for origin, found in state.failures.items()},
            "requests": [[request.lease, request.at] for request in state.requests],
            "pending": [[login.origin, login.lease, login.since, login.decided] for login in state.pending],
            "attempts": [[attempt.origin, attempt.at] for attempt in state.attempts],
        },
        separators=(",", ":"),
    ).encode("ascii")


def decoded(data: bytes) -> RateLimitState:
    """The state in the content of a file. Raises CorruptState."""
    import json

    try:
        read = json.loads(data)
        if read["version"] != 1:
            raise CorruptState
        return RateLimitState(
            salt=_text(read["salt"]),
            failures={
                origin: Failures(_count(count), _moment(last))
                for origin, (count, last) in read["failures"].items()
            },
            requests=[SentRequest(_text(lease), _moment(at)) for lease, at in read["requests"]],
            pending=[
                Pending(_text(origin), _text(lease), _moment(since), _truth(decided))
                for origin, lease, since, decided in read["pending"]
            ],
            attempts=[Attempt(_text(origin), _moment(at)) for origin, at in read["attempts"]],
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise CorruptState from None


def _text(value: Any) -> str:
    """A name that this module made: letters and digits only, since some are parts of file names."""
    if not isinstance(value, str) or not (value.isascii() and value.isalnum()):
        raise CorruptState
    return value


def _count(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise CorruptState
    return value


def _moment(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise CorruptState
    return float(value)


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise CorruptState
    return value

"""The rate limit's state of one person, and the rules that follow from it.

Times are seconds since boot, so that nothing depends on the time of day; a time in the future is from before the last
boot, and is dropped. Origins are keyed by a salted hash.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MINUTE = 60.0
"""Seconds; no next turn is later than that."""
HOUR = 3600.0
"""Seconds after which everything is dropped."""
MOST_KEPT = 500
"""The number of wrong recovery codes, of failing origins and of origins that had a turn that are kept. Older ones are
dropped, so that the state stays small."""
TURN_PATIENCE = 2.0
"""Seconds. A login that could have its turn and does not take it for so long is stopped: the next one goes first."""


@dataclass
class Failures:
    """Consecutive requests of one origin that were not approved."""

    count: int
    last: float


@dataclass
class SentRequest:
    """A request that was not approved, or is not yet."""

    ident: str
    """Of the login."""
    at: float


@dataclass
class Pending:
    """A login that waits for its turn, or has it."""

    origin: str
    ident: str
    since: float
    until: float
    """After that it is ignored: its thread hangs, and must not lock users out."""
    has_turn: bool = False
    """Whether its request may be on the phone."""
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

    failures: dict[str, Failures] = field(default_factory=dict)
    requests: list[SentRequest] = field(default_factory=list)
    pending: list[Pending] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    turns: dict[str, float] = field(default_factory=dict)
    """When each origin had its last turn."""
    next_turn: float = 0.0
    """When the next turn may begin."""
    lost: float = 0.0
    """When the person's phone was last reported lost, or the person was removed; 0 where that was not in this boot."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing in it has an effect."""
        kept = self.failures or self.requests or self.pending or self.attempts or self.turns or self.lost
        return not kept

    def forget(self, now: float) -> None:
        """Drop what is too old to count, and what lies in the future."""
        self.failures = {
            origin: found for origin, found in self.failures.items() if 0 <= now - found.last < HOUR
        }
        self.requests = [request for request in self.requests if 0 <= now - request.at < HOUR]
        self.pending = [login for login in self.pending if login.since <= now < login.until]
        self.attempts = [attempt for attempt in self.attempts if 0 <= now - attempt.at < HOUR]
        self.turns = {origin: at for origin, at in self.turns.items() if 0 <= now - at < HOUR}
        self.next_turn = self.next_turn if self.next_turn <= now + MINUTE else 0.0
        self.lost = self.lost if self.lost <= now else 0.0

    def fail(self, origin: str, now: float) -> None:
        """Count a request of the origin that was not approved."""
        before = self.failures.pop(origin, None)
        self.failures[origin] = (
            Failures(before.count + 1, max(before.last, now)) if before else Failures(1, now)
        )
        _drop_oldest(self.failures)

    def withdraw(self, ident: str) -> None:
        """Do not count a request that was approved or not sent."""
        self.requests = [request for request in self.requests if request.ident != ident]

    def turn_holder(self) -> Pending | None:
        """The login that has its turn."""
        return next((login for login in self.pending if login.has_turn), None)

    def is_next(self, ident: str, now: float) -> bool:
        """Whether it is the login's turn.

        Turns go round by origin: the one whose last turn is longest ago goes first. Within it, who came first.
        """
        if self.turn_holder() is not None or now < self.next_turn:
            return False
        for login in sorted(self.pending, key=lambda each: (self.turns.get(each.origin, -1.0), each.since)):
            if login.ident == ident:
                return True
            if now - max(self.next_turn, login.since) < TURN_PATIENCE:
                return False
        return False

    def next_chance(self, now: float) -> float:
        """Seconds until a login that waits may be next, if nothing happens before."""
        holder = self.turn_holder()
        if holder is not None:
            return holder.until - now
        return self.next_turn - now if now < self.next_turn else TURN_PATIENCE

    def begin_turn(self, ident: str, now: float) -> bool:
        """Give the turn to a login if it is its turn, and count its request; returns whether it is."""
        if not self.is_next(ident, now):
            return False
        login = next(each for each in self.pending if each.ident == ident)
        login.has_turn = True
        self.turns.pop(login.origin, None)
        self.turns[login.origin] = now
        _drop_oldest(self.turns)
        self.requests.append(SentRequest(ident, now))
        return True

    def end(self, login: Pending, now: float) -> None:
        """A login has ended. If it had its turn and could not record the result, it counts as a failure."""
        self.pending.remove(login)
        if login.has_turn:
            self.next_turn = max(self.next_turn, now)
            if not login.decided:
                self.fail(login.origin, login.since)

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
        self.attempts = [*self.attempts, Attempt(origin, now)][-MOST_KEPT:]

    def attempt_was_right(self, origin: str) -> None:
        """Do not count the last attempt of the origin."""
        mine = [attempt for attempt in self.attempts if attempt.origin == origin]
        if mine:
            self.attempts.remove(mine[-1])


def _drop_oldest(by_origin: dict[str, Any]) -> None:
    for oldest in list(by_origin)[:-MOST_KEPT]:
        del by_origin[oldest]

"""When kept sessions are polled: spread over time, and hardly at all while IAMPASS cannot be reached."""

from __future__ import annotations

import random
from typing import Callable

from pam_iampass.client.errors import Unavailable

#: After this many failures in a row, of any sessions, all polls pause. Before that, IAMPASS can ask for a pause of one
#: session.
FAILURES = 3
#: How long they pause; then one poll finds out more. Seconds.
PAUSE = 5.0
#: The longest pause that IAMPASS can ask for: meanwhile the phone ends no login. Seconds.
LONGEST_PAUSE = 60.0
#: How much faster than usual late polls are made up for, and how many polls a second there may be in any case.
CATCH_UP, SPARE = 1.25, 10.0
#: How many polls may begin together after a stall, and how many may be under way or wait for a thread of a busy
#: process: those of so many seconds.
TOGETHER = 0.5
#: How soon a status other than active is looked at again. Seconds.
SECOND_LOOK = 2.0


class PollBudget:
    """How many polls may begin: after a stall they catch up slowly. Guarded by the lock of the registry."""

    def __init__(self) -> None:
        self._left = 0.0
        self._refilled = 0.0
        self._together = SPARE
        self._under_way = 0

    def refill(self, now: float, rate: float) -> None:
        """`rate` is how many polls there are each second if none is late; `now` is in seconds since boot."""
        most = CATCH_UP * rate + SPARE
        self._together = max(most * TOGETHER, SPARE)
        self._left = min(self._left + most * max(now - self._refilled, 0.0), self._together)
        self._refilled = now

    def take(self) -> bool:
        """Whether one more may begin now; if so, `done` follows."""
        if self._left < 1.0 or self._under_way >= self._together:
            return False
        self._left -= 1.0
        self._under_way += 1
        return True

    def done(self) -> None:
        """A poll is over."""
        self._under_way -= 1


class Pacing:
    """The times of polls, in seconds since boot. Guarded by the lock of the registry."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        """`chance` is a number from 0 to 1."""
        self._chance = chance
        self._failures = 0
        self.paused_until = 0.0

    def first(self, now: float, check: float) -> float:
        """The first poll of a session: sessions that began together are not polled together."""
        return now + check * self._chance()

    def next(self, due: float, now: float, check: float) -> float:
        """The poll after the one that was due at `due`. A session keeps its place within `check`, unless it is late."""
        return due + check if now < due + check / 2 else self.first(now, check)

    def postponed(self, now: float, check: float) -> float:
        """The poll of a session that was due during a pause: spread over the time after it."""
        return max(self.paused_until, now) + check * self._chance()

    def answered(self) -> None:
        """IAMPASS has answered a poll."""
        self._failures, self.paused_until = 0, 0.0

    def failed(self, error: Exception, now: float) -> float:
        """A poll has failed; returns how long IAMPASS asks not to be polled about its session. Seconds."""
        if not isinstance(error, Unavailable) or (error.status is not None and error.retry_after is None):
            return 0.0
        asked = min(error.retry_after or 0.0, LONGEST_PAUSE)
        self._failures += 1
        if self._failures >= FAILURES:
            self.paused_until = max(self.paused_until, now + max(asked, PAUSE))
        return asked

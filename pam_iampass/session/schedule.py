"""The tasks of kept sessions, and when they are due.

Polls are spread over time, and there are hardly any while IAMPASS cannot be reached.
"""

from __future__ import annotations

import enum
import math
import random
from dataclasses import dataclass, field
from typing import Callable

from pam_iampass.client import Status
from pam_iampass.client.errors import Unavailable
from pam_iampass.session.kept_session import KeptSession, State

#: After this many failures in a row, of any sessions, all polls pause. Before that, IAMPASS can ask for a pause of one
#: session.
FAILURES = 3
#: How long they pause; then one poll finds out more. Seconds.
PAUSE = 5.0
#: The longest pause that IAMPASS can ask for: meanwhile the phone ends no login. Seconds.
LONGEST_PAUSE = 60.0
#: How much faster than usual late polls are made up for, and how many polls a second there may be in any case.
CATCH_UP, SPARE = 1.25, 10.0
#: After a stall as many polls may begin together as belong into this time, and as many may be under way or wait for a
#: thread of a busy process. Seconds.
TOGETHER = 0.5
#: How soon a status other than active is looked at again. Seconds.
SECOND_LOOK = 2.0


class Task(enum.Enum):
    """Something that has to be done about a session."""

    END_LONGEST = "end longest"
    POLL = "poll"
    """Ask IAMPASS for the status."""
    TELL = "tell"
    """End the session at IAMPASS."""
    ENFORCE = "enforce"
    """Have the enforcer do what is wanted."""

    @property
    def is_call(self) -> bool:
        """Whether it waits for IAMPASS. Such a task holds up only others like it, of the same session."""
        return self in (Task.POLL, Task.TELL)


@dataclass
class Scheduled:
    """A session in the memory of the agent. Guarded by the lock of `KeptSessions`. Times are in seconds since boot."""

    kept: KeptSession
    poll_at: float = math.inf
    tell_at: float = 0.0
    enforce_at: float = 0.0
    enforcements: int = 0
    """How often the enforcer was asked for what is wanted."""
    watched_elsewhere: bool = False
    """Whether a call that waits at a gateway tells what becomes of it: it is not polled."""
    version: int = 0
    """The version of the last status that a gateway has reported."""
    suspect: Status | None = None
    """A status other than active that was reported once."""
    phone_at: float = 0.0
    """When IAMPASS is asked whether the person still has a phone."""
    without_phone: bool = False
    """Whether IAMPASS has said once that the person has none."""
    unanswered_since: float = math.inf
    """When the first poll after the last usable answer of IAMPASS was due."""
    unaskable: bool = False
    """Whether the last poll failed for a cause on this machine, which a user can have made."""
    doing: set[Task] = field(default_factory=set)
    """The tasks that are being done: at most one that is a call, and one that is none."""

    def next_task(self) -> tuple[float, Task | None]:
        """The next task that can begin beside the ones that are being done, and when it is due."""
        kept = self.kept
        options: list[tuple[float, Task | None]] = [(math.inf, None)]
        if kept.is_let_in:
            options.append((kept.ends_at, Task.END_LONGEST))
            if not self.watched_elsewhere:
                options.append((self.poll_at, Task.POLL))
        if kept.state is State.ENDING and not kept.told:
            options.append((self.tell_at, Task.TELL))
        if kept.wanted is not None:
            options.append((self.enforce_at, Task.ENFORCE))
        busy = {task.is_call for task in self.doing}
        return min(
            (each for each in options if each[1] is None or each[1].is_call not in busy),
            key=lambda each: each[0],
        )


class PollBudget:
    """How many polls may begin: after a stall they catch up slowly. Guarded by the lock of `KeptSessions`."""

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
    """The times of polls, in seconds since boot. Guarded by the lock of `KeptSessions`."""

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

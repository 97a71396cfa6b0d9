"""A kept session in the memory of the agent, and what has to be done about it next."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field

from pam_iampass.client import Status
from pam_iampass.session.kept_session import KeptSession, State


class Task(enum.Enum):
    """What has to be done about a session."""

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
class Entry:
    """One session. Guarded by the lock of its registry. Times are in seconds since boot."""

    kept: KeptSession
    poll_at: float = math.inf
    tell_at: float = 0.0
    enforce_at: float = 0.0
    enforcements: int = 0
    """How often the enforcer was asked for what is wanted."""
    suspect: Status | None = None
    """A status other than active that was reported once."""
    phone_at: float = 0.0
    """When IAMPASS is asked whether the person still has a phone."""
    without_phone: bool = False
    """Whether it has said once that there is none."""
    unanswered_since: float = math.inf
    """When the first poll was due of those since the last usable answer of IAMPASS."""
    unaskable: bool = False
    """Whether the last poll failed for a cause on this machine, which a user can have made."""
    doing: set[Task] = field(default_factory=set)
    """The tasks that are being done: at most one that is a call, and one that is none."""

    def next_task(self) -> tuple[float, Task | None]:
        """The next task that can begin beside those that are being done, and when it is due."""
        kept = self.kept
        options: list[tuple[float, Task | None]] = [(math.inf, None)]
        if kept.is_let_in:
            options.append((kept.ends_at, Task.END_LONGEST))
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

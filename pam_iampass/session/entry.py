"""A kept session in the memory of the agent, and what has to be done about it next."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

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
    answered_at: float = 0.0
    """When IAMPASS last gave a usable answer, or the session was approved."""
    unaskable: bool = False
    """Whether the last poll failed for a cause on this machine, which a user can have made."""
    doing: Task | None = None
    """The task that is being done."""

    def next_task(self) -> tuple[float, Task | None]:
        """The next task, and when it is due."""
        kept = self.kept
        options: list[tuple[float, Task | None]] = [(math.inf, None)]
        if kept.is_let_in:
            options.append((kept.ends_at, Task.END_LONGEST))
            options.append((self.poll_at, Task.POLL))
        if kept.state is State.ENDING and not kept.told:
            options.append((self.tell_at, Task.TELL))
        if kept.wanted is not None:
            options.append((self.enforce_at, Task.ENFORCE))
        return min(options, key=lambda option: option[0])

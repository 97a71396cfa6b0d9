"""What happens in the sandbox, as it is told to people."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass, field
from typing import Callable


class EventKind(str, enum.Enum):
    """The kinds of things that happen, in the words that people read."""

    REQUESTED = "requested"
    IDENTIFYING = "identifying"
    APPROVED = "approved"
    DENIED = "denied"
    TIMED_OUT = "timed out"
    CANCELLED = "cancelled"
    WALKED_AWAY = "walked away"
    ENDED = "ended"
    EXPIRED = "expired"
    NOT_STARTED = "not started"
    USER_ADDED = "user added"
    USER_DELETED = "user deleted"
    LINK_MADE = "link made"
    DEVICE_REGISTERED = "device registered"
    DEVICE_REMOVED = "device removed"
    SMS = "SMS"
    REFUSED = "refused"
    FAULT = "fault"


@dataclass(frozen=True)
class Event:
    """One thing that happened."""

    kind: EventKind
    user: str = ""
    """The user's id at the service, as it was sent: clean it before a terminal sees it."""
    detail: str = ""
    number: int = 0
    """The session that it is about, 0 where there is none."""
    at: float = field(default_factory=time.time)
    """Unix time in seconds."""


Listener = Callable[[Event], None]
"""Is called in whatever thread the thing happened in, and must not block."""

"""The events of the sandbox, as people read them."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass, field
from typing import Callable


class EventKind(str, enum.Enum):
    """The kinds of events, in the words that the terminal shows."""

    REQUESTED = "requested"
    IDENTIFYING = "identifying"
    APPROVED = "approved"
    DENIED = "denied"
    TIMED_OUT = "timed out"
    NOT_RECOGNIZED = "not recognized"
    WALKED_AWAY = "walked away"
    CAME_BACK = "came back"
    ENDED = "ended"
    EXPIRED = "expired"
    NOT_STARTED = "not started"
    USER_ADDED = "user added"
    USER_DELETED = "user deleted"
    LINK_MADE = "link made"
    DEVICE_REGISTERED = "device registered"
    DEVICE_REMOVED = "device removed"
    DEVICE_LOST = "device lost"
    DEVICE_FOUND = "device found"
    DEVICE_DISABLED = "device disabled"
    SMS = "SMS"
    REFUSED = "refused"


@dataclass(frozen=True)
class Event:
    """One event."""

    kind: EventKind
    user: str = ""
    """The user's id at the service. Not cleaned."""
    detail: str = ""
    number: int = 0
    """The number of its session, 0 for none."""
    at: float = field(default_factory=time.time)
    """Unix time in seconds."""


Listener = Callable[[Event], None]
"""Called in the thread in which the event happens; must not block."""

"""The events of the sandbox, as people read them, and the lock of its state, which makes them known."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


class Notifier:
    """Hold it (``with``) to read or change the state; a thread may hold it more than once.

    :param listener: called with every event.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._watchers: list[Callable[[], None]] = []
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def changed(self, event: Event | None = None) -> None:
        """Report a change to all that watch, and the event to the listener."""
        with self._lock:
            for wake in self._watchers:
                wake()
            if event is not None:
                self._listener(event)

    @contextmanager
    def watched(self, wake: Callable[[], None]) -> Iterator[None]:
        """Have ``wake`` called after each change, in whatever thread that happens; it must not block."""
        with self._lock:
            self._watchers.append(wake)
        try:
            yield
        finally:
            with self._lock:
                self._watchers.remove(wake)

"""The lock that guards the service's state, and notifications of its changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable

from pam_iampass.sandbox.events import Event, Listener


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

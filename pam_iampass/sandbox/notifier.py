"""The lock that guards the service's state, and notifications of its changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable, TypeVar

from pam_iampass.sandbox.events import Event, Listener

Found = TypeVar("Found")


class Notifier:
    """Hold it (``with``) to read or change the state; a thread may hold it more than once.

    :param listener: called with every event.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._watchers: list[Callable[[], None]] = []
        self._condition = threading.Condition(threading.RLock())

    def __enter__(self) -> None:
        self._condition.acquire()

    def __exit__(self, *_: object) -> None:
        self._condition.release()

    def changed(self, event: Event | None = None) -> None:
        """Report a change to all that wait for one, and the event to the listener."""
        with self._condition:
            self._condition.notify_all()
            for wake in self._watchers:
                wake()
            if event is not None:
                self._listener(event)

    @contextmanager
    def watched(self, wake: Callable[[], None]) -> Iterator[None]:
        """Have ``wake`` called after each change, in whatever thread that happens; it must not block."""
        with self._condition:
            self._watchers.append(wake)
        try:
            yield
        finally:
            with self._condition:
                self._watchers.remove(wake)

    def wait_for(self, find: Callable[[], Found | None], timeout: float, what: str) -> Found:
        """Call ``find`` after each change until it returns a result. Raises TimeoutError."""
        with self._condition:
            found = self._condition.wait_for(find, timeout)
            if not found:
                raise TimeoutError(f"not within {timeout} s: {what}")
            return found

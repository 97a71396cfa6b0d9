"""One lock for all that the service knows, and a way to wait until something in it changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Callable, TypeVar

from pam_iampass.sandbox.events import Event, Listener

Found = TypeVar("Found")


class Changes:
    """Hold it (``with``) to read or change what it guards; whoever holds it may take it again.

    :param listener: told of every event.
    """

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._watchers: list[Callable[[], None]] = []
        self._condition = threading.Condition(threading.RLock())

    def __enter__(self) -> None:
        self._condition.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._condition.release()

    def made(self, event: Event | None = None) -> None:
        """Something has changed: wake who waits, and tell what happened."""
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
        """Wait until ``find`` has an answer, asking again after each change. Raises TimeoutError."""
        with self._condition:
            found = self._condition.wait_for(find, timeout)
            if not found:
                raise TimeoutError(f"not within {timeout} s: {what}")
            return found

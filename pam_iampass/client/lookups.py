"""Name lookups that end in time, though glibc waits without a limit for a name server that it asks over TCP."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any, Callable

#: The most lookups that are under way. A name server that says nothing after TCP has connected holds each for ever.
MOST = 32
#: For how long a lookup is joined by others who ask for the same. Seconds.
JOINED = 5.0


class Lookups:
    """`socket.getaddrinfo` with a time-out: each lookup runs in a thread, which is left behind if it hangs."""

    def __init__(
        self,
        getaddrinfo: Callable[..., Sequence[Any]] = socket.getaddrinfo,
        when_exhausted: Callable[[], None] = lambda: None,
    ) -> None:
        """`when_exhausted` is called each time the last of the lookups that may be under way has begun."""
        self._getaddrinfo = getaddrinfo
        self._when_exhausted = when_exhausted
        self._lock = threading.Lock()
        self._under_way: list[_Lookup] = []

    def __call__(self, host: str, port: int, *, timeout: float, **options: Any) -> Sequence[Any]:
        """As `socket.getaddrinfo`. Raises socket.timeout after `timeout` seconds, and an OSError that is no outage if
        no lookup can begin."""
        question = host, port, options
        with self._lock:
            self._under_way = [each for each in self._under_way if each.is_alive()]
            same = (each for each in self._under_way if each.question == question and each.is_young)
            lookup = next(same, None)
            if lookup is None:
                if len(self._under_way) >= MOST:
                    raise OSError(errno.EAGAIN, f"{MOST} name lookups hang")
                lookup = _Lookup(self._getaddrinfo, question)
                try:
                    lookup.start()
                except RuntimeError as error:
                    raise OSError(errno.EAGAIN, f"no thread for a name lookup: {error}") from None
                self._under_way.append(lookup)
                if len(self._under_way) == MOST:
                    self._when_exhausted()
        lookup.join(timeout)
        if isinstance(lookup.result, BaseException):
            raise lookup.result
        if lookup.result is None:
            raise socket.timeout("timed out")
        return lookup.result


class _Lookup(threading.Thread):
    """A lookup, and in the end its result."""

    def __init__(
        self, getaddrinfo: Callable[..., Sequence[Any]], question: tuple[str, int, dict[str, Any]]
    ) -> None:
        super().__init__(name="lookup", daemon=True)
        self.question = question
        self.result: Sequence[Any] | BaseException | None = None
        self._getaddrinfo = getaddrinfo
        self._began = time.monotonic()

    @property
    def is_young(self) -> bool:
        """Whether it may be joined."""
        return time.monotonic() - self._began < JOINED

    def run(self) -> None:
        host, port, options = self.question
        try:
            self.result = self._getaddrinfo(host, port, **options)
        except BaseException as error:  # noqa: BLE001 - raised in those who wait: without a result it would be a time-out
            self.result = error

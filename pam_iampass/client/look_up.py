"""Names to addresses. The system's look-up knows no timeout of ours and can take a minute, so it gets a thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from typing import Any, Callable

Address = tuple[int, Any]
Resolve = Callable[..., Sequence[Any]]


class LookUps:
    """The look-ups under way: who asks for a name that is being looked up already waits for that answer.

    So a name service that hangs costs one thread for each name, however many logins wait for it.
    """

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._lock = threading.Lock()
        self._running: dict[tuple[str, int], _LookUp] = {}

    def addresses(self, host: str, port: int, timeout: float) -> list[Address]:
        """The addresses of `host`, within `timeout` seconds. Raises OSError; socket.timeout is one."""
        key = (host, port)
        with self._lock:
            running = self._running.get(key)
            if running is None:
                running = self._running[key] = _LookUp()
                try:
                    threading.Thread(target=self._work, args=(key, running), daemon=True).start()
                except RuntimeError as error:
                    del self._running[key]
                    raise MemoryError(str(error)) from None  # no thread is to be had
        if not running.done.wait(timeout):
            raise socket.timeout("no answer in time")
        if isinstance(running.found, OSError):
            raise running.found
        return [(family, address) for family, _, _, _, address in running.found]

    def _work(self, key: tuple[str, int], look_up: _LookUp) -> None:
        try:
            look_up.found = self._resolve(*key, type=socket.SOCK_STREAM)
        except OSError as error:
            look_up.found = error
        except UnicodeError:
            look_up.found = OSError(f"{key[0]} is no name of a host")
        with self._lock:
            del self._running[key]
        look_up.done.set()


class _LookUp:
    """One look-up, and what it found."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.found: Sequence[Any] | OSError = OSError("not looked up")

"""How many logins of one person from one place one process serves at once.

The agent has a limited number of places. Nobody shall be able to take them all by beginning logins that they never
finish. The limit is for each remote host, so that who logs in elsewhere with the same name is not kept out by it.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator


class AtCapacity(Exception):
    """There is no room for one more."""


class ConcurrencyLimit:
    """Counts logins. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: Counter[tuple[str, str, str]] = Counter()

    @contextlib.contextmanager
    def acquire(self, user: str, service: str, rhost: str, most: int) -> Iterator[None]:
        """One place, for as long as the block lasts. Raises Full where `most` are taken."""
        key = (user, service, rhost)
        with self._lock:
            if self._taken[key] >= most:
                raise AtCapacity
            self._taken[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._taken[key] -= 1
                if not self._taken[key]:
                    del self._taken[key]

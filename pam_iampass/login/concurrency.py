"""The limit on simultaneous logins of one person from one origin in one process.

Without it, logins that are started and never finished could use up the agent's capacity. The limit is per origin, so
that they cannot shut out the person who logs in from elsewhere. Logins at the prompt are counted apart from those after
it: otherwise a caller who fills the places could tell before the prompt whether another login waits.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator

from pam_iampass.login.origin import origin_of
from pam_iampass.outcome import Login


class AtCapacity(Exception):
    """The limit is reached."""


class ConcurrencyLimit:
    """Counts logins. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logins: Counter[tuple[str, str, str]] = Counter()

    @contextlib.contextmanager
    def acquire(self, stage: str, user: str, login: Login, limit: int) -> Iterator[None]:
        """Count a login of `user` at a stage for as long as the block lasts. Raises AtCapacity where `limit` are."""
        key = (stage, user, origin_of(login))
        with self._lock:
            if self._logins[key] >= limit:
                raise AtCapacity
            self._logins[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._logins[key] -= 1
                if not self._logins[key]:
                    del self._logins[key]

"""Calls of strangers, whose tokens are not known yet: they wait in short lines, and keep nobody else waiting.

A token that was found lately passes the line. The memory of found tokens decides about nothing else: whoever answers a
call checks its token each time.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

_MOST_KNOWN = 10_000
"""Tokens that are remembered. The one that was found longest ago is forgotten first."""
_LATE_SECONDS = 1.0
"""The delay of a refusal. A flood that waits for its answers becomes slower."""


class LineIsFull(Exception):
    """As many strangers wait in this line as may wait."""


class _Line:
    def __init__(self, at_once: int) -> None:
        self.turns = asyncio.Semaphore(at_once)
        self.length = 0
        """Calls in the line, with those whose turn it is."""
        self.late = 0
        """Calls whose refusal is delayed."""


class Strangers:
    """The lines of strangers, and the tokens that were found lately."""

    def __init__(self, at_once: int, waiting: int, late: int = 0) -> None:
        """Each line answers `at_once` calls at the same time, while `waiting` more wait. Of further calls, `late` are
        refused late, and the others at once."""
        self._at_once, self._longest, self._late = at_once, at_once + waiting, late
        self._lines: WeakValueDictionary[str, _Line] = WeakValueDictionary()
        self._known: dict[bytes, None] = {}

    def knows(self, token: str) -> bool:
        """Whether a token was found lately."""
        return _digest(token) in self._known

    def found(self, token: str) -> None:
        """Remember a token."""
        self.forget(token)
        self._known[_digest(token)] = None
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]

    def forget(self, token: str) -> None:
        """Forget a token, which does not count any more."""
        self._known.pop(_digest(token), None)

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """Wait in the line of this owner, such as an address. Raises LineIsFull."""
        line = self._lines.setdefault(owner, _Line(self._at_once))
        if line.length >= self._longest:
            if line.late < self._late:
                line.late += 1
                try:
                    await asyncio.sleep(_LATE_SECONDS)
                finally:
                    line.late -= 1
            raise LineIsFull
        line.length += 1
        try:
            async with line.turns:
                yield
        finally:
            line.length -= 1


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()

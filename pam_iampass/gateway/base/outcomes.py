"""The outcomes of acts that were done here lately: a repeat of an act reports the first outcome, and does nothing.

The id of an act is made with the page (`once`) and counts in one sign-in. The database says whether it was spent. Only
the outcome is remembered here, without anything that is shown once.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Key = tuple[bytes, str]
"""The digest of the token of a sign-in, and the id of an act."""
_MOST = 1000


@dataclass(eq=False)
class Outcome:
    """The outcome of an act, which may still be under way."""

    what: Mapping[str, Any]
    """The act with its parameters."""
    _result: Mapping[str, Any] = field(default_factory=dict)
    _error: Exception | None = None
    _is_known: asyncio.Event = field(default_factory=asyncio.Event)

    async def result(self) -> Mapping[str, Any]:
        """The result, once it is known; None in place of what is shown once. Raises what the act has raised after its
        changes."""
        await self._is_known.wait()
        if self._error is not None:
            raise self._error
        return self._result

    def succeed(self, told: Any) -> None:
        """Remember what is told of the result: a dataclass, whose fields that no `repr` shows are left out."""
        shown = {each.name for each in dataclasses.fields(told) if each.repr}
        found = dataclasses.asdict(told)
        self._result = {name: value if name in shown else None for name, value in found.items()}
        self._is_known.set()

    def fail(self, error: Exception) -> None:
        self._error = error
        self._is_known.set()


class Outcomes:
    """The last acts, by sign-in and id."""

    def __init__(self) -> None:
        self._found: dict[Key, Outcome] = {}

    def begin(self, key: Key, what: Mapping[str, Any]) -> Outcome:
        """The outcome of an act that is being done. The oldest one is forgotten, if there are too many."""
        while len(self._found) >= _MOST:
            del self._found[next(iter(self._found))]
        made = self._found[key] = Outcome(what)
        return made

    def forget(self, key: Key) -> None:
        """The act was not done."""
        self._found.pop(key, None)

    def find(self, key: Key) -> Outcome | None:
        return self._found.get(key)

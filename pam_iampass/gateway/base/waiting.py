"""Calls of hosts that are held until a session changes.

A held call is an entry in memory: meanwhile it has no connection to the database. What this gateway writes wakes it at
once; what another one writes is found by one query for all of them. Neither says anything to a host: a call that was
woken is checked and answered like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.statements import many

LONGEST_SECONDS = 25
"""The longest time for which a call is held: servers between close connections that are silent for longer."""
LOGIN_SECONDS = 10
"""The time for which a host has the poll of a login held: if the gateway hangs, it asks another one soon after."""
MOST_WATCHED = 300
"""Sessions that one call can name."""
_LOOKS_OF_KEPT = 4
"""A call about kept sessions is looked for changes at each fourth look; each look has a fourth of these calls, since
there may be 20,000 such sessions."""
_MOST_OF_ONE = 2
"""Calls that are held for one session or host. One more, and the first is answered."""


@dataclass(eq=False)
class HeldCall:
    """A call that is held, and the versions of sessions that its host has seen."""

    versions: Mapping[UUID, int]
    of_login: bool
    """Whether a person waits for it: then it is looked for changes at each look."""
    place: int
    """Which of the looks it is otherwise."""
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    ids: str = field(init=False)
    """The ids of the sessions, as one value of a statement."""
    seen: str = field(init=False)
    """The versions of the sessions, likewise."""

    def __post_init__(self) -> None:
        self.ids = ",".join(id.hex for id in self.versions)
        self.seen = ",".join(map(str, self.versions.values()))

    async def wait(self, seconds: float) -> None:
        """Return when one of the sessions may have changed, or the time is over."""
        try:
            await asyncio.wait_for(self.woken.wait(), seconds)
        except TimeoutError:
            return


class HeldCalls:
    """The calls that this gateway holds."""

    def __init__(self) -> None:
        self.stopping = False
        """Whether nothing is held any more: hosts are to ask another gateway."""
        self._looks = 0
        self._held = 0
        self._of: dict[object, list[HeldCall]] = {}
        self._about: dict[UUID, set[HeldCall]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._of.values()))

    @contextmanager
    def hold(
        self, whose: object, versions: Mapping[UUID, int], *, of_login: bool = True
    ) -> Iterator[HeldCall]:
        """Hold a call of this session or host, about sessions. A caller that looks at the sessions after this misses no
        change."""
        self._held += 1
        call = HeldCall(versions, of_login, self._held % _LOOKS_OF_KEPT)
        of_one = self._of.setdefault(whose, [])
        of_one.append(call)
        if len(of_one) > _MOST_OF_ONE:
            of_one[0].woken.set()
        for id in versions:
            self._about.setdefault(id, set()).add(call)
        if self.stopping:
            call.woken.set()
        try:
            yield call
        finally:
            of_one.remove(call)
            if not of_one:
                self._of.pop(whose, None)
            for id in versions:
                calls = self._about[id]
                calls.discard(call)
                if not calls:
                    del self._about[id]

    def wake_session(self, id: UUID) -> None:
        """Wake the calls about a session that has changed, or may have."""
        for call in self._about.get(id, ()):
            call.woken.set()

    def wake_host(self, host: object) -> None:
        """Wake the calls of a host that has a question to answer."""
        for call in self._of.get(host, ()):
            if not call.of_login:
                call.woken.set()

    def stop(self) -> None:
        """Wake all, and hold no more."""
        self.stopping = True
        for calls in self._of.values():
            for call in calls:
                call.woken.set()

    async def wake_changed(self, connection: Connection) -> None:
        """Wake the calls about sessions that have another version than their host has seen, or whose host may not ask
        any more."""
        self._looks += 1
        due = [
            call
            for calls in self._of.values()
            for call in calls
            if call.versions and (call.of_login or call.place == self._looks % _LOOKS_OF_KEPT)
        ]
        if not due:
            return
        for row in await many(
            connection,
            "SELECT held.id"
            " FROM unnest(string_to_array(%s, ',')::uuid[], string_to_array(%s, ',')::bigint[]) AS held (id, version)"
            " LEFT JOIN session ON session.id = held.id LEFT JOIN host ON host.id = session.host"
            " WHERE session.version IS DISTINCT FROM held.version"
            " OR (host.status IN ('active', 'stopped')) IS NOT TRUE",
            *(",".join(call.ids for call in due), ",".join(call.seen for call in due)),
        ):
            self.wake_session(row["id"])

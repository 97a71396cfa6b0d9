"""Requests that ask a person on the phone now, or did until just now, as the portal shows them, and the calls that wait
until they, or the person's open logins, have changed.

Nothing here answers a request. A call that waits is an entry in memory and has no connection to the database: one
query finds out for all of them for whom something has changed (`watching.look_for_changes`). That query shows nothing
to anybody: once a call is woken, its sign-in is checked again, and what asks is read.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from pam_iampass.client.status import Status
from pam_iampass.fleet.act import Role
from pam_iampass.fleet.sessions import RINGS, RingRow
from pam_iampass.gateway.acts.views import status_of
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.statements import many
from pam_iampass.gateway.requests import sessions
from pam_iampass.gateway.requests.sessions import HostSession
from pam_iampass.gateway.sign_in import passkeys, sign_ins
from pam_iampass.gateway.sign_in.sign_ins import SignIn
from pam_iampass.portal.calls import RingingNow

MOST = 400
"""Calls that wait at the same time."""
MOST_OF_ONE = 3
"""Calls of one sign-in that wait: one for each tab. One more, and the first is over."""
_ASKS = (
    "(deadline > now() AND (state = 'queued' OR state = 'starting' AND reason IS NULL"
    " OR state = 'open' AND status IN ('pending', 'identifying')))"
)
"""The condition of a session for which a phone rings, or may ring, or will once it is its turn."""
SHOWN_SECONDS = 10
"""How long a request that has ended stays on the page with its outcome, so that no other takes its place at once."""
_LEFT = f"{SHOWN_SECONDS} - extract(epoch FROM now() - coalesce(decided_at, least(deadline, expires_at)))"
"""SQL for the seconds for which a request that has ended is still shown."""
_IS_OVER = (
    f"began_at > now() - interval '1 hour' AND parent IS NULL AND NOT {_ASKS}"
    f" AND {_LEFT} BETWEEN 0 AND {SHOWN_SECONDS}"
)
_COUNTS = f"({_ASKS} OR state = 'open' AND expires_at > now())"
"""The same, or of a session that is open: `sessions.listing` has it."""


class TooManyWaitError(Exception):
    """A call that does not wait, or no longer, since too many do."""


@dataclass(eq=False)
class _Wait:
    """A call that waits."""

    person: str
    sign_in: UUID
    seen: str
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    is_displaced: bool = False
    """Whether a newer call of the same sign-in has taken its place."""


class WaitingForRings:
    """The calls that wait until something else asks for their person, or other logins of theirs are open."""

    def __init__(self) -> None:
        self._waits: list[_Wait] = []

    def __len__(self) -> int:
        return len(self._waits)

    @contextmanager
    def _added(self, wait: _Wait) -> Iterator[None]:
        if len(self._waits) >= MOST:
            raise TooManyWaitError
        of_one = [each for each in self._waits if each.sign_in == wait.sign_in and not each.is_displaced]
        if len(of_one) >= MOST_OF_ONE:
            of_one[0].is_displaced = True
            of_one[0].woken.set()
        self._waits.append(wait)
        try:
            yield
        finally:
            self._waits.remove(wait)

    async def wait(self, found: SignIn, seen: str, seconds: float) -> None:
        """Return when what asks for the person, or is open, is not what was `seen`, or the time is over. Raises
        TooManyWaitError."""
        wait = _Wait(found.person.name, found.id, seen)
        with self._added(wait), suppress(asyncio.TimeoutError):
            await asyncio.wait_for(wait.woken.wait(), seconds)
        if wait.is_displaced:
            raise TooManyWaitError

    async def wake_changed(self, connection: Connection) -> None:
        """Wake the calls of people for whom something else asks now, or is open, than they have seen."""
        asking: dict[str, list[Mapping[str, Any]]] = {each.person: [] for each in self._waits}
        statement = (
            f"SELECT person, id, version, state, status FROM session WHERE person = ANY(%s) AND {_COUNTS}"  # noqa: S608 - a constant
        )
        for row in await many(connection, statement, list(asking)):
            asking[row["person"]].append(row)
        now = {person: _seen(rows) for person, rows in asking.items()}
        for wait in self._waits:
            if now.get(wait.person, wait.seen) != wait.seen:
                wait.woken.set()


async def read(gateway: Gateway, connection: Connection, token: str) -> tuple[SignIn, RingingNow]:
    """Return the sign-in of this token, which this keeps from no end, and what asks the person now. Raises NotSignedIn,
    and another ActRefused if nothing is to be seen."""
    found = await sign_ins.find(gateway, connection, token)
    passkeys.require_confirmed(found.passkey)
    statement = (
        f'SELECT NULL AS "time:", {_COUNTS} AS counts, {_ASKS} AS asks, {_IS_OVER} AS over,'  # noqa: S608 - constants
        f" (CASE WHEN {_ASKS} THEN extract(epoch FROM waits_until - now()) ELSE {_LEFT} END)::float8 AS left,"
        f' NULL AS "session:", session.* FROM session WHERE person = %s AND ({_COUNTS} OR {_IS_OVER})'
        " ORDER BY began_at, id"
    )
    rows, shown = await many(connection, statement, found.person.name), list[Any]()
    for row in (row for row in rows if row["time"]["asks"] or row["time"]["over"]):
        with suppress(Tampered):
            session = sessions.from_row(gateway, row["session"], person=found.person.name)
            made = _row(session, row["time"]["left"], asks=row["time"]["asks"])
            shown.append(RINGS.show(frozenset({Role.SELF}), made))
    return found, RingingNow(shown, _seen(row["session"] for row in rows if row["time"]["counts"]))


def _row(session: HostSession, left: float, *, asks: bool) -> RingRow:
    details = session.details
    return {
        "id": str(session.id),
        "host": session.host_name,
        "service": details.get("service"),
        "remote": details.get("remote"),
        "caller": details.get("caller"),
        "command": details.get("command"),
        "purpose": details.get("purpose"),
        "since": session.began_at,
        "seconds_left": max(round(left), 0),
        "status": status_of(session) if asks else _end_of(session),
        "user": session.asker,
        "agent": session.agent or None,
    }


def _end_of(session: HostSession) -> str:
    """Returns the outcome of a request: `approved`, `denied` or `over`."""
    if session.approved:
        return "approved"
    return "denied" if session.status is Status.cancelled else "over"


def _seen(rows: Iterable[Mapping[str, Any]]) -> str:
    """Stands for the sessions in these rows, also the ones that no gateway has written: they are not shown."""
    states = sorted(f"{row['id']} {row['version']} {row['state']} {row['status']}" for row in rows)
    return hashlib.sha256("\n".join(states).encode()).hexdigest()[:32]

"""The act that ends sessions, and how sessions of several hosts are ended."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pam_iampass.client import IampassError, Unavailable
from pam_iampass.client.errors import Declined
from pam_iampass.client.status import Status
from pam_iampass.fleet import sessions as declared
from pam_iampass.fleet.act import Role
from pam_iampass.fleet.names import host_name_error, person_name_error
from pam_iampass.fleet.results import Ended
from pam_iampass.gateway.acts.act import Act, Work
from pam_iampass.gateway.acts.names import unknown
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.statements import many, one
from pam_iampass.gateway.base.upstream import Lane
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.people import steps
from pam_iampass.gateway.requests import asking, sessions
from pam_iampass.gateway.requests.sessions import OPEN, HostSession, State
from pam_iampass.gateway.sign_in.actors import ActRefused, BadParameter

_AT_A_TIME = 10
"""Sessions that are ended at the same time."""
_READ_AT_ONCE = 500
"""Sessions that are verified between two statements, since PostgreSQL does not wait for long."""
_WHERE_NAMES_ARE = "see: pam-iampass-gateway session list"
_COLUMNS = {"person": "person = %s", "host": "host_name = %s", "session": "id = %s::uuid"}
"""The condition on sessions that belongs to each parameter of EndSessions."""
_ROWS = {
    "person": f"SELECT 1 FROM person WHERE name = %s UNION ALL SELECT 1 FROM session WHERE person = %s AND {OPEN}",  # noqa: S608
    "host": f"SELECT 1 FROM host WHERE name = %s UNION ALL SELECT 1 FROM session WHERE host_name = %s AND {OPEN}",  # noqa: S608
    "session": "SELECT 1 FROM session WHERE id = %s::uuid AND id = %s::uuid",
}
"""Finds a row if somebody has the name; that an open session has it is enough."""


@dataclass(frozen=True)
class EndedSessions:
    """Sessions that were ended."""

    found: Sequence[HostSession]
    """As they were before."""
    errors: Sequence[IampassError] = ()
    """Why IAMPASS has not ended some."""

    @property
    def were_open(self) -> list[HostSession]:
        """Sessions that were not over yet for their hosts."""
        return [session for session in self.found if session.state is State.OPEN or session.waits]

    @property
    def told(self) -> Ended:
        """The numbers that the portal is told."""
        return Ended(len(self.were_open), len(self.errors))


async def find_sessions(
    gateway: Gateway, connection: Connection, condition: str, *values: str
) -> EndedSessions:
    """The sessions that meet a condition of SQL, to be ended. Rows that no gateway has written are none."""
    rows = await many(connection, f"SELECT id FROM session WHERE {condition}", *values)  # noqa: S608
    ids = [row["id"] for row in rows]
    found = []
    for first in range(0, len(ids), _READ_AT_ONCE):
        found += await sessions.find_several(gateway, connection, ids[first : first + _READ_AT_ONCE])
    return EndedSessions(found)


async def add_ends(gateway: Gateway, connection: Connection, condition: str, *values: str) -> EndedSessions:
    """The sessions that meet a condition of SQL. They end once this transaction is committed: by `end_sessions`, or by
    a gateway that goes on with it."""
    wanted = await find_sessions(gateway, connection, condition, *values)
    await steps.add_ended_sessions(gateway, connection, [session.id for session in wanted.found])
    return wanted


async def add_ends_of(gateway: Gateway, connection: Connection, person: str) -> EndedSessions:
    """As `add_ends`, for the open sessions of a person."""
    return await add_ends(gateway, connection, f"person = %s AND {OPEN}", person)


async def end_sessions(gateway: Gateway, wanted: EndedSessions) -> EndedSessions:
    """End sessions: for their hosts at once, then at IAMPASS. It can be repeated."""
    turn = asyncio.Semaphore(_AT_A_TIME)
    errors: dict[uuid.UUID, IampassError] = {}
    known: list[uuid.UUID] = []

    async def end_for_host(session: HostSession) -> None:
        async with turn:
            try:
                if session.state is State.OPEN:
                    await asking.write_status(gateway, session, Status.closed)
                else:
                    await asking.end_session(gateway, session)
            except Tampered:
                pass
            except IampassError as error:
                errors[session.id] = error

    async def end_at_iampass(session: HostSession) -> None:
        upstream = session.upstream
        call = None if upstream is None else upstream.end()
        poll = None if upstream is None else upstream.poll()
        async with turn:
            is_away = any(isinstance(error, Unavailable) for error in errors.values())
            if session.id in errors or (call is not None and is_away):
                return
            try:
                is_ended = call is None or await asking.end_at_iampass(gateway, call, Lane.decisions)
                if not is_ended and poll is not None:
                    is_ended = (await gateway.iampass.call(poll, asking.POLL_SECONDS, Lane.decisions)).ended
                if not is_ended:
                    raise Declined("IAMPASS declined")
                known.append(session.id)
            except IampassError as error:
                errors[session.id] = error

    await asyncio.gather(*map(end_for_host, wanted.were_open))
    await asyncio.gather(*map(end_at_iampass, wanted.found))
    async with gateway.database.transaction() as connection:
        steps.ended_sessions_are_known(connection, known)
    return replace(wanted, errors=list(errors.values()))


class EndSessions(declared.EndSessions, Act[EndedSessions]):
    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self._given) == self.everything:
            raise BadParameter("everything", "must be true if nothing else is given, and only then")

    @property
    def _given(self) -> dict[str, str]:
        return {name: value for name in _COLUMNS if (value := getattr(self, name))}

    async def change(self, work: Work) -> EndedSessions:
        sees_hosts = not work.actor.roles.isdisjoint({Role.ROOT, Role.ADMIN})
        for name, value in self._given.items():
            if (name == "person" or sees_hosts) and not await _is_known(work.connection, name, value):
                raise await unknown(work.connection, value, _WHERE_NAMES_ARE)
        conditions = [OPEN, *(_COLUMNS[name] for name in self._given)]
        if work.sign_in is not None and work.actor.name == self.person:
            conditions.append(f"host_name <> '{hosts.HELPDESK.name}'")
        wanted = await add_ends(
            work.gateway, work.connection, " AND ".join(conditions), *self._given.values()
        )
        people = {session.person for session in wanted.were_open}
        if len(people) == 1:
            (work.person,) = people
        work.host = self.host or None
        which = ", ".join(self._given.values()) or "all"
        work.reason = f"{which}; sessions to end: {len(wanted.were_open)}"
        return wanted

    async def after(self, gateway: Gateway, done: EndedSessions) -> EndedSessions:
        return await end_sessions(gateway, done)

    def told(self, done: EndedSessions) -> Ended:
        return done.told


async def meant(connection: Connection, who: str) -> list[EndSessions]:
    """The acts that end the sessions of a person, of a host, or the one whose id begins so. A name comes before an id,
    and may be both a person's and a host's. Raises ActRefused."""
    errors = {"person": person_name_error, "host": host_name_error}
    kinds = [
        kind for kind, error in errors.items() if not error(who) and await _is_known(connection, kind, who)
    ]
    if kinds:
        return [EndSessions(person=who) if kind == "person" else EndSessions(host=who) for kind in kinds]
    if re.fullmatch("[0-9a-f-]{4,36}", who):
        statement = f"SELECT id, {OPEN} AS open FROM session WHERE starts_with(id::text, %s)"  # noqa: S608
        found = await many(connection, f"{statement} ORDER BY open DESC LIMIT 2", who)
        if len(found) > 1 and found[1]["open"]:
            raise ActRefused(f"the ids of several sessions begin with {who}: give more digits")
        if found:
            return [EndSessions(session=str(found[0]["id"]))]
    too_short = re.fullmatch("[0-9a-f]{1,3}", who)
    remedy = "give at least the first four digits of an id" if too_short else _WHERE_NAMES_ARE
    raise await unknown(connection, who, remedy)


async def _is_known(connection: Connection, kind: str, name: str) -> bool:
    return await one(connection, f"{_ROWS[kind]} LIMIT 1", name, name) is not None

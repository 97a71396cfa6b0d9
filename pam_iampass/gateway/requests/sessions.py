"""The sessions of hosts, and of the gateway itself, in the database: each is one request on a phone, and what became of
it.

Before IAMPASS is called, a row `starting` is committed (`starts.py`); afterwards what IAMPASS has said (`asking.py`).
If its gateway dies between the two, the request is not made again, since the phone may be ringing. A person has one
request at a time: the rows of others are `queued` (`turns.py`) until it is their turn (`queue.py`).
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from psycopg.rows import DictRow

from pam_iampass.client.session import Session, SessionSchema
from pam_iampass.client.status import Status
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import MAC, Tampered
from pam_iampass.gateway.base.records import Kind
from pam_iampass.gateway.base.statements import Statement, each_one, many, now, one, replace
from pam_iampass.gateway.hosts import hosts, news
from pam_iampass.gateway.hosts.hosts import Host
from pam_iampass.gateway.requests import turns
from pam_iampass.outcome import Outcome, SessionEvent

TABLE = "session"
FIRST_VERSION = 1
"""The version of a session whose request is on the phone."""
LOCKED = "SELECT * FROM session WHERE id = %s FOR UPDATE"
OPEN = "state IN ('open', 'queued') AND expires_at > now()"
"""The condition of a session that is open, or waits for its turn."""
_LOGGED_IN = (Status.active.name, Status.walkaway.name)


class State(enum.Enum):
    """How far a session has come."""

    QUEUED = "queued"
    """Another request of the person comes first. If the host gives up, no phone rings."""
    STARTING = "starting"
    """IAMPASS is being called, or may have been: a phone may be ringing."""
    OPEN = "open"
    ENDED = "ended"
    NOT_STARTED = "not_started"
    """No phone has rung."""


@dataclass(frozen=True)
class HostSession:
    """A session of a host, or of the gateway itself, as its row says."""

    id: uuid.UUID
    """The id in the paths of its calls. Its token and its secret are made from it with the key file."""
    host: str
    """The id of the host."""
    host_name: str
    """The name of the host then: it may have been removed since."""
    person: str
    request_id: str | None
    """None from a client of IAMPASS, which knows no member that IAMPASS does not have."""
    parameters: bytes = field(repr=False)
    """The digest of what was asked for."""
    methods: tuple[str, ...]
    state: State
    status: Status | None
    """The last one that IAMPASS has said, or that a host was told of a request that was queued; None before."""
    reason: str | None
    """Why there is no session: a name of Reason, or a text of IAMPASS."""
    nothing_sent: bool
    """Connecting to IAMPASS has failed: it knows nothing of it."""
    approved: bool
    began_at: datetime
    """The time at which IAMPASS was called; for a queued session, at which the host has asked for it."""
    deadline: datetime
    """The time until which the login of a queued session waits; of others, until which a phone may ring."""
    waits_until: datetime
    """The time until which the login waits for an answer."""
    expires_at: datetime
    decided_at: datetime | None
    """When the person has answered; None for a covered login."""
    retry_after: int | None
    """Seconds after which a start would be made that the limits have refused."""
    version: int
    """Counts the changes of the status."""
    upstream: Session | None = field(repr=False)
    """The session at IAMPASS."""
    details: Mapping[str, str] = field(repr=False)
    """The details of the login, as the host has said them."""
    parent: uuid.UUID | None
    """The session that covers this one (`presence.py`), and whose status this one has: it is unknown to IAMPASS."""

    @property
    def turn(self) -> str:
        """The name of its login in the turns of the person."""
        return turns.ident(self.host_name, self.id)

    @property
    def agent(self) -> str:
        """The account that logs in and acts for `person`, as the gateway's own row said; empty for none."""
        return self.details.get("agent", "")

    @property
    def asker(self) -> str:
        """The user who logs in, if that is not `person`: an account that acts for them, or (as the host says) a person
        for whom `person` gives the second approval."""
        return self.agent or self.details.get("asker") or self.person

    @property
    def is_own(self) -> bool:
        """Whether the gateway itself has the person asked (`own_requests.py`)."""
        return self.host == hosts.GATEWAY

    def began_before_loss(self, lost_at: datetime | None) -> bool:
        """Whether a phone of the person was reported lost, last at this time, after the session had begun."""
        return lost_at is not None and lost_at >= self.began_at

    @property
    def waits(self) -> bool:
        """Whether its phone is not asked yet, and may be."""
        return self.state in (State.QUEUED, State.STARTING) and self.status is Status.pending

    @property
    def in_progress(self) -> bool:
        """Whether the person has not answered yet."""
        return self.state is State.OPEN and self.status is not None and self.status.in_progress


def from_row(gateway: Gateway, row: Mapping[str, Any], **asked: object) -> HostSession:
    """The session in a row. Raises Tampered."""
    return from_verified(gateway, gateway.keys.verified(TABLE, row, **asked))


def from_verified(gateway: Gateway, values: Mapping[str, Any]) -> HostSession:
    """The session with these columns, which were verified or sealed here."""
    upstream = values["upstream"]
    if upstream is not None:
        upstream = SessionSchema().loads(gateway.keys.decrypt(upstream, TABLE, "upstream", str(values["id"])))
    names = HostSession.__dataclass_fields__
    return HostSession(
        **{
            **{name: value for name, value in values.items() if name in names},
            "state": State(values["state"]),
            "methods": tuple(values["methods"]),
            "status": Status[values["status"]] if values["status"] else None,
            "upstream": upstream,
        }
    )


async def find(gateway: Gateway, connection: Connection, session: uuid.UUID) -> HostSession | None:
    """The session with this id; None if there is none. Raises Tampered."""
    row = await one(connection, "SELECT * FROM session WHERE id = %s", session)
    return None if row is None else from_row(gateway, row, id=session)


async def find_several(
    gateway: Gateway, connection: Connection, wanted: Sequence[uuid.UUID]
) -> list[HostSession]:
    """The sessions with these ids, as far as there are such, without rows that no gateway has written."""
    found = []
    for row in await many(connection, "SELECT * FROM session WHERE id = ANY(%s)", list(wanted)):
        with suppress(Tampered):
            found.append(from_row(gateway, row))
    return found


def changed_statement(host: str, versions: Mapping[uuid.UUID, int]) -> Statement:
    """The statement for the sessions that have other versions than these, whose rows `read_changed` takes."""
    return (
        'SELECT NULL AS "seen:", seen.id, NULL AS "session:", session.*'
        " FROM unnest(%s::uuid[], %s::bigint[]) AS seen (id, version)"
        " LEFT JOIN session ON session.id = seen.id AND session.host = %s"
        " WHERE session.version IS DISTINCT FROM seen.version",
        *(list(versions), list(versions.values()), host),
    )


def read_changed(
    gateway: Gateway, host: Host, rows: Sequence[Mapping[str, Any]]
) -> tuple[dict[uuid.UUID, HostSession | None], list[str]]:
    """The sessions in the rows of `changed_statement`, None for one that this host does not have; and what is wrong
    with rows that no gateway has written."""
    found: dict[uuid.UUID, HostSession | None] = {}
    tampered = []
    for row in rows:
        id = row["seen"]["id"]
        found[id] = None
        if row["session"]["id"] is not None:
            try:
                found[id] = from_row(gateway, row["session"], id=id, host=host.id)
            except Tampered as error:
                tampered.append(f"{error}: {id}")
    return found, tampered


async def find_with_host(
    gateway: Gateway, connection: Connection, session: uuid.UUID
) -> tuple[HostSession, Host | None] | None:
    """The session with this id, and its host, which may have been removed; None if there is none. Raises Tampered.

    The same query sees whether the database has become an older one.
    """
    (row,) = await each_one(connection, with_host_statement(gateway, session))
    return read_with_host(gateway, row, session)


def with_host_statement(gateway: Gateway, session: uuid.UUID) -> Statement:
    """The statement for a session and its host, whose row `read_with_host` takes."""
    statement = f"""
        SELECT NULL AS "fleet:", {hosts.IS_OLDER} AS older, NULL AS "session:", session.*, NULL AS "host:", host.*
        FROM session LEFT JOIN host ON host.id = session.host WHERE session.id = %(id)s
    """  # noqa: S608
    return statement, {**hosts.how_far(gateway), "id": session}


def read_with_host(
    gateway: Gateway, row: Mapping[str, Any] | None, session: uuid.UUID
) -> tuple[HostSession, Host | None] | None:
    """As `find_with_host`, for the row that `with_host_statement` has found. Raises Tampered."""
    if row is None:
        return None
    if row["fleet"]["older"]:
        gateway.restored = True
    return with_host(gateway, row, id=session)


def with_host(gateway: Gateway, row: Mapping[str, Any], **asked: object) -> tuple[HostSession, Host | None]:
    """The session and the host in a row of both. Raises Tampered."""
    found = from_row(gateway, row["session"], **asked)
    exists = row["host"]["id"] is not None
    return found, hosts.from_row(gateway, row["host"], id=found.host) if exists else None


async def status_of_parent(gateway: Gateway, connection: Connection, id: uuid.UUID) -> Status:
    """The status that the session with this id has for its children. Raises Tampered."""
    return status_for_children(await find_with_host(gateway, connection, id))


def status_for_children(found: tuple[HostSession, Host | None] | None) -> Status:
    """The status that a session has for its children. It is over if its host may not ask any more. Raises Tampered if
    the row of either has gone: a session that is not known has not ended."""
    if found is None:
        raise Tampered("session: a row that others name as their parent has gone")
    parent, host = found
    status = parent.status
    if status is None or not (parent.state is State.OPEN or status.ended):
        return Status.closed
    if host is None and not status.ended:  # `remove_host` has written that its sessions have ended
        raise Tampered("host: a row has gone whose logins cover others")
    return Status.closed if host is not None and not host.status.keeps_sessions else status


async def find_ringing_of_host(gateway: Gateway, connection: Connection, name: str) -> list[HostSession]:
    """The sessions of the host with this name that are on a phone."""
    return [each for each in await find_open_of_host(gateway, connection, name) if each.in_progress]


async def find_open_of_host(gateway: Gateway, connection: Connection, name: str) -> list[HostSession]:
    """The open sessions of the host with this name."""
    found = []
    statement = (
        "SELECT session.* FROM session JOIN host ON session.host = host.id WHERE name = %s AND state = 'open'"
    )
    for row in await many(connection, statement, name):
        with suppress(Tampered):
            found.append(from_row(gateway, row))
    return found


async def listing(
    gateway: Gateway,
    connection: Connection,
    condition: str = "true",
    *values: object,
    most: int | None = None,
) -> tuple[list[tuple[HostSession, str, float]], int]:
    """All sessions that meet a condition of SQL and are open or wait for their turn, each with the name of its host and
    the seconds until it expires, the oldest first, and children below their parents; and how many rows no gateway has
    written. With `most`, only the first so many are read, and those that ask somebody or wait for it come first."""
    moment = await now(connection)
    columns = "*" if most is None else "id, parent, began_at, state, status"
    rows = await many(
        connection,
        f"SELECT {columns} FROM session WHERE {OPEN} AND {condition}",  # noqa: S608
        *values,
    )
    rows = _in_order(rows)
    if most is not None:  # those that ask cover no others
        rows.sort(key=lambda row: row["state"] == State.OPEN.value and row["status"] in _LOGGED_IN)
    found: list[tuple[HostSession, str, float]] = []
    tampered = 0
    while rows and len(found) != most:
        part, rows = (rows, []) if most is None else (rows[: most - len(found)], rows[most - len(found) :])
        for row in part if most is None else await _whole(connection, part):
            try:
                session = from_row(gateway, row)
            except Tampered:
                tampered += 1
            else:
                found.append((session, row["host_name"], (row["expires_at"] - moment).total_seconds()))
    return found, tampered


def _in_order(rows: Sequence[DictRow]) -> list[DictRow]:
    """Rows of sessions, the oldest first, and children below their parents. They may have been written by anybody."""
    known = {row["id"]: row for row in rows}

    def place(row: DictRow) -> list[tuple[datetime, uuid.UUID]]:
        above = {row["id"]: row}
        while (parent := known.get(row["parent"])) is not None and parent["id"] not in above:
            row = above[parent["id"]] = parent
        return [(each["began_at"], each["id"]) for each in reversed(above.values())]

    return sorted(rows, key=place)


async def _whole(connection: Connection, rows: Sequence[DictRow]) -> list[DictRow]:
    """All columns of these rows, in their order, of sessions that are still open."""
    ids = [row["id"] for row in rows]
    found = await many(connection, f"SELECT * FROM session WHERE id = ANY(%s) AND {OPEN}", ids)  # noqa: S608
    by_id = {row["id"]: row for row in found}
    return [by_id[id] for id in ids if id in by_id]


# Changes


async def lock_row(gateway: Gateway, connection: Connection, session: uuid.UUID) -> dict[str, Any]:
    """The columns of a row, which nobody else changes until the transaction ends. Raises Tampered."""
    return verify_row(gateway, await one(connection, LOCKED, session), session)


def verify_row(gateway: Gateway, row: Mapping[str, Any] | None, session: uuid.UUID) -> dict[str, Any]:
    """The columns of the row that LOCKED has found. Raises Tampered."""
    if row is None:
        raise Tampered("session: a row has gone")
    return gateway.keys.verified(TABLE, row, id=session)


async def change(
    gateway: Gateway, connection: Connection, locked: Mapping[str, Any], /, **columns: Any
) -> HostSession:
    """Write columns of a row that this transaction has locked."""
    sealed = gateway.keys.sealed(TABLE, {**locked, **columns})
    written = {name: sealed[name] for name in ("id", *columns, MAC)}
    await replace(connection, TABLE, "id", written)
    connection.after_commit.append(partial(gateway.held.wake_session, sealed["id"]))
    return from_verified(gateway, sealed)


def lock_host(connection: Connection, name: str) -> None:
    """Lock the open sessions of a host with the next statement, and then its row, in the order in which an answer on
    the phone has them; after these, that answer may lock the host's invite."""
    connection.later(
        "SELECT 1 FROM session JOIN host ON session.host = host.id WHERE name = %s AND state = 'open'"
        " ORDER BY session.id FOR UPDATE OF session",
        (name,),
    )
    connection.later("SELECT 1 FROM host WHERE name = %s FOR UPDATE", (name,))


async def remove_host(gateway: Gateway, connection: Connection, name: str) -> tuple[bool, list[HostSession]]:
    """Remove a host, as `hosts.remove`, and write that its approved sessions have ended, and with them their children.

    Also returns its open sessions: they are to be ended at IAMPASS after this transaction.
    """
    found = await find_open_of_host(gateway, connection, name)
    for session in found:
        columns = await lock_row(gateway, connection, session.id)
        before = from_verified(gateway, columns)
        if before.state is not State.OPEN or before.in_progress:
            continue
        await close_row(gateway, connection, columns)
    return await hosts.remove(connection, name), found


async def close_row(gateway: Gateway, connection: Connection, locked: Mapping[str, Any]) -> HostSession:
    """Write that a session has ended which was approved. This transaction has locked its row."""
    ended = {"status": Status.closed.name, "state": State.ENDED.value, "version": locked["version"] + 1}
    after = await change(gateway, connection, locked, **ended)
    await gateway.leases.end(connection, after.id)
    await record(connection, after, None, event=SessionEvent.ENDED.value, reason=Status.closed.name)
    return after


async def record(
    connection: Connection, session: HostSession, outcome: Outcome | None, *, reason: str, **fields: str
) -> None:
    """Write the record of a decision, or of the end of a session."""
    details = dict(session.details)
    text, told = details.pop(news.TEXT, ""), details.pop(news.TOLD, "")
    if outcome is not None:
        fields["outcome"] = outcome.value
        if session.decided_at is not None:
            took = session.decided_at - session.began_at
            fields["elapsed_ms"] = str(round(took.total_seconds() * 1000))
    if outcome is Outcome.APPROVED and told:
        reason, fields[news.TOLD] = f"{reason}; told: {text}", told
    fields = {**records.login_fields(details, reason), **fields, "session": str(session.id)}
    await records.write(connection, Kind.DECISION, host=session.host_name, person=session.person, **fields)

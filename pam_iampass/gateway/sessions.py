"""The sessions of hosts in the database: each is one request on a phone, made at most once, and what became of it.

Before IAMPASS is called, a row `starting` is committed; afterwards what IAMPASS has said. If its gateway dies between
the two, the request is not made again, since the phone may be ringing. A person has one request at a time: the rows of
others are `queued` (`turns.py`) until it is their turn (`queue.py`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import hashlib
import json
import math
import re
import time
import uuid
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, Callable, Union

import psycopg

from pam_iampass.client.errors import IampassError, Unavailable
from pam_iampass.client.session import Session, SessionSchema
from pam_iampass.client.status import AuthenticationMethod, Status
from pam_iampass.gateway import bypasses, hosts, leases, metrics, people, records, turns
from pam_iampass.gateway.bypasses import Bypass
from pam_iampass.gateway.database import (
    Connection,
    DatabaseAway,
    DatabaseError,
    Statement,
    UnknownOutcome,
    each_one,
    insert,
    many,
    now,
    one,
    replace,
)
from pam_iampass.gateway.gateway import Asked, Gateway
from pam_iampass.gateway.hosts import Host, HostStatus
from pam_iampass.gateway.keys import MAC, Tampered
from pam_iampass.gateway.people import Person
from pam_iampass.gateway.records import Kind
from pam_iampass.gateway.upstream import Lane
from pam_iampass.login import throttle
from pam_iampass.login.throttle import LEAST_LEFT, Cause, Pending, Refusal, RequestResult
from pam_iampass.outcome import Outcome, SessionEvent
from pam_iampass.server.messages import IncomingRequest, Start, bad_request
from pam_iampass.session.presence import between_hosts
from pam_iampass.text import clean

TABLE = "session"
_OF_LOGIN = ("asker", "service", "remote", "caller", "key")
PARAMETERS = ("request_id", "machine", "timeout", "connection", *_OF_LOGIN)
"""What the query of a start can have at a gateway, beside what IAMPASS knows. The signature covers it."""
_START_SECONDS = 20.0
"""For IAMPASS to answer a start."""
_END_SECONDS = 10.0
POLL_SECONDS = 5.0
FIRST_VERSION = 1
"""Of a session whose request is on the phone."""
FRESH_SECONDS = 0.4
"""A status that is younger was asked for now."""
_MAY_RING_SECONDS = 90
"""So long after the call, a phone does not ring any more for a start whose outcome is not known."""
_LATE_SECONDS = 10
"""After its time is over, for a login that waits for its turn to be ended as its turns say."""
LONGEST_REQUEST_SECONDS = 300
"""After that, no login waits for an answer any more."""
_REFUSALS_A_MINUTE = 30
"""Starts of one host. Beyond that they leave no records, which could fill the disk, and say nothing of names."""
_NOT_STARTED_A_MINUTE = 10
"""Starts from one host for one person after which no phone rang, such as for want of one."""
_BRAKE_PEOPLE = 3
_WITHDRAWN_PEOPLE = 10
"""Whose requests a host has ended before they have answered; then an administrator should look at it."""
_WITHDRAWN_OF_PERSON = 5
"""Such requests to one person; likewise."""
_BRAKE_MINUTES = 10
_LOCKED = "SELECT * FROM session WHERE id = %s FOR UPDATE"
_BEFORE_ALL = uuid.UUID(int=0)
_MOST_FOLLOWING = 100
"""Children whose rows one transaction writes."""


class Reason(enum.Enum):
    """Why a start is not made, as the host is told."""

    UNKNOWN_USER = Outcome.UNLISTED, 1
    NOT_ON_THIS_HOST = Outcome.UNLISTED, 2
    HOST_THROTTLED = Outcome.THROTTLED, 1
    """The limits of the host, or of the person from all hosts; or the brake."""
    AT_CAPACITY = Outcome.THROTTLED, 2
    """Too many logins of the person wait."""
    NO_TURN = Outcome.THROTTLED, 3
    """Other logins of the person took all the time."""
    PHONE_LOST = Outcome.DENIED, 1
    """The person's phone was reported lost while the login waited for its turn."""
    HOST_SUSPENDED = Outcome.MISCONFIGURED, 1
    HOST_NOT_ADMITTED = Outcome.MISCONFIGURED, 2
    WRONG_MACHINE = Outcome.MISCONFIGURED, 3
    CLOCK_OFF = Outcome.MISCONFIGURED, 4
    RESTORED = Outcome.MISCONFIGURED, 5
    """The database is an old copy, and nobody has confirmed it."""
    CODES_NOT_HERE = Outcome.DENIED, 11
    """The hosts of this group redeem no recovery codes."""
    WRONG_CODE = Outcome.DENIED, 12
    TOO_MANY_CODES = Outcome.THROTTLED, 13
    BYPASSED = Outcome.BYPASSED, 11
    """An administrator lets the person in without the phone."""
    IAMPASS_AWAY = Outcome.UNAVAILABLE, 1
    DATABASE_AWAY = Outcome.UNAVAILABLE, 2
    TRY_AGAIN = Outcome.UNAVAILABLE, 3
    """The outcome of an earlier call with this request id is not known: the phone may be ringing."""
    REQUEST_ID_REUSED = Outcome.UNAVAILABLE, 4
    """For other parameters, whose call may have made it ring."""

    @property
    def outcome(self) -> Outcome:
        """How the login ends."""
        return self.value[0]


_REFUSED = {
    Cause.LIMIT: Reason.HOST_THROTTLED,
    Cause.AT_CAPACITY: Reason.AT_CAPACITY,
    Cause.NO_TURN: Reason.NO_TURN,
    Cause.PHONE_LOST: Reason.PHONE_LOST,
}


@dataclass(frozen=True)
class Throttled:
    """A start that the limits refuse."""

    reason: Reason
    why: str
    """For the administrator."""
    wait: float
    """Seconds until it may be made; 0 if nobody knows."""

    @classmethod
    def of(cls, refusal: Refusal) -> Throttled:
        """As the rules have said."""
        return cls(_REFUSED[refusal.cause], refusal.reason, refusal.wait)


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
    """A session of a host, as its row says."""

    id: uuid.UUID
    """In the paths of its calls. Its token and its secret are made from it with the key file."""
    host: str
    """The id of the host."""
    host_name: str
    """Its name then: the host may have been removed since."""
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
    """When IAMPASS was called; of a queued one, when the host has asked for it."""
    deadline: datetime
    """Of a queued one, until when its login waits; else until when a phone may ring."""
    expires_at: datetime
    decided_at: datetime | None
    """When the person has answered; None for a covered login."""
    retry_after: int | None
    """In how many seconds a start would be made that the limits have refused."""
    version: int
    """Counts the changes of the status."""
    upstream: Session | None = field(repr=False)
    """At IAMPASS."""
    details: Mapping[str, str] = field(repr=False)
    """What the host has said of the login."""
    parent: uuid.UUID | None
    """The session that covers this one (`presence.py`), whose status it has: it has none at IAMPASS itself."""

    @property
    def turn(self) -> str:
        """What it is called in the turns of the person."""
        return turns.ident(self.host_name, self.id)

    @property
    def waits(self) -> bool:
        """Whether its phone is not asked yet, and may be."""
        return self.state in (State.QUEUED, State.STARTING) and self.status is Status.pending

    @property
    def in_progress(self) -> bool:
        """Whether the person has not answered yet."""
        return self.state is State.OPEN and self.status is not None and self.status.in_progress


def _session(gateway: Gateway, row: Mapping[str, Any], **asked: object) -> HostSession:
    return _of(gateway, gateway.keys.verified(TABLE, row, **asked))


def _of(gateway: Gateway, values: Mapping[str, Any]) -> HostSession:
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
    return None if row is None else _session(gateway, row, id=session)


async def several(gateway: Gateway, connection: Connection, wanted: Sequence[uuid.UUID]) -> list[HostSession]:
    """Those of these sessions that there are, without rows that no gateway has written."""
    found = []
    for row in await many(connection, "SELECT * FROM session WHERE id = ANY(%s)", list(wanted)):
        with suppress(Tampered):
            found.append(_session(gateway, row))
    return found


def changed(host: str, versions: Mapping[uuid.UUID, int]) -> Statement:
    """The statement for those sessions that have other versions than these, which `news` reads."""
    return (
        'SELECT NULL AS "seen:", seen.id, NULL AS "session:", session.*'
        " FROM unnest(%s::uuid[], %s::bigint[]) AS seen (id, version)"
        " LEFT JOIN session ON session.id = seen.id AND session.host = %s"
        " WHERE session.version IS DISTINCT FROM seen.version",
        *(list(versions), list(versions.values()), host),
    )


def news(
    gateway: Gateway, host: Host, rows: Sequence[Mapping[str, Any]]
) -> tuple[dict[uuid.UUID, HostSession | None], list[str]]:
    """The sessions in the rows of `changed`, None for one that this host does not have; and what is
    wrong with rows that no gateway has written."""
    found: dict[uuid.UUID, HostSession | None] = {}
    tampered = []
    for row in rows:
        id = row["seen"]["id"]
        found[id] = None
        if row["session"]["id"] is not None:
            try:
                found[id] = _session(gateway, row["session"], id=id, host=host.id)
            except Tampered as error:
                tampered.append(f"{error}: {id}")
    return found, tampered


async def find_with_host(
    gateway: Gateway, connection: Connection, session: uuid.UUID
) -> tuple[HostSession, Host | None] | None:
    """The session with this id, and its host, which may have been removed; None if there is none. Raises Tampered.

    The same query sees whether the database has become an older one.
    """
    row = await one(
        connection,
        f"""SELECT NULL AS "fleet:", {hosts.IS_OLDER} AS older, NULL AS "session:", session.*, NULL AS "host:", host.*
        FROM session LEFT JOIN host ON host.id = session.host WHERE session.id = %s""",  # noqa: S608
        *(*hosts.how_far(gateway), session),
    )
    if row is None:
        return None
    if row["fleet"]["older"]:
        gateway.restored = True
    return with_host(gateway, row, id=session)


def with_host(gateway: Gateway, row: Mapping[str, Any], **asked: object) -> tuple[HostSession, Host | None]:
    """The session and the host in a row of both. Raises Tampered."""
    found = _session(gateway, row["session"], **asked)
    exists = row["host"]["id"] is not None
    return found, hosts.of(gateway, row["host"], id=found.host) if exists else None


async def _locked(gateway: Gateway, connection: Connection, session: uuid.UUID) -> dict[str, Any]:
    """The columns of a row, which nobody else changes until the transaction ends. Raises Tampered."""
    return _verified(gateway, await one(connection, _LOCKED, session), session)


def _verified(gateway: Gateway, row: Mapping[str, Any] | None, session: uuid.UUID) -> dict[str, Any]:
    if row is None:
        raise Tampered("session: a row has gone")
    return gateway.keys.verified(TABLE, row, id=session)


async def _change(
    gateway: Gateway, connection: Connection, locked: Mapping[str, Any], /, **columns: Any
) -> HostSession:
    """Write columns of a row that this transaction has locked."""
    sealed = gateway.keys.sealed(TABLE, {**locked, **columns})
    written = {name: sealed[name] for name in ("id", *columns, MAC)}
    await replace(connection, TABLE, "id", written)
    connection.after_commit.append(partial(gateway.held.changed, sealed["id"]))
    return _of(gateway, sealed)


# Starts


@dataclass(frozen=True)
class AskedStart:
    """What a host asks for."""

    person: str
    methods: tuple[AuthenticationMethod, ...]
    duration: int
    patience: int
    """For how many seconds the login waits for an answer."""
    request_id: str | None
    machine: str | None
    connection: str | None
    """Addresses and ports of the client and of the server, as sshd there has them; None if the host has not said."""
    details: Mapping[str, str]
    digest: bytes
    """Of all parameters: a repeat has the same."""

    @classmethod
    def of(cls, request: IncomingRequest) -> AskedStart:
        """Raises RefusedRequest."""
        start = Start.of(request, *PARAMETERS)
        given = start.parameters
        request_id, machine = given.get("request_id"), machine_of(given)
        if request_id is not None and not is_request_id(request_id):
            raise bad_request("BAD_REQUEST_ID", "request_id must be 22 characters of base64url")
        timeout = given.get("timeout", str(start.duration))
        if not re.fullmatch(r"[1-9][0-9]{0,4}", timeout):
            raise bad_request("BAD_TIMEOUT", "timeout must be a number of seconds")
        return cls(
            start.user,
            tuple(AuthenticationMethod[name] for name in start.methods),
            start.duration,
            min(int(timeout), start.duration, LONGEST_REQUEST_SECONDS),
            request_id,
            machine,
            between_hosts(given.get("connection", "")),
            details_of(given),
            hashlib.sha256(json.dumps([start.user, sorted(given.items())]).encode()).digest(),
        )


def details_of(given: Mapping[str, str]) -> dict[str, str]:
    """What the parameters of a request say of the login."""
    return {name: clean(given[name], 200) for name in _OF_LOGIN if name in given}


def machine_of(given: Mapping[str, str]) -> str | None:
    """The machine from which a request comes, as it says. Raises RefusedRequest."""
    machine = given.get("machine")
    if machine is not None and not re.fullmatch(r"[0-9a-f]{32}", machine):
        raise bad_request("BAD_MACHINE", "machine must be 32 hexadecimal digits")
    return machine


def is_request_id(text: str) -> bool:
    """Whether a host may send this as the id of a request."""
    return re.fullmatch(r"[A-Za-z0-9_-]{22}", text) is not None


Spend = Callable[[Connection], None]
"""Uses up the nonce of a call with the next statement, which raises UniqueViolation if it was used before."""


def spend_nothing(_: Connection) -> None:
    """The nonce is used up already, or does not count."""


async def start(
    gateway: Gateway, host: str, asked: AskedStart, cover: Cover, came_at: float, spend: Spend
) -> HostSession | Reason | Throttled:
    """Have a person asked, or find what became of an earlier call with the same request id.

    The request is made in a task of its own: it goes on if the host hangs up.

    :param came_at: the `time.monotonic()` of the call. The database may have held it up since.
    """
    key = (host, asked.request_id or str(uuid.uuid4()))
    own = sum(each == host for each, _ in gateway.starts)
    if key not in gateway.starts and own >= max(gateway.settings.limits.calls_at_once // 2, 1):
        # The rest is for other hosts.
        return await refused(gateway, host, asked, Reason.HOST_THROTTLED, spend)
    while key in gateway.starts:
        await asyncio.wait([gateway.starts[key]])
    task = asyncio.create_task(_start(gateway, host, asked, cover, came_at, spend))
    gateway.starts[key] = task
    task.add_done_callback(lambda _: gateway.starts.pop(key))
    return await asyncio.shield(task)


async def refused(
    gateway: Gateway, host: str, asked: AskedStart, reason: Reason, spend: Spend = spend_nothing
) -> Reason:
    """Write the record of a start that is refused before anything else is looked at; returns the reason."""
    with suppress(DatabaseError, Tampered):
        async with gateway.database.transaction() as connection:
            spend(connection)
            found = await hosts.find(gateway, connection, host)
            if found is not None:
                await _record_refusal(connection, found, asked, reason)
    return reason


async def _start(
    gateway: Gateway, host: str, asked: AskedStart, cover: Cover, came_at: float, spend: Spend
) -> HostSession | Reason | Throttled:
    try:
        person, session = await _admit(gateway, host, asked, cover, spend)
    except UnknownOutcome:
        return Reason.TRY_AGAIN
    except DatabaseAway:
        return Reason.DATABASE_AWAY
    if person is None or not isinstance(session, HostSession):
        return session
    return await made(gateway, session, person, came_at + asked.patience * (1 - LEAST_LEFT))


Cover = Callable[[Gateway, Host, AskedStart], Awaitable[Union[HostSession, None]]]
"""Finds the session of a start that needs no phone, since the login begins in another one; None if the phone has to be
asked. It waits for other hosts, and no row is locked meanwhile."""


async def _admit(
    gateway: Gateway, host: str, asked: AskedStart, cover: Cover | None, spend: Spend
) -> tuple[Person | None, HostSession | Reason | Throttled]:
    try:
        return await _admit_once(gateway, host, asked, cover, spend)
    except psycopg.errors.UniqueViolation:  # another gateway has written a row of this request meanwhile
        return await _admit_once(gateway, host, asked, cover, spend)


async def _admit_once(
    gateway: Gateway, host: str, asked: AskedStart, cover: Cover | None, spend: Spend
) -> tuple[Person | None, HostSession | Reason | Throttled]:
    async with gateway.database.transaction() as connection:
        spend(connection)
        person, found = await _admitted(gateway, connection, host, asked, by_phone=cover is None)
    if not isinstance(found, Host):
        return person, found
    child = None if cover is None else await cover(gateway, found, asked)
    if child is not None:
        return None, child
    return await _admit(gateway, host, asked, None, spend_nothing)


async def _admitted(
    gateway: Gateway, connection: Connection, host_id: str, asked: AskedStart, *, by_phone: bool
) -> tuple[Person | None, HostSession | Reason | Throttled | Host]:
    """The person, and the new row of a request that is to be made now; else None, and the answer.

    Unless the phone is to be asked (`by_phone`): the host, if another session may cover the login.
    """
    read = await _read(connection, host_id, asked)
    if read is None:
        return None, Reason.HOST_SUSPENDED  # removed since its signature was checked
    host = hosts.of(gateway, read["host"], id=host_id)

    async def refused(reason: Reason, why: str = "") -> tuple[None, Reason]:
        recorded = await _record_refusal(connection, host, asked, reason, why)
        if recorded or reason not in (Reason.UNKNOWN_USER, Reason.NOT_ON_THIS_HOST):
            return None, reason
        await alert(
            connection, host.name, "too many starts of this host are refused: it may be looking for names"
        )
        return None, Reason.HOST_THROTTLED

    person = await allowed(gateway, connection, host, asked.machine, asked.person, read["person"])
    if isinstance(person, Reason):
        return await refused(person)
    before = turns.Turns.of(read["turn"], person.name)
    if read["session"]["id"] is not None:
        return None, await _repeated(gateway, connection, host, read["session"], asked)
    # A second person who is bypassed lets nobody else in. Without an id, the answer could not say for what it is.
    if read["counted"]["bypassed"] and asked.request_id is not None and "asker" not in asked.details:
        service = asked.details.get("service", "")
        bypass = await bypasses.find(gateway, connection, host, person.name, service)
        if bypass is not None:
            await _record_bypass(connection, host, asked, bypass)
            return None, Reason.BYPASSED
    if read["counted"]["not_started"] >= _NOT_STARTED_A_MINUTE:
        return await refused(Reason.HOST_THROTTLED)
    if is_slowed(host, before.now) and await _has_started(connection, host):
        return await refused(Reason.HOST_THROTTLED)
    # A client of IAMPASS itself does not know such a session; of a second person, the login is not.
    if not by_phone and asked.request_id is not None and "asker" not in asked.details:
        policy = gateway.settings.policy_of(host.group)
        if policy is not None and policy.covered_by and asked.connection is not None:
            return None, host
    id = uuid.uuid4()
    login = _login(host, person, asked, id, before.now)
    limits = gateway.settings.limits
    over_all_hosts = await turns.limits_over_all_hosts(connection, before, login, limits)
    after = turns.joined(before, login, limits, over_all_hosts)
    if isinstance(after, Refusal):
        throttled = Throttled.of(after)
        await refused(throttled.reason, throttled.why)
        return None, throttled
    session = await _inserted(gateway, connection, host, asked, id, login, queued=not after.has_turn(login))
    if session.state is State.STARTING:
        after = turns.holding(after, login, session.deadline.timestamp() + turns.END_SECONDS)
    await turns.write(connection, before, after)
    return (person if session.state is State.STARTING else None), session


async def _read(connection: Connection, host: str, asked: AskedStart) -> Mapping[str, Any] | None:
    """The rows of a host, of the person whom it asks for, of their turns, which are locked, and of an earlier call with
    this request id, where there are such; and what is counted. None if there is no host."""
    name = "" if people.person_name_error(asked.person) else asked.person
    # A statement of its own: the next one then finds what others have written.
    turns.lock(connection, name)
    return await one(
        connection,
        f"""
        SELECT NULL AS "host:", host.*, NULL AS "person:", person.*, NULL AS "session:", session.*,
            NULL AS "turn:", {turns.COLUMNS},
            NULL AS "counted:",
            EXISTS (SELECT 1 FROM bypass WHERE bypass.person = %s AND ends_at > now()) AS bypassed,
            (SELECT count(*) FROM session WHERE session.host_name = host.name AND session.person = %s
                AND state = 'not_started' AND began_at > now() - interval '1 minute') AS not_started
        FROM host
            LEFT JOIN person ON person.name = %s
            LEFT JOIN turn ON turn.person = %s
            LEFT JOIN session ON session.host = host.id AND session.request_id = %s
        WHERE host.id = %s
        """,  # noqa: S608
        *(name, name, name, name, asked.request_id, host),
    )


def _login(host: Host, person: Person, asked: AskedStart, id: uuid.UUID, moment: float) -> Pending:
    """What asks for a turn. Within an hour, a host has the same name when it has left and joined again."""
    told = asked.details
    origin = throttle.origin(told.get("service", ""), told.get("remote"), f" on {host.name}")
    return Pending(
        origin=throttle.key_of(person.name, origin, told.get("asker", "")),
        ident=turns.ident(host.name, id),
        began=moment,
        since=moment,
        until=moment + asked.patience * (1 - LEAST_LEFT),
        host=host.name,
    )


async def allowed(
    gateway: Gateway,
    connection: Connection,
    host: Host,
    machine: str | None,
    name: str,
    row: Mapping[str, Any] | None = None,
) -> Person | Reason:
    """The person of this name, who can log in to this host, which may ask; else why not.

    `row` is the person's, with the name None if there is none; it is read here if it is not given.
    """
    if gateway.restored:
        return Reason.RESTORED
    if host.status is not HostStatus.ACTIVE:
        return Reason.HOST_SUSPENDED if host.status is HostStatus.SUSPENDED else Reason.HOST_NOT_ADMITTED
    if not await is_its_machine(gateway, connection, host, machine):
        return Reason.WRONG_MACHINE
    person = await _person(gateway, connection, host, name, row)
    if person is None or not person.active:
        return Reason.UNKNOWN_USER
    policy = gateway.settings.policy_of(host.group)
    if policy is None or (policy.people and not policy.people & set(person.groups)):
        return Reason.NOT_ON_THIS_HOST
    return person


async def is_its_machine(gateway: Gateway, connection: Connection, host: Host, machine: str | None) -> bool:
    """Whether a host calls from the machine that was the first to say what it is."""
    if machine is not None and host.machine is None:
        connection.later("SELECT 1 FROM host WHERE id = %s FOR UPDATE", (host.id,))
        found = await hosts.find(gateway, connection, host.id)
        if found is None or found.machine is None:
            found = await hosts.change(gateway, connection, host.id, machine=machine)
        host = found or host
    if machine == host.machine:
        return True
    await alert(connection, host.name, "another machine uses the credential of this host")
    return False


async def _person(
    gateway: Gateway, connection: Connection, host: Host, name: str, row: Mapping[str, Any] | None
) -> Person | None:
    if people.person_name_error(name) is not None:
        return None
    try:
        if row is None:
            return await people.find(gateway, connection, name)
        return None if row["name"] is None else people.of(gateway, row, name=name)
    except Tampered as error:
        await alert(connection, host.name, str(error), person=name)
        return None


async def _repeated(
    gateway: Gateway, connection: Connection, host: Host, row: Mapping[str, Any], asked: AskedStart
) -> HostSession | Reason:
    try:
        session = _session(gateway, row, host=host.id, request_id=asked.request_id)
        if session.parent is not None and session.state is State.OPEN:
            status = await _status_of_parent(gateway, connection, session.parent)
            session = dataclasses.replace(session, status=status)
    except Tampered as error:
        await alert(connection, host.name, str(error), person=asked.person)
        return Reason.TRY_AGAIN
    return session if session.parameters == asked.digest else Reason.REQUEST_ID_REUSED


def is_slowed(host: Host, moment: float) -> bool:
    """Whether the brake holds for a host."""
    return host.slowed_until is not None and host.slowed_until.timestamp() > moment


async def _has_started(connection: Connection, host: Host) -> bool:
    """Whether a host has had anybody asked within a minute. Starts for other people do not pass at the same time."""
    connection.later("SELECT 1 FROM host WHERE id = %s FOR UPDATE", (host.id,))
    recent = await one(
        connection,
        "SELECT 1 FROM session WHERE host_name = %s AND state <> 'not_started'"
        " AND began_at > now() - interval '1 minute'",
        host.name,
    )
    return recent is not None


async def _inserted(
    gateway: Gateway,
    connection: Connection,
    host: Host,
    asked: AskedStart,
    id: uuid.UUID,
    login: Pending,
    *,
    queued: bool,
) -> HostSession:
    moment = datetime.fromtimestamp(login.since, timezone.utc)
    own_deadline = moment + timedelta(seconds=asked.patience)
    expires_at = moment + timedelta(seconds=asked.duration)
    columns = {
        "id": id,
        "state": (State.QUEUED if queued else State.STARTING).value,
        "status": Status.pending.name if queued else None,
        "deadline": own_deadline if queued else ring_deadline(moment, own_deadline, expires_at),
        "expires_at": expires_at,
        "version": FIRST_VERSION if queued else 0,
        "details": dict(asked.details),
        "parent": None,
    }
    return await _new(gateway, connection, host, asked, moment, **columns)


async def _new(
    gateway: Gateway, connection: Connection, host: Host, asked: AskedStart, moment: datetime, **columns: Any
) -> HostSession:
    row = {
        "host": host.id,
        "person": asked.person,
        "request_id": asked.request_id,
        "parameters": asked.digest,
        "methods": [method.name for method in asked.methods],
        "reason": None,
        "nothing_sent": False,
        "approved": False,
        "began_at": moment,
        "retry_after": None,
        "decided_at": None,
        "gateway": gateway.id,
        "upstream": None,
        "host_name": host.name,
        **columns,
    }
    sealed = gateway.keys.sealed(TABLE, row)
    await insert(connection, TABLE, sealed)
    return _of(gateway, sealed)


def ring_deadline(moment: datetime, deadline: datetime, expires_at: datetime) -> datetime:
    """Until when a phone may ring if IAMPASS is called from now on, for a login that waits until its `deadline`."""
    may_ring = min(expires_at, moment + timedelta(seconds=_MAY_RING_SECONDS))
    return max(deadline, may_ring) + timedelta(seconds=_START_SECONDS)


async def made(
    gateway: Gateway, session: HostSession, person: Person, waits_until: float
) -> HostSession | Reason:
    """Call IAMPASS for a row `starting` that was committed, and write down what it has said.

    :param waits_until: the `time.monotonic()` at which the login gives up. The commit may have waited for a standby.
    """
    methods = [AuthenticationMethod[name] for name in session.methods]
    duration = max(round((session.expires_at - session.began_at).total_seconds()), 1)
    call = gateway.iampass.application.start(person.token, methods, duration)
    begun = None
    columns: dict[str, Any] = {"state": State.STARTING.value, "reason": Reason.TRY_AGAIN.name}
    error, held = "", 0.0
    try:
        if time.monotonic() < waits_until:
            answer: Session = await gateway.iampass.call(call, _START_SECONDS, Lane.decisions)
            begun = answer
        else:
            error = "the database took so long that the login has given up"
            columns["state"] = State.NOT_STARTED.value
    except IampassError as failure:
        error = str(failure)
        columns["reason"] = Reason.IAMPASS_AWAY.name
        if not failure.may_have_started:
            columns["state"] = State.NOT_STARTED.value
            columns["nothing_sent"] = isinstance(failure, Unavailable) and failure.outage
        elif isinstance(failure, Unavailable) and failure.timed_out:
            held = max(waits_until - time.monotonic(), 0.0)
    if begun is not None and begun.failure_reason is not None:
        columns = {"state": State.NOT_STARTED.value, "reason": clean(begun.failure_reason, 100)}
        begun = None
    elif begun is not None and begun.in_progress:
        columns = {
            "state": State.OPEN.value,
            "status": begun.session_status.name,
            "version": session.version + 1,
            "upstream": gateway.keys.encrypt(
                SessionSchema().dumps(begun), TABLE, "upstream", str(session.id)
            ),
        }
    try:
        async with gateway.database.transaction() as connection:
            written = await _written(gateway, connection, session, columns, error, held)
    except (DatabaseError, psycopg.Error, Tampered):
        written = None
    if begun is not None and (written is None or written.state is not State.OPEN):
        await _end_quietly(gateway, begun, session)
    if columns.get("reason") == "NO_MOBILE_DEVICE":
        task = asyncio.create_task(_invite(gateway, person, session.host_name))
        gateway.inviting.add(task)
        task.add_done_callback(gateway.inviting.discard)
    return written or Reason.TRY_AGAIN


async def _invite(gateway: Gateway, person: Person, host: str) -> None:
    with suppress(DatabaseError, psycopg.Error, Tampered, IampassError):
        if not await people.invite(gateway, person, host):
            async with gateway.database.transaction() as connection:
                await alert(
                    connection, host, "many people without a phone log in to this host: no more messages"
                )


async def _written(
    gateway: Gateway,
    connection: Connection,
    session: HostSession,
    columns: dict[str, Any],
    error: str,
    held: float,
) -> HostSession:
    """Write what has become of a start. `held` is for how many seconds IAMPASS, which has not answered, may still begin
    it: on one host, the login would wait so long for the answer."""
    # A command that removes the person waits for this transaction, and then finds the session.
    connection.later("SELECT 1 FROM person WHERE name = %s FOR SHARE", (session.person,))
    if columns["state"] == State.NOT_STARTED.value:
        await _over(gateway, connection, session, RequestResult.NOT_SENT)
    elif error:
        await _over(gateway, connection, session, RequestResult.FAILED, held)
    row, person_row, host_row, turn = await each_one(
        connection,
        (_LOCKED, session.id),
        ("SELECT * FROM person WHERE name = %s", session.person),
        ("SELECT * FROM host WHERE id = %s", session.host),
        ("SELECT (state->>'lost')::float8 AS lost FROM turn WHERE person = %s", session.person),
    )
    locked = _verified(gateway, row, session.id)
    before = _of(gateway, locked)
    if before.state is not State.STARTING:
        return before  # it was given up meanwhile
    host = None if host_row is None else hosts.of(gateway, host_row, id=session.host)
    person = None if person_row is None else people.of(gateway, person_row, name=session.person)
    lost = (turn or {}).get("lost") or 0.0
    if columns["state"] == State.OPEN.value:
        if host is None or person is None or not person.active:
            columns = {"state": State.STARTING.value, "reason": Reason.UNKNOWN_USER.name}
        elif host.status is not HostStatus.ACTIVE:
            columns = {"state": State.STARTING.value, "reason": Reason.HOST_SUSPENDED.name}
        elif _has_lost(session, lost):
            columns = {"state": State.STARTING.value, "reason": Reason.PHONE_LOST.name}
    if columns["state"] == State.NOT_STARTED.value:
        columns = {**columns, "expires_at": await now(connection)}
    if columns["state"] != State.OPEN.value and before.status is not None:
        columns = {**columns, "status": Status.failed.name, "version": before.version + 1}
    written = await _change(gateway, connection, locked, **columns)
    if written.state is State.OPEN and written.status is not None:
        await gateway.leases.begin(connection, written.id)
        on_the_phone: Any = partial(gateway.waiting.__setitem__, written.id, written.status)
        connection.after_commit.append(on_the_phone)
        return written
    reason = written.reason or ""
    outcome = Reason[reason].outcome if reason in Reason.__members__ else Outcome.NO_DEVICE
    fields = {"reason": error or reason}
    if written.state is State.NOT_STARTED:
        if host is not None and await _refusals(connection, host) >= _REFUSALS_A_MINUTE:
            return written
        fields["refused"] = "start"
    await record(connection, written, outcome, **fields)
    return written


async def _end_quietly(gateway: Gateway, begun: Session, session: HostSession) -> None:
    """End a session of which no host is told. If this fails, `duration_seconds` ends it, and its deadline its turn."""
    call = begun.end()
    if call is not None:
        with suppress(IampassError, DatabaseError, psycopg.Error, Tampered):
            await gateway.iampass.call(call, _END_SECONDS, Lane.decisions)
            async with gateway.database.transaction() as connection:
                await _over(gateway, connection, session, RequestResult.FAILED)


async def _over(
    gateway: Gateway, connection: Connection, session: HostSession, result: RequestResult, held: float = 0.0
) -> None:
    """The next login of the person may have its turn, as soon as this transaction is committed, or `held` seconds
    later."""
    connection.after_commit.append(gateway.turn_over.set)
    before = await turns.locked(connection, session.person)
    await turns.finish(connection, before, session.turn, result, gateway.settings.limits, held)


# What comes later


async def ask(gateway: Gateway, session: HostSession) -> HostSession:
    """The session with what IAMPASS says of it now, or has said within FRESH_SECONDS.

    An answer of the person is written down by the gateway that has the lease. What is said of an approved session is
    told and not written: it is looked at again (`watching.py`).

    Raises IampassError, DatabaseError and Tampered.
    """
    last = gateway.asked.get(session.id)
    if last is None or time.monotonic() - last.at >= FRESH_SECONDS:
        last = Asked(time.monotonic(), asyncio.create_task(_ask(gateway, session)))
        gateway.asked[session.id] = last
    return await asyncio.shield(last.answer)


async def _ask(gateway: Gateway, session: HostSession) -> HostSession:
    if session.parent is not None:
        async with gateway.database.transaction() as connection:
            status = await _status_of_parent(gateway, connection, session.parent)
            parent = None if status.ended else await find(gateway, connection, session.parent)
        if parent is not None:
            status = (await ask(gateway, parent)).status or status
        return dataclasses.replace(session, status=status)
    call = session.upstream.poll() if session.upstream is not None else None
    if call is None:
        raise Tampered("session: a row is open without a session at IAMPASS")
    epoch = gateway.leases.epochs.get(session.id)
    status = await gateway.iampass.call(call, POLL_SECONDS, Lane.polls)
    if status is session.status:
        return session
    if session.in_progress and epoch is not None:
        return await said(gateway, session, status, epoch=epoch)
    gateway.doubted.add(session.id)
    return dataclasses.replace(session, status=status)


async def end(gateway: Gateway, session: HostSession) -> bool:
    """End a session at IAMPASS; whether this has ended it. Raises as `ask`."""
    if session.waits:
        found = await _withdrawn(gateway, session)
        if found.state is not State.OPEN:
            return found.status is Status.closed
        session = found
    if session.parent is not None and session.state is State.OPEN:
        await said(gateway, session, Status.closed)  # the login from which it came goes on
        return True
    call = session.upstream.end() if session.upstream is not None else None
    if call is None or session.state is not State.OPEN:
        return False
    if await gateway.iampass.call(call, _END_SECONDS, Lane.decisions):
        await said(gateway, session, Status.closed)
        return True
    status = (await ask(gateway, session)).status
    if status is not None and status.ended:
        await said(gateway, session, status)
    return False


async def _withdrawn(gateway: Gateway, session: HostSession) -> HostSession:
    """End a session whose phone is not asked yet, or is being asked: what IAMPASS then begins is ended."""
    async with gateway.database.transaction() as connection:
        await turns.leave(connection, session.person, session.turn)
        locked = await _locked(gateway, connection, session.id)
        before = _of(gateway, locked)
        if not before.waits:
            return before
        return await end_queued(gateway, connection, locked, Status.closed, Outcome.CANCELLED)


async def queued(gateway: Gateway, connection: Connection, login: Pending) -> dict[str, Any] | None:
    """The row of a login that waits for its turn, locked; None if it waits no longer, or no gateway has written it."""
    try:
        row = await _locked(gateway, connection, uuid.UUID(login.ident.rpartition(" ")[2]))
    except (Tampered, ValueError) as error:
        await alert(connection, login.host, f"{error}: {clean(login.ident, 300)}")
        return None
    return row if row["state"] == State.QUEUED.value else None


async def begin_queued(
    gateway: Gateway, connection: Connection, queued: Mapping[str, Any], now: float
) -> HostSession:
    """Write that IAMPASS is called now for what was queued. This transaction has locked the row."""
    moment = datetime.fromtimestamp(now, timezone.utc)
    columns = {
        "state": State.STARTING.value,
        "began_at": moment,
        "deadline": ring_deadline(moment, queued["deadline"], queued["expires_at"]),
        "gateway": gateway.id,
        "version": queued["version"] + 1,
    }
    return await _change(gateway, connection, queued, **columns)


async def end_queued(
    gateway: Gateway,
    connection: Connection,
    locked: Mapping[str, Any],
    status: Status,
    outcome: Outcome,
    reason: Throttled | None = None,
) -> HostSession:
    """Write that a session has ended before IAMPASS has said anything. This transaction has locked its row."""
    moment = await now(connection)
    queued = locked["state"] == State.QUEUED.value
    columns: dict[str, Any] = {
        "state": (State.NOT_STARTED if queued else State.ENDED).value,
        "status": status.name,
        "version": locked["version"] + 1,
        "expires_at": moment,
        "decided_at": None if queued else moment,
    }
    if reason is not None:
        columns["reason"] = reason.reason.name
        columns["retry_after"] = math.ceil(reason.wait) or None
    session = await _change(gateway, connection, locked, **columns)
    host = await hosts.find(gateway, connection, session.host)
    if host is None or await _refusals(connection, host) < _REFUSALS_A_MINUTE:
        why = status.name if reason is None else reason.why or reason.reason.name
        await record(connection, session, outcome, reason=why, refused="start")
    return session


async def of_host(gateway: Gateway, connection: Connection, name: str) -> list[HostSession]:
    """The open sessions of the host with this name."""
    found = []
    statement = (
        "SELECT session.* FROM session JOIN host ON session.host = host.id WHERE name = %s AND state = 'open'"
    )
    for row in await many(connection, statement, name):
        with suppress(Tampered):
            found.append(_session(gateway, row))
    return found


async def remove_host(gateway: Gateway, connection: Connection, name: str) -> tuple[bool, list[HostSession]]:
    """Remove a host, as `hosts.remove`, and write that its approved sessions have ended: those end that they cover.

    Also returns its open sessions: they are to be ended at IAMPASS after this transaction.
    """
    found = await of_host(gateway, connection, name)
    for session in found:
        locked = await _locked(gateway, connection, session.id)
        before = _of(gateway, locked)
        if before.state is not State.OPEN or before.in_progress:
            continue
        columns = {"status": Status.closed.name, "state": State.ENDED.value, "version": before.version + 1}
        after = await _change(gateway, connection, locked, **columns)
        await gateway.leases.end(connection, session.id)
        await record(connection, after, None, event=SessionEvent.ENDED.value, reason=Status.closed.name)
    return await hosts.remove(connection, name), found


async def ringing_of(gateway: Gateway, connection: Connection, name: str) -> list[HostSession]:
    """Those of the host's sessions that are on a phone."""
    return [each for each in await of_host(gateway, connection, name) if each.in_progress]


async def listing(
    gateway: Gateway, connection: Connection
) -> tuple[list[tuple[HostSession, str, float]], int]:
    """All sessions that are open or wait for their turn, each with the name of its host and the seconds until it
    expires, the oldest first, and children below their parents; and how many rows no gateway has written."""
    found, tampered = [], 0
    statement = (
        "SELECT * FROM session WHERE state IN ('open', 'queued') AND expires_at > now() ORDER BY began_at"
    )
    moment = await now(connection)
    for row in await many(connection, statement):
        try:
            session = _session(gateway, row)
        except Tampered:
            tampered += 1
        else:
            found.append((session, row["host_name"], (row["expires_at"] - moment).total_seconds()))
    known = {session.id: session for session, _, _ in found}

    def place(session: HostSession) -> tuple[tuple[datetime, uuid.UUID], ...]:
        above = known.get(session.parent) if session.parent is not None else None
        return (*(() if above is None else place(above)), (session.began_at, session.id))

    return sorted(found, key=lambda each: place(each[0])), tampered


async def end_all(gateway: Gateway, found: Sequence[HostSession]) -> int:
    """End these sessions at IAMPASS; how many could not be ended. Raises DatabaseError."""
    left = 0
    for session in found:
        try:
            await end(gateway, session)
        except (IampassError, Tampered):
            left += 1
    return left


async def said(
    gateway: Gateway, session: HostSession, status: Status, *, epoch: int | None = None
) -> HostSession:
    """Write down what IAMPASS says of a session; the session as it is then. A final status never changes, and nobody
    is asked again after an answer. Raises DatabaseError and Tampered.

    :param epoch: of the lease under which IAMPASS was polled: nothing is written if another gateway has it now. None
        if this gateway has ended the session.
    """
    try:
        return await _said(gateway, session, status, epoch)
    except _NotHeld as lost:
        return lost.session


class _NotHeld(Exception):
    """Another gateway has the lease: nothing of the transaction is written."""

    def __init__(self, session: HostSession) -> None:
        super().__init__()
        self.session = session


async def _said(gateway: Gateway, session: HostSession, status: Status, epoch: int | None) -> HostSession:
    ringing: list[HostSession] = []
    over = None
    async with gateway.database.transaction() as connection:
        is_over = session.in_progress and not status.in_progress
        if is_over:
            turns.lock(connection, session.person)
        turn, row, lease = await each_one(
            connection, (turns.ROW, session.person), (_LOCKED, session.id), (leases.LOCKED, session.id)
        )
        if is_over and turn is not None:
            over = turns.Turns.of(turn, session.person)
            result = RequestResult.FAILED if status.ended else RequestResult.APPROVED
            connection.after_commit.append(gateway.turn_over.set)
            await turns.finish(connection, over, session.turn, result, gateway.settings.limits)
        locked = _verified(gateway, row, session.id)
        before = _of(gateway, locked)
        if before.state is not State.OPEN or before.status is status:
            return before
        if epoch is not None and not gateway.leases.is_held(session.id, epoch, lease):
            raise _NotHeld(before)
        decided = before.in_progress and not status.in_progress
        if status.in_progress and not before.in_progress:
            return before
        by_lost_phone = (
            decided and not status.ended and over is not None and _has_lost(before, over.state.lost)
        )
        columns: dict[str, Any] = {"status": status.name, "version": before.version + 1}
        if by_lost_phone:
            columns |= {"status": Status.closed.name, "reason": Reason.PHONE_LOST.name}
        if status.ended or by_lost_phone:
            columns["state"] = State.ENDED.value
            await gateway.leases.end(connection, session.id)
        if decided:
            columns["decided_at"] = (
                await now(connection) if over is None else datetime.fromtimestamp(over.now, timezone.utc)
            )
            columns["approved"] = not (status.ended or by_lost_phone)
        after = await _change(gateway, connection, locked, **columns)
        gateway.waiting.pop(session.id, None)
        if decided:
            outcome = Outcome.DENIED if by_lost_phone else _OUTCOMES[status]
            await record(connection, after, outcome, reason=after.reason or status.name)
            took = (columns["decided_at"] - before.began_at).total_seconds()
            connection.after_commit.append(partial(metrics.ANSWERS.labels(outcome.value).observe, took))
            if status in (Status.cancelled, Status.closed):
                host = await hosts.find(gateway, connection, after.host)
                if host is not None:
                    ringing = await _brake(
                        gateway, connection, host, before.person, status, columns["decided_at"]
                    )
        elif status.ended:
            await record(connection, after, None, event=SessionEvent.ENDED.value, reason=status.name)
    with suppress(DatabaseError, psycopg.Error):
        await end_all(gateway, ringing)  # those that cannot be ended are over in a minute
    if by_lost_phone and after.upstream is not None:
        await _end_quietly(gateway, after.upstream, after)
    return after


def _has_lost(session: HostSession, lost: float) -> bool:
    """Whether the person's phone was reported lost after the session had begun."""
    return lost >= session.began_at.timestamp()


# Children, which other sessions cover


async def add_child(
    gateway: Gateway, connection: Connection, host: Host, asked: AskedStart, parent: HostSession
) -> HostSession:
    """The session of a login that begins in the login of another session. This transaction has locked the parent's row,
    which is open and active."""
    moment = await now(connection)
    since = parent.began_at if parent.decided_at is None else parent.decided_at
    age = int(parent.details.get("approved_ago", "0")) + max(round((moment - since).total_seconds()), 0)
    columns = {
        "id": uuid.uuid4(),
        "state": State.OPEN.value,
        "status": Status.active.name,
        "deadline": moment,
        "expires_at": min(moment + timedelta(seconds=asked.duration), parent.expires_at),
        "version": FIRST_VERSION,
        "details": {
            **asked.details,
            "ssh_connection": asked.connection,
            "covered_by": parent.host_name,
            "approved_ago": str(age),
        },
        "parent": parent.id,
    }
    child = await _new(gateway, connection, host, asked, moment, **columns)
    reason = f"by the session {parent.id} on {parent.host_name}"
    await record(connection, child, Outcome.COVERED, reason=reason)
    return child


async def _status_of_parent(gateway: Gateway, connection: Connection, id: uuid.UUID) -> Status:
    """What the session with this id is for its children. Raises Tampered."""
    return _status_for_children(await find_with_host(gateway, connection, id))


def _status_for_children(found: tuple[HostSession, Host | None] | None) -> Status:
    """What a session of a host is for its children. One whose host may not ask any more is over. Raises Tampered if the
    row of either has gone: what is not known has not ended."""
    if found is None:
        raise Tampered("session: a row that others name as their parent has gone")
    parent, host = found
    status = parent.status
    if status is None or not (parent.state is State.OPEN or status.ended):
        return Status.closed
    if host is None and not status.ended:  # `remove_host` has written that its sessions have ended
        raise Tampered("host: a row has gone whose logins cover others")
    return Status.closed if host is not None and host.status is not HostStatus.ACTIVE else status


async def follow_parents(gateway: Gateway) -> None:
    """Write the status of each parent in the rows of its children. Raises DatabaseError."""
    last, changed = _BEFORE_ALL, False
    while True:
        async with gateway.database.transaction() as connection:
            rows = await many(
                connection,
                'SELECT NULL AS "child:", child.*, NULL AS "session:", parent.*, NULL AS "host:", host.*,'
                ' NULL AS "over:", child.expires_at <= now() AS over'
                " FROM session AS child LEFT JOIN session AS parent ON parent.id = child.parent"
                " LEFT JOIN host ON host.id = parent.host"
                " WHERE child.state = 'open' AND child.parent IS NOT NULL AND child.id > %s"
                " AND (parent.state IS DISTINCT FROM 'open' OR parent.status IS DISTINCT FROM child.status"
                " OR (host.status = 'active') IS NOT TRUE OR child.expires_at <= now())"
                " ORDER BY child.id LIMIT %s FOR UPDATE OF child SKIP LOCKED",
                *(last, _MOST_FOLLOWING),
            )
            for row in rows:
                last = row["child"]["id"]
                try:
                    changed |= await _follow(gateway, connection, row)
                except Tampered as error:
                    await alert(
                        connection, None, f"{error}: no end is seen of what it covers, or is covered by"
                    )
        if len(rows) < _MOST_FOLLOWING:
            if not changed:
                return
            last, changed = _BEFORE_ALL, False  # children of children


async def _follow(gateway: Gateway, connection: Connection, row: Mapping[str, Any]) -> bool:
    """Whether the row of a child was written. Raises Tampered if it or its parent does not count: that is no end."""
    locked = gateway.keys.verified(TABLE, row["child"])
    is_there = row["session"]["id"] is not None
    status = _status_for_children(with_host(gateway, row, id=locked["parent"]) if is_there else None)
    if row["over"]["over"] and not status.ended:
        status = Status.timeout  # its own time is over: IAMPASS does not know of it
    if status.name == locked["status"]:
        return False
    columns = {"status": status.name, "version": locked["version"] + 1}
    if status.ended:
        columns["state"] = State.ENDED.value
    session = await _change(gateway, connection, locked, **columns)
    if status.ended:
        await record(connection, session, None, event=SessionEvent.ENDED.value, reason=status.name)
    return True


async def give_up(gateway: Gateway) -> None:
    """Decide the starts whose gateway has died before it could write what IAMPASS has said, and those that have waited
    for a turn that is not written any more. Raises DatabaseError and Tampered."""
    async with gateway.database.transaction() as connection:
        for row in await many(
            connection,
            "SELECT id FROM session WHERE deadline < now() AND (state = 'starting' AND reason IS NULL"
            " OR state = 'queued' AND deadline < now() - make_interval(secs => %s)) ORDER BY id FOR UPDATE",
            _LATE_SECONDS,
        ):
            locked = await _locked(gateway, connection, row["id"])
            if locked["state"] == State.QUEUED.value:
                why = Throttled.of(Refusal(Cause.NO_TURN))
                await end_queued(gateway, connection, locked, Status.timeout, why.reason.outcome, why)
                continue
            columns = {"state": State.ENDED.value, "reason": Reason.TRY_AGAIN.name}
            if locked["status"] is not None:
                columns |= {"status": Status.failed.name, "version": locked["version"] + 1}
            session = await _change(gateway, connection, locked, **columns)
            await record(connection, session, Outcome.UNAVAILABLE, reason="its gateway has stopped")


_OUTCOMES = {
    Status.active: Outcome.APPROVED,
    Status.walkaway: Outcome.APPROVED,
    Status.cancelled: Outcome.DENIED,
    Status.failed: Outcome.DENIED,
    Status.timeout: Outcome.TIMED_OUT,
    Status.closed: Outcome.CANCELLED,
}


async def _brake(
    gateway: Gateway, connection: Connection, host: Host, person: str, status: Status, moment: datetime
) -> list[HostSession]:
    """Slow a host down if three people have cancelled its requests, unless as many people have approved some.

    :param status: cancelled; or closed, if the host has ended a request before it was answered.

    Returns the requests on phones of a host that is suspended by this: nobody may approve them any more.
    """
    connection.later("SELECT 1 FROM host WHERE id = %s FOR UPDATE", (host.id,))
    counted = await one(
        connection,
        """
        SELECT
            count(DISTINCT person) FILTER (WHERE status = 'cancelled') AS cancelled,
            count(DISTINCT person) FILTER (WHERE status = 'closed' AND NOT approved) AS withdrawn,
            count(DISTINCT person) FILTER (WHERE approved) AS approved,
            count(*) FILTER (WHERE status = 'closed' AND NOT approved AND person = %s) AS of_person
        FROM session
        WHERE host_name = %s AND began_at > now() - interval '1 hour'
            AND decided_at > now() - make_interval(mins => %s)
        """,
        *(person, host.name, _BRAKE_MINUTES),
    )
    if counted is None:
        return []
    if status is Status.closed:
        many_people = counted["withdrawn"] >= max(_WITHDRAWN_PEOPLE, counted["approved"] + 1)
        if many_people or counted["of_person"] >= _WITHDRAWN_OF_PERSON:
            await alert(connection, host.name, "this host ends its requests before people have answered")
        return []
    if counted["cancelled"] < max(_BRAKE_PEOPLE, counted["approved"] + 1):
        return []
    policy = gateway.settings.groups.get(host.group)
    what = f"{counted['cancelled']} people have cancelled requests of this host"
    if policy is not None and policy.suspend_by_itself:
        await hosts.change(gateway, connection, host.id, status=HostStatus.SUSPENDED)
        void, _ = await hosts.void_invite_of(connection, host.name)
        then = f"; its invite {void} is void" if void else ""
        await records.write(connection, Kind.ALERT, host=host.name, reason=f"{what}: it is suspended{then}")
        return await ringing_of(gateway, connection, host.name)
    await hosts.change(gateway, connection, host.id, slowed_until=moment + timedelta(minutes=_BRAKE_MINUTES))
    await alert(connection, host.name, f"{what}: it is slowed down")
    return []


# Records


async def record(
    connection: Connection, session: HostSession, outcome: Outcome | None, **fields: str
) -> None:
    """Write the record of a decision, or of the end of a session."""
    if outcome is not None:
        fields["outcome"] = outcome.value
    fields = {**session.details, **fields, "session": str(session.id)}
    await records.write(connection, Kind.DECISION, host=session.host_name, person=session.person, **fields)


async def _record_refusal(
    connection: Connection, host: Host, asked: AskedStart, reason: Reason, why: str = ""
) -> bool:
    """Write the record of a refused start, unless there are too many; whether it was written."""
    if await _refusals(connection, host) >= _REFUSALS_A_MINUTE:
        return False
    fields = {
        **asked.details,
        "outcome": reason.outcome.value,
        "reason": why or reason.name,
        "refused": "start",
    }
    await records.write(connection, Kind.DECISION, host=host.name, person=clean(asked.person, 100), **fields)
    return True


async def _record_bypass(connection: Connection, host: Host, asked: AskedStart, bypass: Bypass) -> None:
    """Write the record of a start that needs no phone, unless there are too many."""
    recent = await one(
        connection,
        "SELECT count(*) AS recent FROM record WHERE host = %s AND at > now() - interval '1 minute'"
        " AND fields->>'outcome' = %s",
        *(host.name, Outcome.BYPASSED.value),
    )
    if recent is not None and recent["recent"] < _REFUSALS_A_MINUTE:
        reason = f"by {bypass.made_by}" + (f": {bypass.reason}" if bypass.reason else "")
        fields = {**asked.details, "outcome": Outcome.BYPASSED.value, "reason": reason}
        await records.write(connection, Kind.DECISION, host=host.name, person=asked.person, **fields)


async def _refusals(connection: Connection, host: Host) -> int:
    """How many starts of this host were refused within a minute, as the records say."""
    counted = await one(
        connection,
        "SELECT count(*) AS recent FROM record WHERE host = %s AND at > now() - interval '1 minute'"
        " AND fields ? 'refused'",
        host.name,
    )
    return 0 if counted is None else int(counted["recent"])


async def alert(
    connection: Connection, host: str | None, what: str, person: str | None = None, **fields: str
) -> None:
    """Write a record that an administrator should see, once in ten minutes."""
    same = await one(
        connection,
        "SELECT 1 FROM record WHERE host IS NOT DISTINCT FROM %s AND kind = %s"
        " AND at BETWEEN now() - interval '10 minutes' AND now() AND fields->>'reason' = %s",
        *(host, Kind.ALERT.value, what),
    )
    if same is None:
        await records.write(connection, Kind.ALERT, host=host, person=person, reason=what, **fields)

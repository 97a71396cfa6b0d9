"""Starts of hosts: who may have whom asked on the phone now. What is to be asked is a new row of a session."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import re
import uuid
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Union

import psycopg

from pam_iampass.client.status import AuthenticationMethod, Status
from pam_iampass.gateway import asking, bypasses, hosts, people, records, sessions, turns
from pam_iampass.gateway.bypasses import Bypass
from pam_iampass.gateway.database import (
    Connection,
    DatabaseAway,
    DatabaseError,
    UnknownOutcome,
    insert,
    one,
)
from pam_iampass.gateway.gateway import Gateway
from pam_iampass.gateway.hosts import Host, HostStatus
from pam_iampass.gateway.keys import Tampered
from pam_iampass.gateway.people import Person
from pam_iampass.gateway.reasons import Reason, Throttled
from pam_iampass.gateway.records import Kind
from pam_iampass.gateway.sessions import HostSession, State
from pam_iampass.gateway.settings import LimitSettings
from pam_iampass.login import throttle
from pam_iampass.login.throttle import LEAST_LEFT, Pending, Refusal
from pam_iampass.outcome import Outcome
from pam_iampass.server.messages import IncomingRequest, Start, bad_request
from pam_iampass.session.presence import between_hosts
from pam_iampass.text import clean

_ASKED = "parent IS NULL AND state <> 'not_started' AND state <> 'queued'"
"""The condition of a session for which a phone was asked, or may be."""
_OF_LOGIN = ("asker", "service", "remote", "caller", "key")
PARAMETERS = ("request_id", "machine", "timeout", "connection", *_OF_LOGIN)
"""What the query of a start can have at a gateway, beside what IAMPASS knows. The signature covers it."""
SHORTEST_REQUEST_SECONDS = 15
"""How long a phone rings at least, unless its host ends the request: else nobody could cancel it."""
LONGEST_REQUEST_SECONDS = 300
"""After that, no login waits for an answer any more."""
_NOT_STARTED_A_MINUTE = 10
"""Starts from one host for one person after which no phone rang, such as for want of one."""
_MOST_WHILE_SLOWED = 3
"""Requests that are not approved, of a host to a person who has approved there lately, while the brake holds for it."""


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
        patience = seconds_of(given, start.duration)
        return cls(
            start.user,
            tuple(AuthenticationMethod[name] for name in start.methods),
            max(start.duration, SHORTEST_REQUEST_SECONDS),
            min(patience, start.duration, LONGEST_REQUEST_SECONDS),
            request_id,
            machine,
            between_hosts(given.get("connection", "")),
            details_of(given),
            hashlib.sha256(json.dumps([start.user, sorted(given.items())]).encode()).digest(),
        )


def details_of(given: Mapping[str, str]) -> dict[str, str]:
    """What the parameters of a request say of the login."""
    return {name: clean(given[name], 200) for name in _OF_LOGIN if name in given}


def seconds_of(given: Mapping[str, str], otherwise: int) -> int:
    """For how long the login waits for the answer to a request, as it says. Raises RefusedRequest."""
    timeout = given.get("timeout", str(otherwise))
    if not re.fullmatch(r"[1-9][0-9]{0,4}", timeout):
        raise bad_request("BAD_TIMEOUT", "timeout must be a number of seconds")
    return int(timeout)


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
Cover = Callable[[Gateway, Host, AskedStart], Awaitable[Union[HostSession, None]]]
"""Finds the session of a start that needs no phone, since the login begins in another one; None if the phone has to be
asked. It waits for other hosts, and no row is locked meanwhile."""


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
    own = sum(each == host for each, _ in gateway.starts) + gateway.repeats[host]
    if own >= gateway.settings.limits.calls_of_host:
        return await refused(gateway, host, asked, Reason.HOST_THROTTLED, spend)
    if key in gateway.starts:
        gateway.repeats[host] += 1
        try:
            while key in gateway.starts:
                await asyncio.wait([gateway.starts[key]])
        finally:
            gateway.repeats[host] -= 1
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
    return await asking.made(gateway, session, person, came_at + asked.patience * (1 - LEAST_LEFT))


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
    read = await _read(connection, host_id, asked, gateway.settings.limits)
    if read is None:
        return None, Reason.HOST_SUSPENDED  # removed since its signature was checked
    host = hosts.of(gateway, read["host"], id=host_id)

    async def refused(reason: Reason, why: str = "") -> tuple[None, Reason]:
        recorded = await _record_refusal(connection, host, asked, reason, why)
        if recorded or reason not in (Reason.UNKNOWN_USER, Reason.NOT_ON_THIS_HOST):
            return None, reason
        await records.alert(
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
    # A client of IAMPASS itself does not know such a session; of a second person, the login is not.
    if not by_phone and asked.request_id is not None and "asker" not in asked.details:
        policy = gateway.settings.policy_of(host.group)
        if policy is not None and policy.covered_by and asked.connection is not None:
            return None, host
    id = uuid.uuid4()
    login = _login(host, person, asked, id, before.now)
    limits = gateway.settings.limits
    is_slowed = host.is_slowed(before.now)
    exceeds = await _exceeds(connection, host, read["counted"]["unapproved"], limits.host_requests_per_hour)
    login = await turns.recognized(connection, before, login, limits, at_once=is_slowed or exceeds)
    if exceeds and not login.is_familiar:
        return await refused(Reason.HOST_THROTTLED, "too many requests of this host were not approved")
    if is_slowed and await is_held_back(connection, host, before, login):
        return await refused(Reason.HOST_THROTTLED)
    failing = before.state.hosts_failing(login)
    if login.is_familiar and failing:
        what = f"requests of {failing[0]} to people who log in here, from the same address, are not approved"
        await records.alert(connection, host.name, what, person=person.name)
    after = turns.joined(before, login, limits)
    if isinstance(after, Refusal):
        throttled = Throttled.of(after)
        await refused(throttled.reason, throttled.why)
        return None, throttled
    session = await _inserted(gateway, connection, host, asked, id, login, queued=not after.has_turn(login))
    if session.state is State.STARTING:
        after = turns.holding(after, login, session.deadline.timestamp() + turns.END_SECONDS)
    await turns.write(connection, before, after)
    return (person if session.state is State.STARTING else None), session


async def _read(
    connection: Connection, host: str, asked: AskedStart, limits: LimitSettings
) -> Mapping[str, Any] | None:
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
                AND state = 'not_started' AND began_at > now() - interval '1 minute') AS not_started,
            (SELECT count(*) FROM (SELECT FROM session WHERE session.host_name = host.name AND {_ASKED}
                AND NOT approved AND began_at > now() - interval '1 hour' LIMIT %s) AS found) AS unapproved
        FROM host
            LEFT JOIN person ON person.name = %s
            LEFT JOIN turn ON turn.person = %s
            LEFT JOIN session ON session.host = host.id AND session.request_id = %s
        WHERE host.id = %s
        """,  # noqa: S608
        *(name, name, limits.host_requests_per_hour, name, name, asked.request_id, host),
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
        return Reason.HOST_NOT_ADMITTED if host.status is HostStatus.WAITING else Reason.HOST_SUSPENDED
    if not await hosts.is_its_machine(gateway, connection, host, machine):
        return Reason.WRONG_MACHINE
    person = await _person(gateway, connection, host, name, row)
    if person is None or not person.active:
        return Reason.UNKNOWN_USER
    if not gateway.settings.admits(host.group, person.groups):
        return Reason.NOT_ON_THIS_HOST
    return person


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
        await records.alert(connection, host.name, str(error), person=name)
        return None


async def _repeated(
    gateway: Gateway, connection: Connection, host: Host, row: Mapping[str, Any], asked: AskedStart
) -> HostSession | Reason:
    try:
        session = sessions.of(gateway, row, host=host.id, request_id=asked.request_id)
        if session.parent is not None and session.state is State.OPEN:
            status = await sessions.status_of_parent(gateway, connection, session.parent)
            session = dataclasses.replace(session, status=status)
    except Tampered as error:
        await records.alert(connection, host.name, str(error), person=asked.person)
        return Reason.TRY_AGAIN
    return session if session.parameters == asked.digest else Reason.REQUEST_ID_REUSED


async def _exceeds(connection: Connection, host: Host, unapproved: int, most: int) -> bool:
    """Whether a host has reached the limit of requests that are not approved, and no more people have approved some in
    an hour than not: a busy host may have many of both, and one accomplice may approve many. This is an alert, and so
    is a quarter of the limit."""
    quarter = max(most // 4, 1)
    if unapproved < quarter:
        return False
    counted = await one(
        connection,
        "SELECT count(DISTINCT person) FILTER (WHERE approved) AS approved,"  # noqa: S608
        " count(DISTINCT person) FILTER (WHERE NOT approved) AS unapproved"
        f" FROM session WHERE host_name = %s AND {_ASKED} AND began_at > now() - interval '1 hour'",
        host.name,
    )
    if counted is None or counted["approved"] > counted["unapproved"]:
        return False
    exceeds = unapproved >= most
    what = "many requests" if exceeds else f"{quarter} requests or more"
    share = "" if exceeds else "a quarter of "
    what = f"{what} of this host were not approved within an hour ({share}host_requests_per_hour)"
    await records.alert(connection, host.name, what)
    return exceeds


async def is_held_back(connection: Connection, host: Host, before: turns.Turns, login: Pending) -> bool:
    """Whether the brake, which holds for a host, keeps a login there from the phone.

    A person who has approved there lately has a few requests of their own, whatever others do. All others together have
    one a minute, and none who has just had one that was not approved: those who cancel do not take it from the rest.
    """
    own = turns.requests_of_host(before, host.name, asking.BRAKE_MINUTES * 60)
    if login.is_familiar:
        return own >= _MOST_WHILE_SLOWED
    # Starts for other people do not pass at the same time.
    connection.later("SELECT 1 FROM host WHERE id = %s FOR UPDATE", (host.id,))
    recent = await one(
        connection,
        f"SELECT 1 FROM session WHERE host_name = %s AND {_ASKED}"  # noqa: S608
        f" AND began_at > now() - interval '1 minute' AND NOT {turns.FAMILIAR} LIMIT 1",
        host.name,
    )
    return own > 0 or recent is not None


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
        "deadline": own_deadline if queued else asking.ring_deadline(moment, own_deadline, expires_at),
        "expires_at": expires_at,
        "version": sessions.FIRST_VERSION if queued else 0,
        "details": dict(asked.details),
        "parent": None,
    }
    return await add(gateway, connection, host, asked, moment, **columns)


async def add(
    gateway: Gateway, connection: Connection, host: Host, asked: AskedStart, moment: datetime, **columns: Any
) -> HostSession:
    """The session of a start, with a new row that has these columns."""
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
    sealed = gateway.keys.sealed(sessions.TABLE, row)
    await insert(connection, sessions.TABLE, sealed)
    return sessions.of_verified(gateway, sealed)


async def _record_refusal(
    connection: Connection, host: Host, asked: AskedStart, reason: Reason, why: str = ""
) -> bool:
    """Write the record of a refused start, unless there are too many; whether it was written."""
    if await records.refusals(connection, host.name) >= records.REFUSALS_A_MINUTE:
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
    if recent is not None and recent["recent"] < records.REFUSALS_A_MINUTE:
        reason = f"by {bypass.made_by}" + (f": {bypass.reason}" if bypass.reason else "")
        fields = {**asked.details, "outcome": Outcome.BYPASSED.value, "reason": reason}
        await records.write(connection, Kind.DECISION, host=host.name, person=asked.person, **fields)

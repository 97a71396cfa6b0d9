"""Starts of hosts, and of the gateway itself: which may have which person asked on the phone now. `_admit_once` decides
it, step by step.

A start for which a phone is to be asked becomes a row of a session before IAMPASS is called (`asking.py`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
import uuid
from collections.abc import Awaitable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any, Callable, Union

import psycopg

from pam_iampass.client.status import Status
from pam_iampass.fleet.names import person_name_error
from pam_iampass.gateway.base import metrics, records
from pam_iampass.gateway.base.connection import Connection, DatabaseAway, DatabaseError, UnknownOutcome
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.reasons import Reason, RefusedStart
from pam_iampass.gateway.base.records import Kind
from pam_iampass.gateway.base.settings import LimitSettings
from pam_iampass.gateway.base.statements import insert, many, one
from pam_iampass.gateway.hosts import hosts, news
from pam_iampass.gateway.hosts.hosts import Asker, Host
from pam_iampass.gateway.people import agents
from pam_iampass.gateway.people.agents import Agent
from pam_iampass.gateway.people.people import Person
from pam_iampass.gateway.requests import allowed, asking, bypasses, sessions, turns
from pam_iampass.gateway.requests.asked_start import AskedStart
from pam_iampass.gateway.requests.bypasses import Bypass
from pam_iampass.gateway.requests.host_limits import (
    AT_LIMIT,
    UNAPPROVED,
    exceeds_limit,
    is_held_back,
    lock_starts,
)
from pam_iampass.gateway.requests.sessions import HostSession, State
from pam_iampass.login.throttle import LEAST_LEFT, Cause, Pending, Refusal, unrung_refusal
from pam_iampass.outcome import Outcome
from pam_iampass.text import clean

_UNRUNG_A_MINUTE = 10
"""The limit of starts per minute, host, person and origin that reach no phone, for example because the person has
none."""


SpendNonce = Callable[[Connection], None]
"""Uses up the nonce of a call with the next statement, which raises UniqueViolation if it was used before."""
StartCovered = Callable[[Gateway, Host, AskedStart], Awaitable[Union[HostSession, None]]]
"""Starts the session of a login that begins in another login of the person; None if there is no such login. It waits
for other hosts, so that no row may be locked meanwhile."""


def spend_nothing(_: Connection) -> None:
    """The nonce is used up already, or does not count."""


@dataclass(frozen=True)
class _Admission:
    """The decision of one transaction about a start, and what is to be done once it is committed."""

    answer: HostSession | RefusedStart
    """It is told to the host, unless something is to be done first."""
    ring: Person | None = None
    """The person whose phone is to be asked for the session in `answer`."""
    coverable: Host | None = None
    """The host, if others are to be asked first whether the login begins in one of theirs."""


async def start(
    gateway: Gateway,
    host_id: str,
    asked: AskedStart,
    start_covered: StartCovered,
    came_at: float,
    spend_nonce: SpendNonce,
) -> HostSession | RefusedStart:
    """Have a person asked, or find what became of an earlier call with the same request id.

    The request is made in a task of its own: it goes on if the host hangs up.

    :param came_at: the `time.monotonic()` of the call. The database may have held it up since.
    """
    key = (host_id, asked.request_id or str(uuid.uuid4()))
    if _has_its_share(gateway, host_id):
        return await refuse_start(gateway, host_id, asked, Reason.HOST_THROTTLED, spend_nonce)
    if key in gateway.starts:
        gateway.repeats[host_id] += 1
        try:
            while key in gateway.starts:
                await asyncio.wait([gateway.starts[key]])
        finally:
            gateway.repeats[host_id] -= 1
    return await _run(gateway, key, _start(gateway, host_id, asked, start_covered, came_at, spend_nonce))


async def start_own(gateway: Gateway, asker: Asker, asked: AskedStart) -> HostSession | RefusedStart:
    """Have a person asked by the gateway itself, as `start`, by the same limits for that person. Nothing but the phone
    answers: neither a bypass nor another login. Raises DatabaseError and Tampered."""
    if _has_its_share(gateway, asker.name):
        return RefusedStart(Reason.HOST_THROTTLED)
    key = (asker.name, str(uuid.uuid4()))
    return await _run(gateway, key, _start_own(gateway, asker, asked, time.monotonic()))


def _has_its_share(gateway: Gateway, asker: str) -> bool:
    """Whether a host, or the gateway itself, has as many starts under way as it may have. `asker` is the host's id, or
    the name under which the gateway itself asks."""
    own = sum(each == asker for each, _ in gateway.starts) + gateway.repeats[asker]
    return own >= gateway.settings.limits.calls_of_host


async def _run(
    gateway: Gateway, key: tuple[str, str], work: Coroutine[Any, Any, HostSession | RefusedStart]
) -> HostSession | RefusedStart:
    """The result of a start, which goes on if this is cancelled."""
    task = asyncio.create_task(work)
    gateway.starts[key] = task
    task.add_done_callback(lambda _: gateway.starts.pop(key))
    return await asyncio.shield(task)


async def refuse_start(
    gateway: Gateway,
    host_id: str,
    asked: AskedStart,
    reason: Reason,
    spend_nonce: SpendNonce = spend_nothing,
) -> RefusedStart:
    """Refuse a start before anything else is looked at, and write the record of it."""
    with suppress(DatabaseError, Tampered):
        async with gateway.database.transaction() as connection:
            spend_nonce(connection)
            host = await hosts.find(gateway, connection, host_id)
            if host is not None:
                await _record_refusal(connection, host, asked, RefusedStart(reason))
    return RefusedStart(reason)


async def _start(
    gateway: Gateway,
    host_id: str,
    asked: AskedStart,
    start_covered: StartCovered,
    came_at: float,
    spend_nonce: SpendNonce,
) -> HostSession | RefusedStart:
    """Admit a start, without the phone if another login covers it; else call IAMPASS once its row is committed."""
    admission = await _unless_away(_admit(gateway, host_id, asked, spend_nonce, by_phone=False))
    if admission.coverable is not None:
        covered = await start_covered(gateway, admission.coverable, asked)
        if covered is not None:
            return covered
        admission = await _unless_away(_admit(gateway, host_id, asked, spend_nothing, by_phone=True))
    return await _ring(gateway, asked, admission, came_at)


async def _start_own(
    gateway: Gateway, asker: Asker, asked: AskedStart, came_at: float
) -> HostSession | RefusedStart:
    return await _ring(gateway, asked, await _unless_away(_admit_own(gateway, asker, asked)), came_at)


async def _unless_away(admitting: Coroutine[Any, Any, _Admission]) -> _Admission:
    """Return the decision about a start, or TRY_AGAIN if the database has not said whether one was made."""
    try:
        return await admitting
    except UnknownOutcome:
        return _Admission(RefusedStart(Reason.TRY_AGAIN))
    except DatabaseAway:
        return _Admission(RefusedStart(Reason.DATABASE_AWAY))


async def _ring(
    gateway: Gateway, asked: AskedStart, admission: _Admission, came_at: float
) -> HostSession | RefusedStart:
    """Call IAMPASS for a start, if that was decided."""
    if admission.ring is None or isinstance(admission.answer, RefusedStart):
        return admission.answer
    waits_until = came_at + asked.patience * (1 - LEAST_LEFT)
    return await asking.start_at_iampass(gateway, admission.answer, admission.ring, waits_until)


async def _admit_own(gateway: Gateway, asker: Asker, asked: AskedStart) -> _Admission:
    """Decide a start of the gateway itself, by the steps of `_admit_once` that concern it. The transaction is this
    function's own."""
    async with gateway.database.transaction() as connection:
        turns.lock(connection, asked.person)
        read = await _read_rows(connection, asker, asked.person, None, gateway.settings.limits)
        assert read is not None  # noqa: S101 - the gateway itself has a row of constants
        person = await allowed.find_known_person(gateway, connection, asker, asked.person, read["person"])
        if isinstance(person, Reason):
            return await _refuse(connection, asker, asked, RefusedStart(person))
        before = turns.Turns.of(read["turn"], person.name)
        return await _admit_by_phone(gateway, connection, asker, asked, person, before, read["counted"])


class _OfAgent(Exception):
    """Raised if an account that acts for a person makes a start: nothing of the transaction is written, and it is
    decided again for that person. So turns are always locked before starts."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.agent = agent


async def _admit(
    gateway: Gateway, host_id: str, asked: AskedStart, spend_nonce: SpendNonce, *, by_phone: bool
) -> _Admission:
    async def admit() -> _Admission:
        try:
            return await _admit_once(gateway, host_id, asked, spend_nonce, by_phone=by_phone)
        except _OfAgent as found:
            of_agent = asked.of_agent(found.agent)
            return await _admit_once(gateway, host_id, of_agent, spend_nonce, by_phone=by_phone)

    try:
        return await admit()
    except psycopg.errors.UniqueViolation:  # another gateway has written a row of this request meanwhile
        return await admit()


async def _admit_once(
    gateway: Gateway, host_id: str, asked: AskedStart, spend_nonce: SpendNonce, *, by_phone: bool
) -> _Admission:
    """Decide a start in one transaction:

    1. Read the rows of the host, the person, their turns, and an earlier call with this request id.
    2. Refuse a host that may not ask, and a person who may not log in there. If the name is that of an account that
       acts for a person, begin again with that person (`_OfAgent`): both must be admitted there. So it is if the host
       says that such an account has become the person in its own login session. No host says of whom an account is,
       and a person is no second person for an account of their own.
    3. Answer a repeat with what became of the first call.
    4. Let in a bypassed person, but no account that acts for them.

    What follows holds for the gateway itself, too (`_admit_by_phone`):

    5. Refuse a person whose lost phone IAMPASS has not disabled yet.
    6. Refuse a login if no phone rang for the last ones of this person from its origin on this host.
    7. Unless `by_phone`: have other hosts asked first, if the login may begin in one of theirs. No row may be locked
       meanwhile; if it does not, the caller comes back, and all is read again.
    8. Refuse a host that is at its limit, or held back by its brake. Its starts come one after the other from step 1
       on, so that each finds what those before have begun. The gateway itself is not refused: some people who approve
       nothing would keep all others from asking for something. Whom it rings is no host's word.
    9. Take a turn on the person's phone, or a place in the queue.
    10. Insert the session, and write the turns.

    The transaction is this function's own: locks, and all that is written, are sent with the next statement that is
    read, or with COMMIT (`Connection.later`). They keep the order of these lines.
    """
    async with gateway.database.transaction() as connection:
        # 1. Read. The locks are statements of their own: the next one then finds what others have written.
        spend_nonce(connection)
        name = "" if person_name_error(asked.person) else asked.person
        accounts = [
            "" if person_name_error(each) else each
            for each in (asked.account, asked.details.get("session_user", ""))
        ]
        turns.lock(connection, name)
        lock_starts(connection, host_id)
        read = await _read_rows(
            connection, host_id, name, asked.request_id, gateway.settings.limits, *accounts
        )
        if read is None:
            return _Admission(RefusedStart(Reason.HOST_SUSPENDED))  # removed since its signature was checked
        host = hosts.from_row(gateway, read["host"], id=host_id)

        # 2. Refuse
        person = await allowed.find_allowed_person(
            gateway, connection, host, asked.machine, asked.person, read["person"]
        )
        agent, within = [
            await agents.verified(gateway, connection, read[each], account, host)
            for each, account in zip(("agent", "within"), accounts)
        ]
        if isinstance(person, Person) and asked.agent:
            person = agents.why_not(gateway, agent, person, host) or person
        elif agent is not None and person is Reason.UNKNOWN_USER and asked.is_persons_own:
            raise _OfAgent(agent)
        elif isinstance(person, Person):
            if within is not None and within.person == person.name and asked.is_persons_own:
                raise _OfAgent(within)
            if person.name in {each.person for each in (agent, within) if each is not None}:
                person = Reason.NOT_ON_THIS_HOST
        if isinstance(person, Reason):
            return await _refuse(connection, host, asked, RefusedStart(person))
        before = turns.Turns.of(read["turn"], person.name)

        # 3. Repeat
        if read["session"]["id"] is not None:
            return _Admission(await _find_repeated(gateway, connection, host, read["session"], asked))

        # 4. Bypass. A bypassed second person lets nobody else in. Without an id, the answer could not say for which
        # request it is.
        if read["counted"]["bypassed"] and asked.request_id is not None and asked.is_persons_own:
            service = asked.details.get("service", "")
            bypass = await bypasses.find(gateway, connection, host, person.name, service)
            if bypass is not None:
                await _record_bypass(connection, host, asked, bypass)
                return _Admission(RefusedStart(Reason.BYPASSED))

        # A client of IAMPASS itself does not know a covered session; the login must be the person's own.
        coverable = None
        if not by_phone and asked.request_id is not None and asked.is_persons_own:
            policy = gateway.settings.policy_of(host.group)
            if policy is not None and policy.covered_by and asked.connection is not None:
                coverable = host
        return await _admit_by_phone(
            gateway, connection, host, asked, person, before, read["counted"], coverable
        )


async def _admit_by_phone(
    gateway: Gateway,
    connection: Connection,
    asker: Asker,
    asked: AskedStart,
    person: Person,
    before: turns.Turns,
    counted: Mapping[str, Any],
    coverable: Host | None = None,
) -> _Admission:
    """The steps of `_admit_once` from the fifth one on. `coverable` is the host if the login may begin in another one
    that was not asked about yet."""
    limits = gateway.settings.limits

    # 5. Lost phone
    if person.phone_to_disable:
        return await _refuse(connection, asker, asked, RefusedStart(Reason.PHONE_LOST))

    # 6. No phone rang
    id = uuid.uuid4()
    until = before.now + asked.patience * (1 - LEAST_LEFT)
    login = turns.login_of(person.name, asker.name, asked.details, id, before.now, until)
    refusal = unrung_refusal(before.state, login, _UNRUNG_A_MINUTE, before.now)
    if refusal is not None:
        return await _refuse(connection, asker, asked, RefusedStart.of(refusal))

    # 7. Cover
    if coverable is not None:
        return _Admission(RefusedStart(Reason.TRY_AGAIN), coverable=coverable)

    # 8. Limit and brake
    is_slowed = asker.is_slowed(before.now)
    exceeds = await exceeds_limit(connection, asker, counted["unapproved"], limits.host_requests_per_hour)
    depends = is_slowed or exceeds or bool(asked.agent)  # its turn looks at what is known now
    login = await turns.recognized(connection, before, login, limits, asked.agent, at_once=depends)
    if exceeds and not login.is_familiar and isinstance(asker, Host):
        return await _refuse(connection, asker, asked, AT_LIMIT)
    if is_slowed and await is_held_back(connection, asker, before, login):
        return await _refuse(connection, asker, asked, RefusedStart(Reason.HOST_THROTTLED))
    failing = before.state.hosts_failing(login)
    if login.is_familiar and failing:
        what = f"requests of {failing[0]} to people who log in here, from the same address, are not approved"
        if asked.agent:
            what = f"requests of {failing[0]} for accounts that act for people here are not approved"
        await records.alert(connection, asker.name, what, person=person.name)

    # 9. Take a turn
    after = turns.joined(before, login, limits)
    if isinstance(after, Refusal):
        if not before.state.backoff(login, limits, before.now):  # that is usual after two requests
            many = "wait" if after.cause is Cause.AT_CAPACITY else "were not approved within an hour"
            what = f"logins of {person.name} are refused: too many {many}, and somebody may have the password"
            if asked.agent:
                what = f"logins of accounts that act for {person.name} are refused: too many {many}"
            await records.alert(connection, asker.name, what, person=person.name)
        return await _refuse(connection, asker, asked, RefusedStart.of(after))
    queued = not after.has_turn(login)

    # 10. Insert
    # Neither somebody else's login nor a client without a request id tells it.
    tells = isinstance(asker, Host) and asked.request_id is not None and asked.is_persons_own
    new = news.details(counted) if tells else {}
    session = await _insert_start(gateway, connection, asker, asked, id, login, new, queued=queued)
    if not queued:
        after = turns.holding(after, login, session.deadline.timestamp() + turns.END_SECONDS)
    await turns.write(connection, before, after)
    return _Admission(session, ring=None if queued else person)


async def _refuse(
    connection: Connection, asker: Asker, asked: AskedStart, refused: RefusedStart
) -> _Admission:
    """Refuse a start, and write the record of it. If a host has too many refused, it learns no more which names there
    are."""
    recorded = await _record_refusal(connection, asker, asked, refused)
    if recorded or refused.reason not in (Reason.UNKNOWN_USER, Reason.NOT_ON_THIS_HOST):
        return _Admission(refused)
    await records.alert(
        connection, asker.name, "too many starts of this host are refused: it may be looking for names"
    )
    return _Admission(RefusedStart(Reason.HOST_THROTTLED))


async def _read_rows(
    connection: Connection,
    asker: str | Asker,
    name: str,
    request_id: str | None,
    limits: LimitSettings,
    account: str = "",
    within: str = "",
) -> Mapping[str, Any] | None:
    """The rows of a host, by its id, of the person with this name, of their turns, of an earlier call with this request
    id, and of two accounts that act for a person, where there are such; and what is counted. None if there is no host.
    The gateway itself has a row of constants.

    :param account: who logs in.
    :param within: the account of the login session.
    """
    host, host_id = "host", asker
    if isinstance(asker, Asker):
        host, host_id = f"(SELECT '{asker.id}' AS id, '{asker.name}' AS name) AS host", asker.id
    return await one(
        connection,
        f"""
        SELECT NULL AS "host:", host.*, NULL AS "person:", person.*, NULL AS "session:", session.*,
            NULL AS "agent:", agent.*, NULL AS "within:", within.*, NULL AS "turn:", {turns.COLUMNS},
            NULL AS "counted:",
            EXISTS (SELECT 1 FROM bypass WHERE bypass.person = %(person)s AND ends_at > now()) AS bypassed,
            {UNAPPROVED},
            {news.COLUMNS}
        FROM {host}
            LEFT JOIN person ON person.name = %(person)s
            LEFT JOIN turn ON turn.person = %(person)s
            LEFT JOIN session ON session.host = host.id AND session.request_id = %(request_id)s
            LEFT JOIN agent ON agent.name = %(account)s
            LEFT JOIN agent AS within ON within.name = %(within)s
        WHERE host.id = %(host)s
        """,  # noqa: S608
        host=host_id,
        person=name,
        request_id=request_id,
        account=account,
        within=within,
        most_unapproved=limits.host_requests_per_hour,
    )


async def _find_repeated(
    gateway: Gateway, connection: Connection, host: Host, row: Mapping[str, Any], asked: AskedStart
) -> HostSession | RefusedStart:
    """The session of an earlier call with the same request id, if that has asked for the same."""
    try:
        session = sessions.from_row(gateway, row, host=host.id, request_id=asked.request_id)
        if session.parent is not None and session.state is State.OPEN:
            status = await sessions.status_of_parent(gateway, connection, session.parent)
            session = dataclasses.replace(session, status=status)
    except Tampered as error:
        await records.alert(connection, host.name, str(error), person=asked.person)
        return RefusedStart(Reason.TRY_AGAIN)
    return session if session.parameters == asked.digest else RefusedStart(Reason.REQUEST_ID_REUSED)


async def _insert_start(
    gateway: Gateway,
    connection: Connection,
    asker: Asker,
    asked: AskedStart,
    id: uuid.UUID,
    login: Pending,
    new: Mapping[str, str],
    *,
    queued: bool,
) -> HostSession:
    """The new session of a start that waits in the queue, or for which IAMPASS is called next.

    :param new: what is new for the person (`news.py`).
    """
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
        "details": {**asked.details, **new},
        "parent": None,
    }
    return await insert_session(gateway, connection, asker, asked, moment, **columns)


async def insert_session(
    gateway: Gateway,
    connection: Connection,
    asker: Asker,
    asked: AskedStart,
    moment: datetime,
    **columns: Any,
) -> HostSession:
    """The session of a start, with a new row that has these columns."""
    row = {
        "host": asker.id,
        "person": asked.person,
        "request_id": asked.request_id,
        "parameters": asked.digest,
        "methods": [method.name for method in asked.methods],
        "reason": None,
        "nothing_sent": False,
        "approved": False,
        "began_at": moment,
        "waits_until": moment + timedelta(seconds=asked.patience),
        "retry_after": None,
        "decided_at": None,
        "gateway": gateway.id,
        "upstream": None,
        "host_name": asker.name,
        **columns,
    }
    sealed = gateway.keys.sealed(sessions.TABLE, row)
    await insert(connection, sessions.TABLE, sealed)
    return sessions.from_verified(gateway, sealed)


async def _record_refusal(
    connection: Connection, asker: Asker, asked: AskedStart, refused: RefusedStart
) -> bool:
    """Write the record of a refused start, unless there are too many; whether it was written."""
    if await records.refusals(connection, asker.name) >= records.REFUSALS_A_MINUTE:
        return False
    fields = {
        **records.login_fields(asked.details, refused.why or refused.reason.name),
        "outcome": refused.reason.outcome.value,
        "refused": "start",
    }
    await records.write(connection, Kind.DECISION, host=asker.name, person=clean(asked.person, 100), **fields)
    return True


async def _record_bypass(connection: Connection, host: Host, asked: AskedStart, bypass: Bypass) -> None:
    """Write the record of a start that needs no phone. If its host has too many within a minute, those of each person
    are counted in one record (`lost`), and an alert says so. This transaction has locked the person's turns."""
    (recent,) = await many(
        connection,
        "SELECT count(*) AS number, max(id) FILTER (WHERE person = %s AND fields ? 'lost') AS counting FROM record"
        " WHERE host = %s AND at > now() - interval '1 minute' AND fields->>'outcome' = %s",
        *(asked.person, host.name, Outcome.BYPASSED.value),
    )
    outcome, reason = (
        Outcome.BYPASSED,
        f"by {bypass.made_by}" + (f": {bypass.reason}" if bypass.reason else ""),
    )
    if recent["number"] < records.REFUSALS_A_MINUTE:
        fields = {**asked.details, "outcome": outcome.value, "reason": reason}
        await records.write(connection, Kind.DECISION, host=host.name, person=asked.person, **fields)
    elif recent["counting"] is None:
        fields = {"outcome": outcome.value, "reason": reason, "lost": "1"}
        await records.write(connection, Kind.DECISION, host=host.name, person=asked.person, **fields)
        what = "many logins within a minute need no phone because of a bypass: the log has the number of the others"
        await records.alert(connection, host.name, what, person=asked.person)
    else:
        connection.later(records.ADD_LOST, (1, recent["counting"]))
        connection.after_commit.append(partial(metrics.decided, outcome, asked.details.get("service", "")))

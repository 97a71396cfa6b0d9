"""Begins, polls and ends the sessions of hosts at IAMPASS, and writes down what IAMPASS says."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import psycopg

from pam_iampass.client.call import Call
from pam_iampass.client.errors import IampassError, NotFound, Refused, Unavailable
from pam_iampass.client.session import Session, SessionSchema
from pam_iampass.client.status import AuthenticationMethod, Status
from pam_iampass.gateway.base import leases, metrics, records
from pam_iampass.gateway.base.connection import Connection, DatabaseAway, DatabaseError, UnknownOutcome
from pam_iampass.gateway.base.gateway import Gateway, Poll
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.reasons import Reason, RefusedStart
from pam_iampass.gateway.base.statements import each_one, many, now
from pam_iampass.gateway.base.upstream import Lane
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import HostStatus
from pam_iampass.gateway.people import agents, people
from pam_iampass.gateway.people.people import Person
from pam_iampass.gateway.requests import host_limits, sessions, turns
from pam_iampass.gateway.requests.sessions import HostSession, State
from pam_iampass.login.throttle import Cause, Refusal, RequestResult
from pam_iampass.outcome import Outcome, SessionEvent
from pam_iampass.text import clean

_START_SECONDS = 20.0
"""IAMPASS must answer a start within this time."""
_AGAIN_SECONDS = 0.5
"""The pause before the answer of IAMPASS is written again, if the database was away."""
_END_SECONDS = 10.0
POLL_SECONDS = 5.0
FRESH_SECONDS = 0.4
"""A status that is younger was asked for now."""
_MAY_RING_SECONDS = 90
"""A phone does not ring any more this long after a start whose outcome is not known."""
_LATE_SECONDS = 10
"""A login whose time is over is ended by its turns meanwhile; then `give_up_starts` ends it."""
_OUTCOMES = {
    Status.active: Outcome.APPROVED,
    Status.walkaway: Outcome.APPROVED,
    Status.cancelled: Outcome.DENIED,
    Status.failed: Outcome.DENIED,
    Status.timeout: Outcome.TIMED_OUT,
    Status.closed: Outcome.CANCELLED,
}


def ring_deadline(moment: datetime, deadline: datetime, expires_at: datetime) -> datetime:
    """The end of the time in which a phone may ring, if IAMPASS is called from now on for a login that waits until its
    `deadline`."""
    may_ring = min(expires_at, moment + timedelta(seconds=_MAY_RING_SECONDS))
    return max(deadline, may_ring) + timedelta(seconds=_START_SECONDS)


async def start_at_iampass(
    gateway: Gateway, session: HostSession, person: Person, waits_until: float
) -> HostSession | RefusedStart:
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
            if isinstance(failure, (NotFound, Refused)):
                columns["reason"] = Reason.IAMPASS_REFUSES.name
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
                SessionSchema().dumps(begun), sessions.TABLE, "upstream", str(session.id)
            ),
        }
    written = await _write_start(gateway, session, columns, error, held, waits_until)
    if begun is not None and (written is None or written.state is not State.OPEN):
        await _end_untold_session(gateway, begun, session)
    if columns.get("reason") == "NO_MOBILE_DEVICE" and not (session.is_own or session.agent):
        task = asyncio.create_task(_send_invite(gateway, person, session.host_name))
        gateway.inviting.add(task)
        task.add_done_callback(gateway.inviting.discard)
    return written or RefusedStart(Reason.TRY_AGAIN)


async def _send_invite(gateway: Gateway, person: Person, host: str) -> None:
    with suppress(DatabaseError, psycopg.Error, Tampered, IampassError):
        if not await people.invite(gateway, person, host):
            async with gateway.database.transaction() as connection:
                await records.alert(
                    connection, host, "many people without a phone log in to this host: no more messages"
                )


async def _write_start(
    gateway: Gateway,
    session: HostSession,
    columns: dict[str, Any],
    error: str,
    held: float,
    waits_until: float,
) -> HostSession | None:
    """Write what has become of a start. While the database has certainly written nothing, try it again, until the login
    gives up or this gateway stops.

    None if it is not written, or if nobody knows: a commit that is not known to have happened may be lost with its
    server, and no host is told of a session that could be gone.

    :param held: for how many seconds IAMPASS, which has not answered, may still begin it: on one host, the login would
        wait so long for the answer.
    """

    def is_too_late() -> bool:
        return gateway.held.stopping or time.monotonic() >= waits_until

    is_again = False
    while not (is_again and is_too_late()):
        try:
            async with gateway.database.transaction() as connection:
                if is_again and is_too_late():
                    return None  # it took long to get a connection
                return await _write_start_once(gateway, connection, session, columns, error, held)
        except DatabaseAway as away:
            if not is_again:
                print(f"what became of session {session.id} is not written yet: {away}", flush=True)
            is_again = True
            await asyncio.sleep(_AGAIN_SECONDS)
        except (DatabaseError, psycopg.Error, Tampered):
            return None
    return None


async def _write_start_once(
    gateway: Gateway,
    connection: Connection,
    session: HostSession,
    columns: dict[str, Any],
    error: str,
    held: float,
) -> HostSession:
    """The body of one whole transaction of `_write_start`: what is to be executed later (`Connection.later`) or after
    the commit is here."""
    # A command that removes the person, or the account, waits for this transaction, and then finds the session.
    connection.later("SELECT 1 FROM person WHERE name = %s FOR SHARE", (session.person,))
    if session.agent:
        connection.later("SELECT 1 FROM agent WHERE name = %s FOR SHARE", (session.agent,))
    if columns["state"] == State.NOT_STARTED.value:
        await _end_turn(gateway, connection, session, RequestResult.NOT_SENT)
    elif error:
        await _end_turn(gateway, connection, session, RequestResult.FAILED, held)
    row, person_row, host_row, agent_row = await each_one(
        connection,
        (sessions.LOCKED, session.id),
        ("SELECT * FROM person WHERE name = %s", session.person),
        ("SELECT * FROM host WHERE id = %s", session.host),
        (agents.STATEMENT, session.agent),
    )
    locked = sessions.verify_row(gateway, row, session.id)
    before = sessions.from_verified(gateway, locked)
    if before.state is not State.STARTING:
        return before  # it was given up meanwhile
    host = None if host_row is None or session.is_own else hosts.from_row(gateway, host_row, id=session.host)
    person = None if person_row is None else people.from_row(gateway, person_row, name=session.person)
    if columns["state"] == State.OPEN.value:
        agent = await agents.verified(gateway, connection, agent_row, session.agent, host)
        if (
            (host is None and not session.is_own)
            or person is None
            or not person.active
            or (session.agent and agents.why_not(gateway, agent, person, host))
        ):
            columns = {"state": State.STARTING.value, "reason": Reason.UNKNOWN_USER.name}
        elif host is not None and host.status is not HostStatus.ACTIVE:
            columns = {"state": State.STARTING.value, "reason": Reason.HOST_SUSPENDED.name}
        elif session.began_before_loss(person.phone_lost_at):
            columns = {"state": State.STARTING.value, "reason": Reason.PHONE_LOST_MEANWHILE.name}
    if columns["state"] == State.NOT_STARTED.value:
        columns = {**columns, "expires_at": await now(connection)}
    if columns["state"] != State.OPEN.value and before.status is not None:
        columns = {**columns, "status": Status.failed.name, "version": before.version + 1}
    written = await sessions.change(gateway, connection, locked, **columns)
    if written.state is State.OPEN and written.status is not None:
        if not written.is_own:  # this process may watch no sessions: a gateway takes that one over at once
            await gateway.leases.begin(connection, written.id)
            connection.after_commit.append(partial(gateway.note_request, written.id, written.status))
        return written
    reason = written.reason or ""
    outcome = Reason[reason].outcome if reason in Reason.__members__ else Outcome.NO_DEVICE
    fields = {"reason": error or reason}
    if written.state is State.NOT_STARTED:
        if await records.refusals(connection, written.host_name) >= records.REFUSALS_A_MINUTE:
            return written
        fields["refused"] = "start"
    await sessions.record(connection, written, outcome, **fields)
    return written


async def _end_untold_session(gateway: Gateway, begun: Session, session: HostSession) -> None:
    """End a session at IAMPASS that no host is told of. If this fails, `duration_seconds` ends it, and its deadline its
    turn."""
    call = begun.end()
    if call is not None:
        with suppress(IampassError, DatabaseError, psycopg.Error, Tampered):
            await end_at_iampass(gateway, call, Lane.decisions)
            async with gateway.database.transaction() as connection:
                await _end_turn(gateway, connection, session, RequestResult.FAILED)


async def _end_turn(
    gateway: Gateway, connection: Connection, session: HostSession, result: RequestResult, held: float = 0.0
) -> None:
    """Let the next login of the person have its turn, as soon as this transaction is committed, or `held` seconds
    later."""
    connection.after_commit.append(gateway.turn_over.set)
    before = await turns.locked(connection, session.person)
    await turns.finish(connection, before, session.turn, result, gateway.settings.limits, held)


async def give_up_starts(gateway: Gateway) -> None:
    """End the starts whose gateway has died before it could write what IAMPASS has said, and the ones that have waited
    for a turn that is not written any more. Raises DatabaseError and Tampered."""
    async with gateway.database.transaction() as connection:
        for row in await many(
            connection,
            "SELECT id FROM session WHERE deadline < now() AND (state = 'starting' AND reason IS NULL"
            " OR state = 'queued' AND deadline < now() - make_interval(secs => %s)) ORDER BY id FOR UPDATE",
            _LATE_SECONDS,
        ):
            locked = await sessions.lock_row(gateway, connection, row["id"])
            if locked["state"] == State.QUEUED.value:
                why = RefusedStart.of(Refusal(Cause.NO_TURN))
                await end_waiting_session(
                    gateway, connection, locked, Status.timeout, why.reason.outcome, why
                )
                continue
            columns = {"state": State.ENDED.value, "reason": Reason.TRY_AGAIN.name}
            if locked["status"] is not None:
                columns |= {"status": Status.failed.name, "version": locked["version"] + 1}
            session = await sessions.change(gateway, connection, locked, **columns)
            await sessions.record(connection, session, Outcome.UNAVAILABLE, reason="its gateway has stopped")


# Polls and ends


async def poll_iampass(gateway: Gateway, session: HostSession) -> HostSession:
    """The session with what IAMPASS says of it now, or has said within FRESH_SECONDS.

    An answer of the person is written down by the gateway that has the lease. A new status of an approved session is
    told and not written: it is looked at again (`watching.py`).

    Raises IampassError, DatabaseError and Tampered.
    """
    last = gateway.polls.get(session.id)
    if last is None or time.monotonic() - last.at >= FRESH_SECONDS:
        last = Poll(time.monotonic(), asyncio.create_task(_poll_iampass_now(gateway, session)))
        gateway.polls[session.id] = last
    return await asyncio.shield(last.answer)


async def _poll_iampass_now(gateway: Gateway, session: HostSession) -> HostSession:
    if session.parent is not None:
        async with gateway.database.transaction() as connection:
            status = await sessions.status_of_parent(gateway, connection, session.parent)
            parent = None if status.ended else await sessions.find(gateway, connection, session.parent)
        if parent is not None:
            status = (await poll_iampass(gateway, parent)).status or status
        return dataclasses.replace(session, status=status)
    call = session.upstream.poll() if session.upstream is not None else None
    if call is None:
        raise Tampered("session: a row is open without a session at IAMPASS")
    epoch = gateway.leases.epochs.get(session.id)
    status = await gateway.iampass.call(call, POLL_SECONDS, Lane.polls)
    if status is session.status:
        return session
    if session.in_progress and epoch is not None:
        return await write_status(gateway, session, status, epoch=epoch)
    gateway.doubted.add(session.id)
    return dataclasses.replace(session, status=status)


async def end_session(gateway: Gateway, session: HostSession, *, given_up: bool = False) -> bool:
    """End a session at IAMPASS; whether this has ended it. Raises as `poll_iampass`.

    :param given_up: whether the login is given up after its person was told that another one comes first.
    """
    if session.waits:
        found = await _withdraw_start(gateway, session, given_up=given_up)
        if found.state is not State.OPEN:
            return found.status is Status.closed
        session = found
    if session.parent is not None and session.state is State.OPEN:
        await write_status(gateway, session, Status.closed)  # the login from which it came goes on
        return True
    call = session.upstream.end() if session.upstream is not None else None
    if call is None or session.state is not State.OPEN:
        return False
    async with gateway.share_of_ends(session.host):
        is_ended = await end_at_iampass(gateway, call, Lane.ends)
    if is_ended:
        await write_status(gateway, session, Status.closed)
        return True
    status = (await poll_iampass(gateway, session)).status
    if status is not None and status.ended:
        await write_status(gateway, session, status)
    return False


async def end_at_iampass(gateway: Gateway, call: Call[bool], lane: Lane) -> bool:
    """Make a call that ends a session at IAMPASS. Returns whether nothing is left to end there: a session that IAMPASS
    does not know can be ended no more.

    Raises IampassError.
    """
    try:
        return await gateway.iampass.call(call, _END_SECONDS, lane)
    except NotFound:
        return True


async def _withdraw_start(gateway: Gateway, session: HostSession, *, given_up: bool) -> HostSession:
    """End a session whose phone is not asked yet, or is being asked: if IAMPASS then begins it, it is ended there."""
    async with gateway.database.transaction() as connection:
        await turns.leave(connection, session.person, session.turn, failed=given_up)
        locked = await sessions.lock_row(gateway, connection, session.id)
        before = sessions.from_verified(gateway, locked)
        if not before.waits:
            return before
        return await end_waiting_session(gateway, connection, locked, Status.closed, Outcome.CANCELLED)


async def end_waiting_session(
    gateway: Gateway,
    connection: Connection,
    locked: Mapping[str, Any],
    status: Status,
    outcome: Outcome,
    refused: RefusedStart | None = None,
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
    if refused is not None:
        columns["reason"] = refused.reason.name
        columns["retry_after"] = math.ceil(refused.wait) or None
    session = await sessions.change(gateway, connection, locked, **columns)
    if await records.refusals(connection, session.host_name) < records.REFUSALS_A_MINUTE:
        why = status.name if refused is None else refused.why or refused.reason.name
        await sessions.record(connection, session, outcome, reason=why, refused="start")
    return session


async def end_sessions(gateway: Gateway, found: Sequence[HostSession]) -> int:
    """End these sessions at IAMPASS; how many could not be ended. Raises DatabaseError."""
    left = 0
    for session in found:
        try:
            await end_session(gateway, session)
        except (IampassError, Tampered):
            left += 1
    return left


async def write_status(
    gateway: Gateway, session: HostSession, status: Status, *, epoch: int | None = None
) -> HostSession:
    """Write down what IAMPASS says of a session; the session as it is then. A final status never changes, and nobody
    is asked again after an answer. Raises DatabaseError and Tampered.

    :param epoch: the epoch of the lease under which IAMPASS was polled: nothing is written if another gateway has it
        now. None if this gateway has ended the session.
    """
    try:
        return await _write_status(gateway, session, status, epoch)
    except _NotHeld as lost:
        return lost.session
    except UnknownOutcome:
        gateway.note_request(session.id, None)
        raise


@dataclass(frozen=True)
class WrittenStatus:
    """A session after a status that IAMPASS says of it was written."""

    session: HostSession
    ringing: Sequence[HostSession] = ()
    """The requests on phones of a host that is stopped by this: they are to be ended."""
    by_lost_phone: bool = False
    """Whether it was approved by a lost phone, so that it is to be ended at IAMPASS."""


class _NotHeld(Exception):
    """Raised if another gateway has the lease, so that nothing of the transaction is written."""

    def __init__(self, session: HostSession) -> None:
        super().__init__()
        self.session = session


async def _write_status(
    gateway: Gateway, session: HostSession, status: Status, epoch: int | None
) -> HostSession:
    """As `write_status`, in a transaction of its own. Afterwards it ends at IAMPASS what may not go on. Raises
    _NotHeld."""
    async with gateway.database.transaction() as connection:
        written = await write_status_once(gateway, connection, session, status, epoch)
    with suppress(DatabaseError, psycopg.Error):
        await end_sessions(gateway, written.ringing)  # one that cannot be ended is over in a minute
    if written.by_lost_phone and written.session.upstream is not None:
        await _end_untold_session(gateway, written.session.upstream, written.session)
    return written.session


async def write_status_once(
    gateway: Gateway, connection: Connection, session: HostSession, status: Status, epoch: int | None = None
) -> WrittenStatus:
    """As `write_status`, without what is to be ended after the transaction. Its locks go with the next statement, and
    what it writes with COMMIT (`Connection.later`); what this process remembers follows that (`after_commit`). Raises
    _NotHeld."""
    ringing: list[HostSession] = []
    over = None
    is_over = session.in_progress and not status.in_progress
    if is_over:
        turns.lock(connection, session.person)
    turn, person_row, row, lease, agent_row = await each_one(
        connection,
        (turns.ROW, session.person),
        ("SELECT * FROM person WHERE name = %s", session.person),
        (sessions.LOCKED, session.id),
        (leases.LOCKED, session.id),
        (agents.STATEMENT, session.agent),
    )
    is_withdrawn = False
    if is_over and turn is not None:
        over = turns.Turns.of(turn, session.person)
        result = RequestResult.FAILED if status.ended else RequestResult.APPROVED
        is_withdrawn = status is Status.closed and turns.is_withdrawn(over, session.turn)
        if is_withdrawn:
            result = RequestResult.STOPPED
        connection.after_commit.append(gateway.turn_over.set)
        await turns.finish(connection, over, session.turn, result, gateway.settings.limits)
    locked = sessions.verify_row(gateway, row, session.id)
    before = sessions.from_verified(gateway, locked)
    if before.state is not State.OPEN or before.status is status:
        return WrittenStatus(before)
    if epoch is not None and not gateway.leases.is_held(session.id, epoch, lease):
        raise _NotHeld(before)
    decided = before.in_progress and not status.in_progress
    if status.in_progress and not before.in_progress:
        return WrittenStatus(before)
    by_lost_phone = False
    if decided and not status.ended:
        person = None if person_row is None else people.from_row(gateway, person_row, name=session.person)
        by_lost_phone = person is None or not person.active or before.began_before_loss(person.phone_lost_at)
        if person is not None and before.agent:  # which may have been removed meanwhile
            agent = await agents.verified(gateway, connection, agent_row, before.agent)
            by_lost_phone |= agents.why_not(gateway, agent, person) is not None
    columns: dict[str, Any] = {"status": status.name, "version": before.version + 1}
    if is_withdrawn:
        columns["reason"] = Reason.OWNER_FIRST.name
    if by_lost_phone:
        columns |= {"status": Status.closed.name, "reason": Reason.PHONE_LOST_MEANWHILE.name}
    if status.ended or by_lost_phone:
        columns["state"] = State.ENDED.value
        await gateway.leases.end(connection, session.id)
    if decided:
        columns["decided_at"] = (
            await now(connection) if over is None else datetime.fromtimestamp(over.now, timezone.utc)
        )
        columns["approved"] = not (status.ended or by_lost_phone)
    after = await sessions.change(gateway, connection, locked, **columns)
    connection.after_commit.append(partial(gateway.note_request, session.id, None))
    if decided:
        outcome = Outcome.DENIED if by_lost_phone else _OUTCOMES[status]
        await sessions.record(connection, after, outcome, reason=after.reason or status.name)
        took = (columns["decided_at"] - before.began_at).total_seconds()
        connection.after_commit.append(partial(metrics.ANSWERS.labels(outcome.value).observe, took))
        if status is Status.cancelled and not before.agent:
            await host_limits.report_cancels(connection, before.person)
        withdrawn = (status is Status.closed and not is_withdrawn) or (
            status is Status.timeout and took < host_limits.ANSWERED_SECONDS
        )
        if withdrawn or status is Status.cancelled:
            host = await hosts.find(gateway, connection, after.host)
            if host is not None:
                ringing = await host_limits.brake(
                    gateway, connection, host, before.person, status, columns["decided_at"]
                )
    elif status.ended:
        await sessions.record(connection, after, None, event=SessionEvent.ENDED.value, reason=status.name)
    return WrittenStatus(after, ringing, by_lost_phone)

"""Watches sessions: IAMPASS is polled for each request until the person has answered, and for each approved session
until it is over. A gateway polls the sessions whose lease it has, and takes over from a gateway that has stopped."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Container, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Callable

import psycopg

from pam_iampass.client.errors import IampassError, Unavailable
from pam_iampass.client.status import Status
from pam_iampass.gateway.acts.phones import tell_of_lost_phone
from pam_iampass.gateway.acts.sessions import EndedSessions, end_sessions
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection, DatabaseError
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.leases import APPROVED, MOST_AT_ONCE, PENDING, RENEW_SECONDS
from pam_iampass.gateway.base.statements import many
from pam_iampass.gateway.base.upstream import Lane
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.people import steps
from pam_iampass.gateway.requests import asking, presence, queue, sessions, turns
from pam_iampass.gateway.requests.sessions import HostSession, State
from pam_iampass.gateway.sign_in import sign_ins
from pam_iampass.login.approval import FIRST_POLL, next_poll
from pam_iampass.session.schedule import Pacing, PollBudget

_LOOK_SECONDS = 0.5
"""How often the database is asked for new requests; sooner than their first poll."""
_TAKE_SECONDS = 3.0
"""How often it is asked for approved sessions that nobody polls."""
CHECK_SECONDS = 30.0
"""How often an approved session is polled."""
_SOON_SECONDS = 5.0
"""A session that was taken over is polled within this time: nobody may have polled it for a while."""
_SECOND_LOOK_SECONDS = 0.8
"""How soon a status other than active is looked at again. Only what is said twice is written."""
_DUE_SECONDS = 0.05
"""How often it is looked for polls that are due."""
_CHANGES_SECONDS = 0.25
"""How often it is asked what other gateways and commands have written about sessions that hosts wait for."""
_CUT_OFF_SECONDS = 3.0
"""If IAMPASS has answered none of this gateway's calls for so long, another gateway may reach it."""
_MOST_TRIED = 20
"""A gateway that polls no session asks about one of this many."""
_OTHERS_SECONDS = 600.0
"""The time within which each gateway asks once about all approved sessions that it does not poll. What another gateway
has not noticed from one time to the next, it does not notice."""
_STEPS_SECONDS = 5.0
"""How often it is looked for acts that were stopped, or that IAMPASS has not answered."""
_LOST_PHONES_AT_A_TIME = 10
_CLEAN_SECONDS = 60.0
_CANCELLED_AGAIN_SECONDS = 1.0
_STOP_SECONDS = 5.0
"""The time that the starts have which are under way when the gateway stops."""
_FAILURES = (IampassError, DatabaseError, psycopg.Error, Tampered, ValueError)
_WITHDRAWN = """(session.details ? 'agent' AND EXISTS (
    SELECT FROM session AS own WHERE own.person = session.person AND own.state = 'queued' AND own.deadline > now()
        AND NOT own.details ? 'agent'
))"""
"""Whether an account that acts for a person asks, and the person waits with a login of their own."""


@contextlib.asynccontextmanager
async def watching(
    gateway: Gateway, first_poll: float = FIRST_POLL, check: float = CHECK_SECONDS
) -> AsyncIterator[None]:
    """Watch in the background, until the block ends; then wait for the starts that are under way.

    Without it no answer of a person would be seen: what makes it fail ends the block, and is raised.

    :param first_poll: the seconds from a request to its first poll.
    :param check: the seconds from one poll of an approved session to the next one.
    """
    inside = asyncio.current_task()
    gateway.leases.renewed_at = time.monotonic()
    with contextlib.suppress(*_FAILURES):
        async with gateway.database.transaction() as connection:
            await gateway.leases.renew(connection)
    approved = _Approved(gateway, check)
    work = (
        _keep_leases(gateway),
        _follow_requests(gateway, first_poll, approved),
        approved.follow(),
        _take_approved(gateway, approved),
        _check_others(gateway, approved),
        look_for_changes(
            gateway, lambda: bool(len(gateway.held) or gateway.unanswered), partial(_wake_calls, gateway)
        ),
        queue.take_turns(gateway),
        presence.follow_parents(gateway),
        _resume_acts(gateway),
        _clean(gateway),
    )
    tasks = [asyncio.create_task(each) for each in work]
    for task in tasks:
        task.add_done_callback(lambda each: each.cancelled() or inside is None or inside.cancel())
    try:
        yield
    finally:
        failed = [task for task in tasks if task.done()]
        if gateway.starts:
            await asyncio.wait(list(gateway.starts.values()), timeout=_STOP_SECONDS)
        ending = [*tasks, *(poll.answer for poll in gateway.polls.values())]
        await _cancel(ending)
        with contextlib.suppress(*_FAILURES):
            async with gateway.database.transaction() as connection:
                await gateway.leases.give_back(connection)
        for task in failed:
            task.result()


async def _cancel(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and wait until they have ended. A statement that is cancelled can end as a failure of the database,
    after which a task goes on: it is cancelled again."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        ended, left = await asyncio.wait(left, timeout=_CANCELLED_AGAIN_SECONDS)
        await asyncio.gather(*ended, return_exceptions=True)  # what they raise is no news


async def _keep_leases(gateway: Gateway) -> None:
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        since = gateway.iampass.failing_since
        is_cut_off = since is not None and time.monotonic() - since > _CUT_OFF_SECONDS
        with contextlib.suppress(*_FAILURES):
            async with gateway.database.transaction() as connection:
                await gateway.leases.renew(connection, is_cut_off=is_cut_off)
            if gateway.leases.leaves_all:
                await _try_iampass(gateway)


async def _try_iampass(gateway: Gateway) -> None:
    """Ask about some session: a gateway that polls none would not find out that IAMPASS answers it again. Another one
    each time, as rows may be among them that no gateway has written."""
    async with gateway.database.transaction() as connection:
        statement = (
            "SELECT id FROM session WHERE state = 'open' AND parent IS NULL ORDER BY random() LIMIT %s"
        )
        rows = await many(connection, statement, _MOST_TRIED)
        found = await sessions.find_several(gateway, connection, [row["id"] for row in rows])
    calls = [session.upstream.poll() for session in found if session.upstream is not None]
    some = [call for call in calls if call is not None]
    if some:
        await gateway.iampass.call(secrets.choice(some), asking.POLL_SECONDS, Lane.approved)


async def _follow_requests(gateway: Gateway, first_poll: float, approved: _Approved) -> None:
    """Follow all requests whose lease this gateway has, and the ones whose gateway has stopped."""
    followed: dict[uuid.UUID, asyncio.Task[None]] = {}
    try:
        while True:
            with contextlib.suppress(*_FAILURES):
                for session, age in await _find_requests(gateway, followed):
                    followed[session.id] = asyncio.create_task(
                        _follow_request(gateway, session, age, first_poll, approved)
                    )
            for id, task in list(followed.items()):
                if task.done():
                    del followed[id]
            await asyncio.sleep(_LOOK_SECONDS)
    finally:
        await _cancel(followed.values())


async def _find_requests(gateway: Gateway, followed: Container[uuid.UUID]) -> list[tuple[HostSession, float]]:
    """Find all requests that are on a phone; the new ones of this gateway, with the seconds since they began."""
    looked_at, waiting, withdrawn, ages = time.monotonic(), {}, set(), {}
    async with gateway.database.transaction() as connection:
        taken = await gateway.leases.take(connection, PENDING)
        gateway.noted_requests.clear()
        for row in await many(
            connection,
            f"SELECT session.id, session.status, (session.host = %s OR host.status = 'active') AND NOT {_WITHDRAWN}"  # noqa: S608
            " AS may_ask,"
            # The clock of a server that was promoted may be behind.
            " greatest(extract(epoch FROM clock_timestamp() - began_at), 0)::float8 AS age"
            " FROM session LEFT JOIN host ON host.id = session.host"
            " WHERE session.state = 'open' AND session.status IN ('pending', 'identifying')",
            hosts.GATEWAY,
        ):
            if row["may_ask"]:
                # The row was not verified, and answers polls: it may say nothing but that the phone is asked.
                is_identifying = row["status"] == Status.identifying.name
                waiting[row["id"]] = Status.identifying if is_identifying else Status.pending
            else:
                withdrawn.add(row["id"])
            is_own = row["id"] in gateway.leases.epochs or row["id"] in taken
            if is_own and row["id"] not in followed:
                ages[row["id"]] = float(row["age"])
        new = await sessions.find_several(gateway, connection, list(ages)) if ages else []
    gateway.replace_requests(waiting, withdrawn, looked_at)
    return [(session, ages[session.id]) for session in new]


async def _follow_request(
    gateway: Gateway, session: HostSession, age: float, first_poll: float, approved: _Approved
) -> None:
    """Poll until the person has answered; end a request that nobody waits for any more, or that no host may make."""
    began = time.monotonic() - age
    longest = (session.deadline - session.began_at).total_seconds()
    moment: float | None = max(first_poll, age)
    while moment is not None:
        await asyncio.sleep(moment + began - time.monotonic())
        moment = next_poll(time.monotonic() - began, longest)
        if session.id not in gateway.leases.epochs:
            return
        if session.id in gateway.withdrawn:
            break
        try:
            session = await asking.poll_iampass(gateway, session)
        except _FAILURES as failure:
            wait = failure.retry_after if isinstance(failure, Unavailable) else None
            if wait is not None and moment is not None:
                moment = max(moment, time.monotonic() - began + wait)
        if not session.in_progress:
            approved.add(session)
            return
    with contextlib.suppress(*_FAILURES):
        await asking.end_session(gateway, session)


@dataclass
class _Polled:
    """An approved session."""

    session: HostSession
    due: float = 0.0
    """The time of its next poll, by the clock of `_Approved`."""
    suspect: Status | None = None
    """A status other than active that was said once."""
    taken_over: bool = False
    """Whether it was not polled since then: the polls after that one are spread again."""


class _Approved:
    """The approved sessions whose lease this gateway has. Their polls are spread over the time between two."""

    def __init__(self, gateway: Gateway, check: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._gateway = gateway
        self._check = check
        self._clock = clock
        self._polled: dict[uuid.UUID, _Polled] = {}
        self._due: list[tuple[float, uuid.UUID]] = []
        self._pacing, self._budget = Pacing(), PollBudget()
        self._polls: set[asyncio.Task[None]] = set()

    def add(self, session: HostSession, *, taken_over: bool = False) -> None:
        """Poll this session from now on, if it is open; soon if it was taken over from another gateway."""
        if session.state is not State.OPEN:
            self._gateway.leases.epochs.pop(session.id, None)
            return
        self._polled[session.id] = polled = _Polled(session, taken_over=taken_over)
        within = min(self._check, _SOON_SECONDS) if taken_over else self._check
        self._schedule(polled, self._pacing.first(self._clock(), within))

    def polls(self, session: uuid.UUID) -> bool:
        """Whether this session is polled here."""
        return session in self._polled and session in self._gateway.leases.epochs

    async def follow(self) -> None:
        """Poll each when it is due."""
        try:
            while True:
                self._begin_due(self._clock())
                await asyncio.sleep(_DUE_SECONDS)
        finally:
            await _cancel(self._polls)

    def _schedule(self, polled: _Polled, due: float) -> None:
        polled.due = due
        heapq.heappush(self._due, (due, polled.session.id))

    def _begin_due(self, now: float) -> None:
        """Begin the polls that are due; after a stall a few at a time."""
        self._budget.refill(now, len(self._polled) / self._check)
        while self._gateway.doubted:
            doubted = self._polled.get(self._gateway.doubted.pop())
            if doubted is not None:
                self._schedule(doubted, now)
        while self._due and self._due[0][0] <= now:
            due, id = heapq.heappop(self._due)
            polled = self._polled.get(id)
            if polled is None or polled.due != due:
                continue
            if id not in self._gateway.leases.epochs:
                del self._polled[id]
            elif now < self._pacing.paused_until:
                self._schedule(polled, self._pacing.postponed(now, self._check))
            elif not self._budget.take():
                self._schedule(polled, now + _DUE_SECONDS)
                return
            else:
                next_due = self._pacing.first if polled.taken_over else partial(self._pacing.next, due)
                self._schedule(polled, next_due(now, self._check))
                polled.taken_over = False
                task = asyncio.create_task(self._poll(polled, self._gateway.leases.epochs[id]))
                self._polls.add(task)
                task.add_done_callback(self._polls.discard)

    async def _poll(self, polled: _Polled, epoch: int) -> None:
        session, suspect, now = polled.session, polled.suspect, self._clock()
        try:
            call = session.upstream.poll() if session.upstream is not None else None
            if call is not None:
                status = await self._gateway.iampass.call(call, asking.POLL_SECONDS, Lane.approved)
                self._pacing.answered()
                await self._write_status(polled, status, epoch)
        except IampassError as failure:
            polled.suspect = None
            asked = self._pacing.failed(failure, self._clock())
            self._schedule(polled, max(polled.due, now + asked))
        except _FAILURES:  # what IAMPASS has said could not be written
            polled.suspect = suspect
            self._schedule(polled, self._clock() + _SECOND_LOOK_SECONDS)
        finally:
            self._budget.done()

    async def _write_status(self, polled: _Polled, status: Status, epoch: int) -> None:
        """Write down the status that IAMPASS says, once it has said so twice; an active one at once."""
        suspect, polled.suspect = polled.suspect, None
        if status is polled.session.status or status.in_progress:
            return
        if status is Status.active or (suspect is not None and suspect.away is status.away):
            polled.session = await asking.write_status(self._gateway, polled.session, status, epoch=epoch)
            if polled.session.state is not State.OPEN:
                self._gateway.leases.epochs.pop(polled.session.id, None)
        else:
            polled.suspect = status
            self._schedule(polled, self._clock() + _SECOND_LOOK_SECONDS)


async def _take_approved(gateway: Gateway, approved: _Approved) -> None:
    """Poll the approved sessions of a gateway that has stopped."""
    while True:
        taken: list[uuid.UUID] = []
        with contextlib.suppress(*_FAILURES):
            async with gateway.database.transaction() as connection:
                taken = await gateway.leases.take(connection, APPROVED)
                found = await sessions.find_several(gateway, connection, taken)
            for session in found:
                approved.add(session, taken_over=True)
        await asyncio.sleep(0 if len(taken) == MOST_AT_ONCE else _TAKE_SECONDS)


async def _check_others(gateway: Gateway, approved: _Approved) -> None:
    """Ask about the approved sessions that this gateway does not poll, and see to what no other gateway has noticed.
    Who has their leases does not matter: whoever writes to the database can give them to anybody."""
    unnoticed: dict[uuid.UUID, Status] = {}
    while True:
        others: list[uuid.UUID] = []
        with contextlib.suppress(*_FAILURES):
            async with gateway.database.statement() as connection:
                rows = await many(connection, f"SELECT id FROM session WHERE state = 'open' AND {APPROVED}")  # noqa: S608
            others = [row["id"] for row in rows if not approved.polls(row["id"])]
        before, unnoticed = unnoticed, {}
        for id in others:
            await asyncio.sleep(_OTHERS_SECONDS / len(others))
            with contextlib.suppress(*_FAILURES):
                status = await _check_other(gateway, id, before.get(id))
                if status is not None:
                    unnoticed[id] = status
        if not others:
            await asyncio.sleep(_OTHERS_SECONDS)


async def _check_other(gateway: Gateway, id: uuid.UUID, before: Status | None) -> Status | None:
    """The status of a session, if IAMPASS says another one than its row. If IAMPASS has said so `before`, too, it is
    written now, and an alert. Raises IampassError and DatabaseError."""
    try:
        async with gateway.database.statement() as connection:
            session = await sessions.find(gateway, connection, id)
    except Tampered as error:
        async with gateway.database.transaction() as connection:
            await records.alert(connection, None, f"{error}: the end of session {id} is not seen")
        return None
    call = None if session is None or session.upstream is None else session.upstream.poll()
    if session is None or call is None or session.state is not State.OPEN:
        return None
    status = await gateway.iampass.call(call, asking.POLL_SECONDS, Lane.approved)
    if status is session.status or status.in_progress:
        return None
    if status is before:
        async with gateway.database.transaction() as connection:
            what = f"IAMPASS says {status.name} of a session of {session.person}, and no gateway has noticed:"
            what += " somebody may have changed leases in the database"
            await records.alert(connection, session.host_name, what, person=session.person)
            gateway.leases.release(connection, [id])
        await asking.write_status(gateway, session, status)
    return status


async def look_for_changes(
    gateway: Gateway, are_waiting: Callable[[], bool], wake: Callable[[Connection], Awaitable[None]]
) -> None:
    """Wake the calls that wait for what other processes have written: four times a second, as long as some wait."""
    while True:
        await asyncio.sleep(_CHANGES_SECONDS)
        if are_waiting():
            with contextlib.suppress(*_FAILURES):
                async with gateway.database.statement() as connection:
                    await wake(connection)


async def _wake_calls(gateway: Gateway, connection: Connection) -> None:
    await gateway.held.wake_changed(connection)
    await presence.wake_calls(gateway, connection)


async def _resume_acts(gateway: Gateway) -> None:
    """Go on with acts that were stopped before IAMPASS knew, or that it has not answered."""
    while True:
        await asyncio.sleep(_STEPS_SECONDS)
        with contextlib.suppress(*_FAILURES):
            if not gateway.restored:
                await _resume_steps(gateway, await steps.take(gateway))


async def _resume_steps(gateway: Gateway, taken: steps.Steps) -> None:
    """Go on with steps at the same time: one that fails or takes long holds up no other one."""
    turn = asyncio.Semaphore(_LOST_PHONES_AT_A_TIME)
    tell = partial(_resume_lost_phone, gateway, turn)
    await asyncio.gather(_resume_ends(gateway, taken.ended_sessions), *map(tell, taken.lost_phones_of))


async def _resume_ends(gateway: Gateway, ended: Sequence[uuid.UUID]) -> None:
    with contextlib.suppress(*_FAILURES):
        async with gateway.database.transaction() as connection:
            found = await sessions.find_several(gateway, connection, ended)
            gone = {*ended} - {session.id for session in found}
            steps.ended_sessions_are_known(connection, list(gone))
        await end_sessions(gateway, EndedSessions(found))


async def _resume_lost_phone(gateway: Gateway, turn: asyncio.Semaphore, name: str) -> None:
    async with turn:
        with contextlib.suppress(*_FAILURES):
            try:
                await tell_of_lost_phone(gateway, name, goes_on=True)
                return
            except IampassError as error:
                what = f"IAMPASS has not disabled the lost phone of {name} yet; logins of {name} are denied"
                more = f": {error}"
            except Tampered as error:
                what, more = f"IAMPASS cannot be told of the lost phone of {name}: {error}", ""
            async with gateway.database.transaction() as connection:
                await records.alert(connection, None, what, person=name, more=more)


async def _clean(gateway: Gateway) -> None:
    """Delete what does not count any more. Limits count the sessions of an hour."""
    forget: tuple[Callable[[Connection], Awaitable[object]], ...] = (
        _forget_nonces,
        presence.forget_questions,
        sign_ins.forget,
        _forget_sessions,
        gateway.leases.forget,
        partial(records.forget, seconds=gateway.settings.keep_records),
    )
    while True:
        for each in forget:
            with contextlib.suppress(*_FAILURES):
                async with gateway.database.transaction() as connection:
                    connection.take_time()
                    await each(connection)
        with contextlib.suppress(*_FAILURES):
            # Logins of these people wait for it: it has no more time than they.
            async with gateway.database.transaction() as connection:
                await turns.forget(connection)
        with contextlib.suppress(*_FAILURES):
            await asking.give_up_starts(gateway)
        old = time.monotonic() - _CLEAN_SECONDS
        for id, poll in list(gateway.polls.items()):
            if poll.at < old:
                del gateway.polls[id]
        await asyncio.sleep(_CLEAN_SECONDS)


async def _forget_nonces(connection: Connection) -> None:
    connection.later("DELETE FROM nonce WHERE expires_at < now()")


async def _forget_sessions(connection: Connection) -> None:
    connection.later("DELETE FROM session WHERE expires_at < now() - interval '1 hour'")

"""Starts the requests that wait for their turn.

Each gateway does so for all people: the first one that locks the turns of a person takes the next one. The row is
`starting`, and committed, before IAMPASS is called, so that a request that has waited rings at most once, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import psycopg

from pam_iampass.client.status import Status
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection, DatabaseError
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.reasons import Reason, RefusedStart
from pam_iampass.gateway.base.statements import one
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.people import agents
from pam_iampass.gateway.people.people import Person
from pam_iampass.gateway.requests import allowed, asking, host_limits, sessions, turns
from pam_iampass.gateway.requests.sessions import HostSession, State
from pam_iampass.gateway.requests.turns import Turns
from pam_iampass.login import throttle
from pam_iampass.login.throttle import Cause, Pending, Refusal, ThrottleState
from pam_iampass.text import clean

_LOOK_SECONDS = 0.5
"""How often the database is asked whose turn it is. After a request of this gateway, it is asked at once."""
_FAILURES = (DatabaseError, psycopg.Error, Tampered)


async def take_turns(gateway: Gateway) -> None:
    """Start the requests whose turn has come, until this is cancelled."""
    while True:
        gateway.turn_over.clear()
        with contextlib.suppress(*_FAILURES):
            async with gateway.database.statement() as connection:
                waiting = await turns.waiting(connection)
            for each in waiting:
                if each.due:
                    with contextlib.suppress(*_FAILURES):
                        await take_turn(gateway, each.person)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(gateway.turn_over.wait(), _LOOK_SECONDS)


async def take_turn(gateway: Gateway, name: str) -> None:
    """Start the request of a person whose turn it is, if there is one. Raises DatabaseError and Tampered."""
    began = time.monotonic()
    async with gateway.database.transaction() as connection:
        started = await _start_next(gateway, connection, await turns.locked(connection, name))
    if started is not None:
        session, person, patience = started
        key = (session.host, str(session.id))
        task = asyncio.create_task(asking.start_at_iampass(gateway, session, person, began + patience))
        gateway.starts[key] = task
        task.add_done_callback(lambda _: gateway.starts.pop(key))


async def _start_next(
    gateway: Gateway, connection: Connection, before: Turns
) -> tuple[HostSession, Person, float] | None:
    """The session that is `starting` now, its person, and for how many seconds the login waits; None if there is none.
    Logins whose time is over are ended, and so is the next one if it may not start.

    The login after that one is left to the next transaction, because this one has locked the starts of a host. If it
    also waited for those of a second host, the transaction of another person could hold these and wait for the first.
    """
    for late in before.overdue:
        await _end_refused(gateway, connection, late, RefusedStart.of(Refusal(Cause.NO_TURN)))
    state, started = before.state, None
    login = state.first(before.now)
    if login is not None:
        limits = gateway.settings.limits
        # With it, the brake needs no look of its own.
        login = await turns.recognized(connection, before, login, limits, at_once=True)
        found = turns.tried(before, login, limits)
        if isinstance(found, ThrottleState):
            started = await _write_started(gateway, connection, before, login)
        else:
            await _end_refused(gateway, connection, login, RefusedStart.of(found))
        if isinstance(found, ThrottleState) and started is not None:
            state = turns.holding(found, login, started[0].deadline.timestamp() + turns.END_SECONDS)
        else:
            state = throttle.left(state, login, before.now, failed=False)
            connection.after_commit.append(gateway.turn_over.set)
    await turns.write(connection, replace(before, written=before.state), state)
    return None if started is None or login is None else (*started, login.until - before.now)


async def _write_started(
    gateway: Gateway, connection: Connection, before: Turns, login: Pending
) -> tuple[HostSession, Person] | None:
    """Have the row of a request say that IAMPASS is called. None if it may not be: the session is ended."""
    now, row = before.now, await _lock_queued(gateway, connection, login)
    if row is None:
        return None
    # A genuine row may have been put back: turns have no MAC.
    if row["deadline"].timestamp() <= now:
        await _end_refused(gateway, connection, login, RefusedStart.of(Refusal(Cause.NO_TURN)))
        return None
    is_own = row["host"] == hosts.GATEWAY
    host = None if is_own else await hosts.find(gateway, connection, row["host"])
    found: Person | Reason | RefusedStart
    if is_own:
        found = await allowed.find_known_person(gateway, connection, hosts.ITSELF, row["person"])
    elif host is None:
        found = Reason.HOST_SUSPENDED
    else:
        at_limit = await host_limits.is_at_limit(connection, host, gateway.settings.limits)
        if at_limit and not login.is_familiar:
            found = host_limits.AT_LIMIT
        elif host.is_slowed(now) and await host_limits.is_held_back(connection, host, before, login):
            found = Reason.HOST_THROTTLED
        else:
            found = await allowed.find_allowed_person(gateway, connection, host, host.machine, row["person"])
    if isinstance(found, Person):
        waiting = sessions.from_verified(gateway, row)
        if waiting.agent:
            agent_row = await one(connection, agents.STATEMENT, waiting.agent)
            agent = await agents.verified(gateway, connection, agent_row, waiting.agent, host)
            found = agents.why_not(gateway, agent, found, host) or found
        if isinstance(found, Person) and waiting.began_before_loss(found.phone_lost_at):
            found = Reason.PHONE_LOST
    if not isinstance(found, Person):
        why = RefusedStart(found) if isinstance(found, Reason) else found
        await _end_refused(gateway, connection, login, why)
        return None
    moment = datetime.fromtimestamp(now, timezone.utc)
    columns = {
        "state": State.STARTING.value,
        "began_at": moment,
        "deadline": asking.ring_deadline(moment, row["deadline"], row["expires_at"]),
        "gateway": gateway.id,
        "version": row["version"] + 1,
    }
    return await sessions.change(gateway, connection, row, **columns), found


async def _end_refused(gateway: Gateway, connection: Connection, login: Pending, why: RefusedStart) -> None:
    """End the session of a login that has waited for its turn."""
    row = await _lock_queued(gateway, connection, login)
    if row is not None:
        status = Status.timeout if why.reason is Reason.NO_TURN else Status.failed
        await asking.end_waiting_session(gateway, connection, row, status, why.reason.outcome, why)


async def _lock_queued(gateway: Gateway, connection: Connection, login: Pending) -> dict[str, Any] | None:
    """The row of a login that waits for its turn, locked; None if it waits no longer, or no gateway has written it."""
    try:
        row = await sessions.lock_row(gateway, connection, uuid.UUID(login.ident.rpartition(" ")[2]))
    except (Tampered, ValueError) as error:
        await records.alert(connection, login.host, f"{error}: {clean(login.ident, 300)}")
        return None
    return row if row["state"] == State.QUEUED.value else None

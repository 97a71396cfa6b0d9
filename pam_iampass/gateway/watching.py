"""Watches the requests on phones: IAMPASS is polled for each until the person has answered."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Container

import psycopg

from pam_iampass.client.errors import IampassError, Unavailable
from pam_iampass.client.status import Status
from pam_iampass.gateway import queue, records, sessions, turns
from pam_iampass.gateway.database import DatabaseError, many
from pam_iampass.gateway.gateway import Gateway
from pam_iampass.gateway.keys import Tampered
from pam_iampass.gateway.sessions import HostSession
from pam_iampass.login.approval import FIRST_POLL, next_poll

_LOOK_SECONDS = 0.5
"""How often the database is asked for new requests; sooner than their first poll."""
_CHANGES_SECONDS = 0.25
"""How often it is asked what other gateways and commands have written about sessions that hosts wait for."""
_CLEAN_SECONDS = 60.0
_STOP_SECONDS = 5.0
"""For the starts that are under way when the gateway stops."""
_FAILURES = (IampassError, DatabaseError, psycopg.Error, Tampered, ValueError)


@contextlib.asynccontextmanager
async def watching(gateway: Gateway, first_poll: float = FIRST_POLL) -> AsyncIterator[None]:
    """Watch in the background, until the block ends; then wait for the starts that are under way.

    Without it no answer of a person would be seen: what makes it fail ends the block, and is raised.

    :param first_poll: the seconds from a request to its first poll.
    """
    inside = asyncio.current_task()
    work = (
        _follow_all(gateway, first_poll),
        _look_for_changes(gateway),
        queue.take_turns(gateway),
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
        ending = [*tasks, *(asked.answer for asked in gateway.asked.values())]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        for task in failed:
            task.result()


async def _follow_all(gateway: Gateway, first_poll: float) -> None:
    """All requests of the database, also those that another process has made."""
    followed: dict[uuid.UUID, asyncio.Task[None]] = {}
    try:
        while True:
            with contextlib.suppress(*_FAILURES):
                for session, age in await _look(gateway, followed):
                    followed[session.id] = asyncio.create_task(_follow(gateway, session, age, first_poll))
            for id, task in list(followed.items()):
                if task.done():
                    del followed[id]
            await asyncio.sleep(_LOOK_SECONDS)
    finally:
        for task in followed.values():
            task.cancel()
        await asyncio.gather(*followed.values(), return_exceptions=True)


async def _look(gateway: Gateway, followed: Container[uuid.UUID]) -> list[tuple[HostSession, float]]:
    """Find all requests that are on a phone; those that are not followed, with the seconds since they began."""
    new, looked_at, waiting = [], time.monotonic(), {}
    async with gateway.database.transaction() as connection:
        for row in await many(
            connection,
            "SELECT session.id, session.status, host.status = 'active' AS may_ask,"
            " extract(epoch FROM clock_timestamp() - began_at)::float8 AS age"
            " FROM session LEFT JOIN host ON host.id = session.host"
            " WHERE session.state = 'open' AND session.status IN ('pending', 'identifying')",
        ):
            if row["may_ask"]:
                # The row was not verified, and answers polls: it may say nothing but that the phone is asked.
                is_identifying = row["status"] == Status.identifying.name
                waiting[row["id"]] = Status.identifying if is_identifying else Status.pending
            if row["id"] not in followed:
                with contextlib.suppress(Tampered):
                    session = await sessions.find(gateway, connection, row["id"])
                    if session is not None:
                        new.append((session, float(row["age"])))
    gateway.waiting, gateway.looked_at = waiting, looked_at
    return new


async def _follow(gateway: Gateway, session: HostSession, age: float, first_poll: float) -> None:
    """Poll until the person has answered; end what nobody waits for any more."""
    began = time.monotonic() - age
    longest = (session.deadline - session.began_at).total_seconds()
    moment: float | None = max(first_poll, age)
    while moment is not None:
        await asyncio.sleep(moment + began - time.monotonic())
        moment = next_poll(time.monotonic() - began, longest)
        try:
            session = await sessions.ask(gateway, session)
        except _FAILURES as failure:
            wait = failure.retry_after if isinstance(failure, Unavailable) else None
            if wait is not None and moment is not None:
                moment = max(moment, time.monotonic() - began + wait)
        if not session.in_progress:
            return
    with contextlib.suppress(*_FAILURES):
        await sessions.end(gateway, session)


async def _look_for_changes(gateway: Gateway) -> None:
    """Wake the calls that wait for what other gateways, or commands, have written."""
    while True:
        await asyncio.sleep(_CHANGES_SECONDS)
        if len(gateway.held):
            with contextlib.suppress(*_FAILURES):
                async with gateway.database.transaction() as connection:
                    await gateway.held.look(connection)


async def _clean(gateway: Gateway) -> None:
    """Delete what does not count any more. Limits count the sessions of an hour."""
    while True:
        with contextlib.suppress(*_FAILURES):
            async with gateway.database.transaction() as connection:
                await connection.execute("DELETE FROM nonce WHERE expires_at < now()")
                await turns.forget(connection)
                await connection.execute("DELETE FROM session WHERE expires_at < now() - interval '1 hour'")
                await records.forget(connection, gateway.settings.keep_records)
            await sessions.give_up(gateway)
        old = time.monotonic() - _CLEAN_SECONDS
        for id, asked in list(gateway.asked.items()):
            if asked.at < old:
                del gateway.asked[id]
        await asyncio.sleep(_CLEAN_SECONDS)

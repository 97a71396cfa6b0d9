"""Watches the requests on phones: IAMPASS is polled for each until the person has answered."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator

import psycopg

from pam_iampass.client.errors import IampassError
from pam_iampass.gateway import records, sessions
from pam_iampass.gateway.database import DatabaseError, many
from pam_iampass.gateway.gateway import Gateway
from pam_iampass.gateway.keys import Tampered
from pam_iampass.gateway.sessions import LONGEST_REQUEST_SECONDS, HostSession
from pam_iampass.login.approval import FIRST_POLL, next_poll

_LOOK_SECONDS = 0.5
"""How often the database is asked for new requests; sooner than their first poll."""
_CLEAN_SECONDS = 60.0
_STOP_SECONDS = 5.0
"""For the starts that are under way when the gateway stops."""
_FAILURES = (IampassError, DatabaseError, psycopg.Error, Tampered, ValueError)


@contextlib.asynccontextmanager
async def watching(gateway: Gateway, first_poll: float = FIRST_POLL) -> AsyncIterator[None]:
    """Watch in the background, until the block ends; then wait for the starts that are under way.

    :param first_poll: the seconds from a request to its first poll.
    """
    tasks = [asyncio.create_task(_follow_all(gateway, first_poll)), asyncio.create_task(_clean(gateway))]
    try:
        yield
    finally:
        if gateway.starts:
            await asyncio.wait(list(gateway.starts.values()), timeout=_STOP_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _follow_all(gateway: Gateway, first_poll: float) -> None:
    """All requests of the database, also those that another process has made."""
    followed: dict[uuid.UUID, asyncio.Task[None]] = {}
    try:
        while True:
            with contextlib.suppress(*_FAILURES):
                for session, age in await _requests(gateway, list(followed)):
                    task = asyncio.create_task(_follow(gateway, session, age, first_poll))
                    followed[session.id] = task
            for id, task in list(followed.items()):
                if task.done():
                    del followed[id]
            await asyncio.sleep(_LOOK_SECONDS)
    finally:
        for task in followed.values():
            task.cancel()


async def _requests(gateway: Gateway, known: list[uuid.UUID]) -> list[tuple[HostSession, float]]:
    """The requests that are not known, with the seconds since they began."""
    found = []
    async with gateway.database.transaction() as connection:
        rows = await many(
            connection,
            "SELECT id, extract(epoch FROM clock_timestamp() - began_at)::float8 AS age FROM session"
            " WHERE state = 'open' AND status IN ('pending', 'identifying') AND NOT id = ANY(%s)",
            known,
        )
        for row in rows:
            with contextlib.suppress(Tampered):
                session = await sessions.find(gateway, connection, row["id"])
                if session is not None:
                    found.append((session, float(row["age"])))
    return found


async def _follow(gateway: Gateway, session: HostSession, age: float, first_poll: float) -> None:
    """Poll until the person has answered; end what nobody waits for any more."""
    began = time.monotonic() - age
    moment: float | None = max(first_poll, age)
    while moment is not None:
        await asyncio.sleep(moment + began - time.monotonic())
        moment = next_poll(time.monotonic() - began, LONGEST_REQUEST_SECONDS)
        with contextlib.suppress(*_FAILURES):
            session = await sessions.ask(gateway, session)
        if not session.in_progress:
            return
    with contextlib.suppress(*_FAILURES):
        await sessions.end(gateway, session)


async def _clean(gateway: Gateway) -> None:
    """Delete what does not count any more. Limits count the sessions of an hour."""
    while True:
        with contextlib.suppress(*_FAILURES):
            async with gateway.database.transaction() as connection:
                await connection.execute("DELETE FROM nonce WHERE expires_at < now()")
                await connection.execute("DELETE FROM session WHERE expires_at < now() - interval '1 hour'")
                await records.forget(connection, gateway.settings.keep_records)
            await sessions.give_up(gateway)
        old = time.monotonic() - _CLEAN_SECONDS
        for id, asked in list(gateway.asked.items()):
            if asked.at < old:
                del gateway.asked[id]
        await asyncio.sleep(_CLEAN_SECONDS)

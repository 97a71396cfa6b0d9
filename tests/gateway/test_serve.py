"""The service: what it writes about requests that it refuses, and that it stops."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import suppress

import pytest

from pam_iampass.gateway.base.connection import DatabaseError
from pam_iampass.gateway.cli.serve import Refusals
from pam_iampass.gateway.serving import watching
from pam_iampass.server.messages import IncomingRequest, RefusedRequest
from tests.support.gateway_machine import initialised, serving


def test_a_client_without_a_credential_does_not_fill_the_journal(capsys: pytest.CaptureFixture[str]) -> None:
    refused = Refusals()
    for _ in range(1000):
        refused(
            IncomingRequest("GET", "/" + "x" * 8000 + "?user=alice", (), b""),
            RefusedRequest(404, "UNKNOWN_CALL", ""),
        )
    lines = capsys.readouterr().err.splitlines()
    assert 10 <= len(lines) <= 31
    assert max(map(len, lines)) < 260
    assert not any("alice" in line for line in lines)


def test_what_was_left_out_is_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = Refusals()
    now = [1.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    for second in (1.0, 2.0):
        now[0] = second
        for _ in range(15):
            refused(IncomingRequest("GET", "/\x1b[2J", (), b""), RefusedRequest(404, "UNKNOWN_CALL", ""))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        *["refused: GET /\\x1b[2J: 404 UNKNOWN_CALL"] * 10,
        "refused: 5 requests more",
        *["refused: GET /\\x1b[2J: 404 UNKNOWN_CALL"] * 10,
    ]


def test_a_task_that_takes_a_cancellation_for_a_failure_ends_too() -> None:
    async def survives() -> None:
        while True:
            with suppress(DatabaseError):
                try:
                    await asyncio.sleep(0.1 if went_on else 60)
                except asyncio.CancelledError:
                    if not went_on:
                        went_on.append(True)
                        raise DatabaseError("canceling statement due to user request") from None
                    raise

    async def go() -> None:
        task = asyncio.create_task(survives())
        await asyncio.sleep(0)
        await watching._cancel([task])
        assert task.cancelled()

    went_on: list[bool] = []
    asyncio.run(go())
    assert went_on


@pytest.mark.long
@pytest.mark.alone
def test_it_stops_also_while_the_database_hangs() -> None:
    with initialised() as (server, _):
        with serving():
            began = time.monotonic()
        assert time.monotonic() - began < 6.0
        try:
            with serving():
                time.sleep(1.5)
                server.send_all(signal.SIGSTOP)
                time.sleep(1.5)  # it asks the database all the time
                began = time.monotonic()
            assert time.monotonic() - began < 15.0
        finally:
            server.send_all(signal.SIGCONT)

"""The faults with which tests make the sandbox misbehave, as they look at the other end of a real connection."""

from __future__ import annotations

import time

import pytest

from tests.sandbox.signer import Caller
from tests.support.in_time import BUSY
from tests.support.sandbox import Hang, HttpStatus, Junk, ReplacedKey, Reset, Sandbox, SessionState


def test_faults_come_in_order_each_as_often_as_requested(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.misbehave("start", HttpStatus(500), HttpStatus(429, retry_after="7"), times=2)
    sandbox.misbehave("start", HttpStatus(599), times=None)
    replies = [caller.start("alice") for _ in range(6)]
    assert [reply.status for reply in replies] == [500, 500, 429, 429, 599, 599]
    assert replies[2].headers["Retry-After"] == "7"
    assert sandbox.sessions == ()
    sandbox.behave()
    assert caller.start("alice").status == 202


def test_a_reply_can_be_another_one(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.misbehave("start", Junk(b"\xff\x00"), SessionState("active"), ReplacedKey("session_token", None))
    assert caller.start("alice").body == b"\xff\x00"
    assert caller.start("alice").authentication["session_status"] == "active"
    assert caller.start("alice").authentication["session_token"] is None
    assert [session.status.value for session in sandbox.sessions] == ["pending"] * 3


def test_a_connection_breaks_after_the_deed(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.misbehave("start", Reset())
    with pytest.raises(ConnectionResetError):
        caller.start("alice")
    assert len(sandbox.sessions) == 1


def test_a_sandbox_stops_at_once_though_an_answer_hangs() -> None:
    with Sandbox() as sandbox:
        sandbox.misbehave("start", Hang())
        caller = Caller(sandbox)
        connection = caller.connect()
        connection.request("POST", f"/authentication/authenticate_user/{sandbox.application_id}/alice")
        sandbox.wait_for_calls("start")
        before = time.monotonic()
    assert time.monotonic() - before < BUSY
    with pytest.raises(ConnectionError):
        connection.getresponse()
    connection.close()

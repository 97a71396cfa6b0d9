"""Each fault, as it looks at the other end of a real connection."""

from __future__ import annotations

import gzip
import http.client
import json
import ssl
import time
from typing import Any

import pytest

from pam_iampass.sandbox import Sandbox, faults
from tests.sandbox.signer import Caller
from tests.support.in_time import BUSY

START = "/authentication/authenticate_user/demo/alice"


def test_another_status_with_retry_after_starts_nothing(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.misbehave("start", faults.HttpStatus(429, retry_after="7", body=b"slow down"))
    reply = caller.start("alice")
    assert (reply.status, reply.headers["Retry-After"], reply.body) == (429, "7", b"slow down")
    assert sandbox.sessions == ()
    assert caller.start("alice").status == 202


def test_a_status_can_come_after_the_deed(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.misbehave("start", faults.HttpStatus(500, acts=True, headers=(("X-Cause", "none"),)))
    reply = caller.start("alice")
    assert (reply.status, reply.headers["X-Cause"]) == (500, "none")
    assert sandbox.wait_for_request("alice")


def test_a_redirect(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.misbehave("start", faults.Redirect("https://elsewhere.example/x", 307))
    reply = caller.start("alice")
    assert (reply.status, reply.headers["Location"]) == (307, "https://elsewhere.example/x")
    assert sandbox.sessions == ()


@pytest.mark.parametrize(
    ("fault", "body"),
    [
        (faults.Junk(), b"<html>It works!</html>"),
        (faults.Junk(b"\xff\x00"), b"\xff\x00"),
        (faults.Empty(), b""),
    ],
)
def test_a_body_that_is_no_answer(sandbox: Sandbox, caller: Caller, fault: faults.Fault, body: bytes) -> None:
    sandbox.misbehave("start", fault)
    reply = caller.start("alice")
    assert reply.status in (200, 202)
    assert reply.body == body
    assert len(sandbox.sessions) == 1


def test_an_oversized_body_is_still_the_right_json(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.misbehave("start", faults.Oversized(200_000))
    reply = caller.start("alice")
    assert len(reply.body) == 200_000
    assert reply.authentication["authenticated"] is True


def test_a_compressed_body(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.misbehave("start", faults.Compressed())
    reply = caller.start("alice")
    assert reply.headers["Content-Encoding"] == "gzip"
    assert "authentication_status" in json.loads(gzip.decompress(reply.body))


def test_foreign_urls(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.misbehave("start", faults.ForeignURL(), faults.ForeignURL("https://e.example:8", ("logout_url",)))
    both, one = (caller.start("alice").authentication for _ in range(2))
    assert both["status_url"].startswith("https://elsewhere.example/session/")
    assert both["logout_url"].startswith("https://elsewhere.example/session/")
    assert one["status_url"].startswith(sandbox.url + "/session/")
    assert one["logout_url"].startswith("https://e.example:8/session/")


@pytest.mark.parametrize(
    ("fault", "changed"),
    [
        (faults.SessionState("active"), {"session_status": "active"}),
        (faults.SessionState(), {"session_status": "levitating"}),
        (faults.ReplacedKey(), {"authenticated": "false"}),
        (faults.ReplacedKey("session_token", None), {"session_token": None}),
    ],
)
def test_other_values(sandbox: Sandbox, caller: Caller, fault: faults.Fault, changed: dict[str, Any]) -> None:
    sandbox.misbehave("start", fault)
    begun = caller.start("alice").authentication
    assert {key: begun[key] for key in changed} == changed
    assert len(begun) == 6


def test_missing_keys(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.misbehave("start", faults.MissingKey(), faults.MissingKey("status_url"))
    assert caller.start("alice").json == {}
    assert "status_url" not in caller.start("alice").authentication


def test_a_false_status_at_a_poll(sandbox: Sandbox, caller: Caller) -> None:
    begun = caller.start("alice").authentication
    sandbox.misbehave("poll", faults.SessionState("walkaway"))
    assert [caller.poll(begun), caller.poll(begun)] == ["walkaway", "pending"]


def test_a_truncated_body(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.misbehave("start", faults.Truncated(keep=7))
    with pytest.raises(http.client.IncompleteRead) as caught:
        caller.start("alice")
    assert caught.value.partial == b'{"authe'
    assert len(sandbox.sessions) == 1


@pytest.mark.parametrize("head", [False, True])
def test_a_dripping_answer_is_right_in_the_end(sandbox: Sandbox, caller: Caller, head: bool) -> None:
    begun = caller.start("alice").authentication
    sandbox.misbehave("poll", faults.Drip(0.001, head))
    before = time.monotonic()
    assert caller.poll(begun) == "pending"
    assert time.monotonic() - before > (0.2 if head else 0.04)


def test_a_hanging_answer_never_comes_but_the_deed_was_done(sandbox: Sandbox) -> None:
    sandbox.misbehave("start", faults.Hang(), faults.Hang(sent=100))
    caller = Caller(sandbox)
    target = f"/authentication/authenticate_user/{sandbox.application_id}/alice"
    last = None
    for _ in range(2):
        connection = caller.connect()
        headers = {**caller.application(target), "Content-Type": "application/json"}
        connection.request("POST", target, b"{}", headers)
        last = sandbox.wait_for_request("alice", 60, after=last)
        connection.sock.settimeout(0.1)
        with pytest.raises(OSError, match="timed out"):
            connection.getresponse().read()
        connection.close()


def test_a_late_answer(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.misbehave("start", faults.Hang(seconds=0.2, sent=30))
    before = time.monotonic()
    assert caller.start("alice").status == 202
    assert time.monotonic() - before > 0.19


def test_a_reset_before_the_answer(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.misbehave("start", faults.Reset())
    with pytest.raises(ConnectionResetError):
        caller.start("alice")
    assert len(sandbox.sessions) == 1


@pytest.mark.parametrize("sent", [60, 250])
def test_a_reset_in_the_middle_of_the_answer(sandbox: Sandbox, caller: Caller, sent: int) -> None:
    sandbox.misbehave("start", faults.Reset(sent))
    # Versions of OpenSSL and Python differ in how they tell of it; some take it for the end of the answer.
    told = (ConnectionError, ssl.SSLError, http.client.HTTPException, json.JSONDecodeError)
    with pytest.raises(told):
        caller.start("alice").json["authentication_status"]
    assert len(sandbox.sessions) == 1


def test_a_dropped_connection_comes_after_a_right_answer(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.misbehave("has_device", faults.Dropped())
    connection = caller.connect()
    target = caller.manage("has_registered_mobile_device", "alice")
    connection.request("GET", target, headers=caller.application(target))
    response = connection.getresponse()
    assert json.loads(response.read()) == {"device_registered": True}
    assert not response.will_close
    connection.request("GET", target, headers=caller.application(target))
    with pytest.raises(ConnectionError):
        connection.getresponse()
    connection.close()


def test_a_connection_outlives_faults_that_leave_it_alone(sandbox: Sandbox, caller: Caller) -> None:
    harmless = (faults.HttpStatus(503), faults.Junk(), faults.Drip(0.0), faults.Hang(seconds=0.0))
    sandbox.misbehave("has_device", *harmless)
    connection = caller.connect()
    target = caller.manage("has_registered_mobile_device", "alice")
    for _ in range(5):
        connection.request("GET", target, headers=caller.application(target))
        connection.getresponse().read()
    connection.close()
    assert len({call.connection for call in sandbox.calls}) == 1


def test_faults_come_in_order_each_as_often_as_requested(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.misbehave("start", faults.HttpStatus(500), faults.HttpStatus(501), times=2)
    sandbox.misbehave("start", faults.HttpStatus(599), times=None)
    assert [caller.start("alice").status for _ in range(6)] == [500, 500, 501, 501, 599, 599]
    assert sandbox.calls[0].fault == faults.HttpStatus(500)
    sandbox.behave()
    assert caller.start("alice").status == 202


@pytest.mark.parametrize("kind", ["control", "page", "phone", "unknown", "breakfast"])
def test_only_calls_of_the_protocol_can_fail(sandbox: Sandbox, kind: str) -> None:
    with pytest.raises(ValueError, match=kind):
        sandbox.misbehave(kind, faults.Empty())


def test_a_sandbox_stops_at_once_though_an_answer_hangs() -> None:
    with Sandbox() as sandbox:
        sandbox.misbehave("start", faults.Hang())
        caller = Caller(sandbox)
        connection = caller.connect()
        connection.request("POST", f"/authentication/authenticate_user/{sandbox.application_id}/alice")
        sandbox.wait_for_calls("start")
        before = time.monotonic()
    assert time.monotonic() - before < BUSY
    with pytest.raises(ConnectionError):
        connection.getresponse()
    connection.close()

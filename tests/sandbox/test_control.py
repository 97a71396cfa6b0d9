"""A script with the control token plays the person."""

from __future__ import annotations

import pytest

from tests.sandbox.signer import Caller
from tests.support.sandbox import Sandbox


@pytest.fixture
def token(sandbox: Sandbox) -> dict[str, str]:
    return {"Authorization": f"Bearer {sandbox.control_token_file.read_text().strip()}"}


def test_pending_requests_are_listed_and_answered(caller: Caller, token: dict[str, str]) -> None:
    begun = [caller.start("alice").authentication for _ in range(3)]
    listed = caller.send("GET", "/sandbox/requests", token).json["requests"]
    assert [(each["id"], each["user"], each["status"]) for each in listed] == [
        (1, "alice", "pending"),
        (2, "alice", "pending"),
        (3, "alice", "pending"),
    ]
    for number, verb in enumerate(("approve", "deny", "fail"), start=1):
        assert caller.send("POST", f"/sandbox/requests/{number}/{verb}", token).status == 200
    assert [caller.poll(each) for each in begun] == ["active", "cancelled", "failed"]
    assert caller.send("GET", "/sandbox/requests", token).json == {"requests": []}


def test_open_sessions_are_listed_left_returned_to_and_ended(
    sandbox: Sandbox, caller: Caller, token: dict[str, str]
) -> None:
    begun = [caller.start("alice").authentication for _ in range(2)]
    assert caller.send("GET", "/sandbox/sessions", token).json == {"sessions": []}
    sandbox.approve(1)
    for verb, status in (("away", "walkaway"), ("back", "active"), ("end", "closed")):
        listed = caller.send("GET", "/sandbox/sessions", token).json["sessions"]
        assert [each["id"] for each in listed] == [1]
        moved = caller.send("POST", f"/sandbox/sessions/1/{verb}", token)
        assert (moved.status, moved.json["status"]) == (200, status)
        assert [caller.poll(each) for each in begun] == [status, "pending"]
    assert caller.send("GET", "/sandbox/sessions", token).json == {"sessions": []}
    for number in (1, 2, 3):  # over, not yet begun, unknown
        assert caller.send("POST", f"/sandbox/sessions/{number}/away", token).reason == "NOT_OPEN"


@pytest.mark.parametrize("sent", [None, "Bearer", "Bearer wrong", "bearer {}", "{}"])
def test_without_the_token_nothing_is_shown_or_done(
    sandbox: Sandbox, caller: Caller, token: dict[str, str], sent: str | None
) -> None:
    caller.start("alice")
    word = token["Authorization"].split()[1]
    headers = {} if sent is None else {"Authorization": sent.format(word)}
    for method, target in [
        ("GET", "/sandbox/requests"),
        ("POST", "/sandbox/requests/1/approve"),
        ("GET", "/sandbox/sessions"),
        ("POST", "/sandbox/sessions/1/end"),
    ]:
        reply = caller.send(method, target, headers)
        assert (reply.status, reply.reason) == (401, "BAD_TOKEN")
    assert sandbox.sessions[0].undecided


@pytest.mark.parametrize("answer", ["9/approve", "x/approve", "1/eat", "/approve", "-1/approve"])
def test_what_is_not_there_cannot_be_answered(caller: Caller, token: dict[str, str], answer: str) -> None:
    caller.start("alice")
    assert caller.send("POST", f"/sandbox/requests/{answer}", token).status == 404

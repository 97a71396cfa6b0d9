"""What a session goes through, and who can do what with it."""

from __future__ import annotations

import time

import pytest

from pam_iampass.client.status import Status
from pam_iampass.sandbox.calls import Auto
from pam_iampass.sandbox.sessions import EndedBy
from tests.sandbox.signer import Caller, signed
from tests.support.sandbox import Sandbox


def test_what_becomes_of_a_request_is_what_a_poll_says(sandbox: Sandbox, caller: Caller) -> None:
    for answer, status in [
        (sandbox.deny, "cancelled"),
        (sandbox.fail, "failed"),
        (sandbox.time_out, "timeout"),
        (sandbox.identify, "identifying"),
        (sandbox.approve, "active"),
    ]:
        begun = caller.start("alice").authentication
        answer(sandbox.sessions[-1])
        assert caller.poll(begun) == status


def test_two_requests_of_one_user_must_be_distinguished(sandbox: Sandbox, caller: Caller) -> None:
    first, second = (caller.start("alice").authentication for _ in range(2))
    with pytest.raises(LookupError, match="there are 2"):
        sandbox.approve("alice")
    sandbox.approve(sandbox.sessions[1])
    sandbox.deny(1)
    assert (caller.poll(first), caller.poll(second)) == ("cancelled", "active")


def test_a_session_ended_by_its_client_is_closed_and_ends_once(sandbox: Sandbox, caller: Caller) -> None:
    begun = caller.start("alice").authentication
    sandbox.approve("alice")
    assert caller.end(begun) is True
    assert caller.poll(begun) == "closed"
    assert caller.end(begun) is False
    session = sandbox.wait_for_end("alice")
    assert session.ended_by is EndedBy.CLIENT
    assert session.started_at <= (session.decided_at or 0) <= (session.ended_at or 0) <= time.monotonic()


def test_ending_a_pending_request_takes_it_off_the_phone(sandbox: Sandbox, caller: Caller) -> None:
    begun = caller.start("alice").authentication
    assert caller.end(begun) is True
    with pytest.raises(LookupError):
        sandbox.approve("alice")
    assert caller.poll(begun) == "closed"


def test_ending_a_denied_request_leaves_it_denied(sandbox: Sandbox, caller: Caller) -> None:
    begun = caller.start("alice").authentication
    sandbox.deny("alice")
    assert caller.end(begun) is True
    assert caller.poll(begun) == "cancelled"
    assert sandbox.wait_for_end("alice").status is Status.cancelled


def test_a_request_that_nobody_answers_times_out(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.request_timeout = 0.1
    begun = caller.start("alice").authentication
    wait_for_status(sandbox, Status.timeout)
    assert caller.poll(begun) == "timeout"


def test_a_session_expires_after_its_duration(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.auto = Auto.APPROVE
    begun = caller.start("alice", "?duration_seconds=1").authentication
    wait_for_status(sandbox, Status.closed)
    session = sandbox.sessions[0]
    assert session.ended_by is EndedBy.EXPIRY
    assert (session.ended_at or 0) - session.started_at > 0.9
    assert caller.poll(begun) == "closed"
    assert caller.end(begun) is False


@pytest.mark.parametrize(("auto", "status"), [(Auto.APPROVE, Status.active), (Auto.DENY, Status.cancelled)])
def test_auto_answers_after_its_delay(sandbox: Sandbox, caller: Caller, auto: Auto, status: Status) -> None:
    sandbox.auto, sandbox.delay = auto, 0.2
    begun = caller.start("alice").authentication
    assert begun["session_status"] == "pending"
    wait_for_status(sandbox, status)
    session = sandbox.sessions[0]
    assert (session.decided_at or 0) - session.started_at > 0.19


def test_a_start_is_accepted_and_a_user_without_a_device_is_not_asked(
    sandbox: Sandbox, caller: Caller
) -> None:
    assert caller.start("alice").status == 202
    reply = caller.start("bob")
    assert reply.status == 200
    assert reply.authentication == {"authenticated": False, "reason": "NO_MOBILE_DEVICE"}
    assert [session.user for session in sandbox.sessions] == ["alice"]


def test_an_unknown_user_gets_no_session(sandbox: Sandbox, caller: Caller) -> None:
    reply = caller.start("carol")
    assert (reply.status, reply.body) == (404, b"There is no user carol.")
    assert sandbox.sessions == ()


def test_the_application_cannot_speak_for_a_session(caller: Caller) -> None:
    begun = caller.start("alice").authentication
    target = begun["status_url"][len(caller.sandbox.url) :]
    reply = caller.send("GET", target, {**caller.application(target), "Content-Type": "application/json"})
    assert (reply.status, reply.reason) == (401, "UNKNOWN_CLIENT")


def test_a_session_cannot_speak_for_another(caller: Caller) -> None:
    mine, other = (caller.start("alice").authentication for _ in range(2))
    reply = caller.session("GET", {**mine, "status_url": other["status_url"]}, "status_url")
    assert (reply.status, reply.reason) == (401, "UNKNOWN_CLIENT")


def test_a_session_with_the_wrong_secret_is_refused(caller: Caller) -> None:
    begun = caller.start("alice").authentication
    reply = caller.session("POST", {**begun, "session_secret": "wrong"}, "logout_url")
    assert (reply.status, reply.reason) == (401, "BAD_SIGNATURE")


def test_a_session_call_has_the_clients_content_type_and_no_body(caller: Caller) -> None:
    begun = caller.start("alice").authentication
    target = begun["logout_url"][len(caller.sandbox.url) :]

    def headers() -> dict[str, str]:
        return signed(begun["session_token"], begun["session_secret"], begun["logout_url"])

    assert caller.send("POST", target, headers()).reason == "BAD_CONTENT_TYPE"
    right = {**headers(), "Content-Type": "application/json"}
    assert caller.send("POST", target, right, b"{}").reason == "UNEXPECTED_BODY"


def test_an_unknown_session_is_not_found(caller: Caller) -> None:
    reply = caller.get("/session/0123456789abcdef/status")
    assert (reply.status, reply.reason) == (404, "UNKNOWN_SESSION")


def test_deleting_a_user_ends_its_sessions(sandbox: Sandbox, caller: Caller) -> None:
    begun = caller.start("alice").authentication
    sandbox.delete_user("alice")
    assert caller.poll(begun) == "closed"
    assert sandbox.sessions[0].ended_by is EndedBy.REMOVAL


def wait_for_status(sandbox: Sandbox, status: Status) -> None:
    sandbox.wait_for_session(lambda session: session.status is status)

"""The calls that our client makes are understood, and it understands the replies."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from pam_iampass.client import AuthenticationMethod, NotFound, Session, Status
from pam_iampass.client.application import Application
from pam_iampass.client.call import Call
from pam_iampass.client.origin import Origin
from pam_iampass.server.messages import (
    IncomingRequest,
    RefusedRequest,
    Reply,
    Start,
    Unknown,
    ended,
    not_started,
    polled,
    require_session_call,
    started,
)

APPLICATION = Application(Origin.of("https://iam.example:8443"), "web-1", "s3cret")


def received(call: Call[Any]) -> IncomingRequest:
    """The request as the server receives it."""
    url = urlsplit(call.url)
    target = f"{url.path}?{url.query}" if url.query else url.path
    return IncomingRequest(call.method, target, call.headers(1, 2).items(), call.body or b"")


def read(call: Call[Any], reply: Reply) -> Any:
    """What the client makes of a reply."""
    return call.read(reply.status, dict(reply.headers), reply.body, 0.0)


def begun() -> tuple[Session, Reply]:
    call = APPLICATION.start("alice", None, None)
    request = received(call)
    reply = started(Status.pending, "tok", "sec", f"{request.origin}/session/1")
    return read(call, reply), reply


@pytest.mark.parametrize("user", ["alice", "a b", "a/b", "ä@example.com", "a+b", "%2F", "...", "a?b&c=d#e"])
def test_a_start_is_read_as_it_was_meant(user: str) -> None:
    methods = [AuthenticationMethod.device, AuthenticationMethod.facial]
    request = received(APPLICATION.start(user, methods, 60))
    assert Start.of(request) == Start(
        user, ("device", "facial"), 60, {"methods": "device,facial", "duration_seconds": "60"}, {}
    )
    assert request.segments[2] == "web-1"
    assert request.signed_url.startswith("iam.example:8443/authentication/authenticate_user/web-1/")


def test_a_start_without_wishes_leaves_the_methods_to_the_service_and_lasts_an_hour() -> None:
    assert Start.of(received(APPLICATION.start("alice", None, None))) == Start("alice", (), 3600, {}, {})


def start(
    body: bytes = b"{}", content_type: str | None = "application/json", query: str = "", user: str = "alice"
) -> IncomingRequest:
    headers = [] if content_type is None else [("Content-Type", content_type)]
    return IncomingRequest("POST", f"/authentication/authenticate_user/web-1/{user}{query}", headers, body)


def refused(request: IncomingRequest) -> str:
    with pytest.raises(RefusedRequest) as caught:
        Start.of(request)
    assert caught.value.status == 400
    return caught.value.reason


@pytest.mark.parametrize("value", [None, "text/plain", "application/json; charset=utf-8", "application/JSON"])
def test_content_type_must_be_that_of_the_client(value: str | None) -> None:
    assert refused(start(content_type=value)) == "BAD_CONTENT_TYPE"


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b'{"a": 1}', b'{"a": 1, "a": 1}', b"{} x", b"\xff", b'"text"', b"[" * 200_000],
)
def test_the_body_of_a_start_is_an_empty_object(body: bytes) -> None:
    assert refused(start(body)) == "BAD_BODY"


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("?colour=red", "UNKNOWN_PARAMETER"),
        ("?duration_seconds=1&duration_seconds=1", "REPEATED_PARAMETER"),
        ("?methods=", "EMPTY_PARAMETER"),
        ("?duration_seconds=60&", "UNKNOWN_PARAMETER"),
        ("?methods=telepathy", "BAD_METHODS"),
        ("?methods=device,device", "BAD_METHODS"),
        ("?methods=%FF", "BAD_QUOTING"),
        ("?duration_seconds=0", "BAD_DURATION"),
        ("?duration_seconds=86401", "BAD_DURATION"),
        ("?duration_seconds=1.5", "BAD_DURATION"),
        ("?duration_seconds=060", "BAD_DURATION"),
    ],
)
def test_a_wrong_query_is_refused(query: str, reason: str) -> None:
    assert refused(start(query=query)) == reason


@pytest.mark.parametrize("segment", ["", "a%20b", "a@b", "%61lice", "a%2fb", "%FF"])
def test_a_user_id_that_is_not_form_quoted_is_refused(segment: str) -> None:
    assert refused(start(user=segment)) == "BAD_QUOTING"


def test_a_server_can_have_parameters_of_its_own() -> None:
    request = start(query="?request_id=7&methods=device")
    assert refused(request) == "UNKNOWN_PARAMETER"
    assert Start.of(request, "request_id").parameters["request_id"] == "7"


def test_the_client_begins_polls_and_ends_a_session() -> None:
    session, _ = begun()
    assert (session.session_status, session.session_token, session.session_secret) == (
        Status.pending,
        "tok",
        "sec",
    )
    poll, end = session.poll(), session.end()
    assert poll is not None
    assert end is not None
    assert require_session_call(received(poll)) == require_session_call(received(end)) == {}
    assert (received(poll).path, received(end).path) == ("/session/1/status", "/session/1/logout")
    assert [read(poll, polled(status)) for status in Status] == list(Status)
    assert [read(end, ended(now)) for now in (True, False)] == [True, False]


def test_the_replies_have_the_form_that_the_published_client_reads() -> None:
    """As in the page of the published client; the outer key is missing in the service's documentation only."""
    assert json.loads(begun()[1].body) == {
        "authentication_status": {
            "authenticated": True,
            "session_status": "pending",
            "session_token": "tok",
            "session_secret": "sec",
            "status_url": "https://iam.example:8443/session/1/status",
            "logout_url": "https://iam.example:8443/session/1/logout",
        }
    }
    for status in Status:
        answer = {"authenticated": status.name == "active", "session_status": status.name}
        assert json.loads(polled(status).body) == {"authentication_status": answer}
    assert json.loads(ended(True).body) == {"status": True}


def test_what_cannot_begin_has_failed_with_its_reason() -> None:
    failed = read(APPLICATION.start("alice", None, None), not_started("NO_MOBILE_DEVICE"))
    assert (failed.session_status, failed.failure_reason) == (Status.failed, "NO_MOBILE_DEVICE")


def test_an_unknown_user_is_not_found_and_has_a_clean_name() -> None:
    reply = Reply.refusing(Unknown("user", "eve\x1b[2J"))
    with pytest.raises(NotFound):
        read(APPLICATION.start("eve", None, None), reply)
    assert b"\x1b" not in reply.body


@pytest.mark.parametrize("path", ["/x/../alice", "//alice", "/a/b/c/%2e%2e", "*"])
def test_a_path_stays_as_it_was_sent(path: str) -> None:
    request = IncomingRequest("GET", path, [("Host", "iam.example")], b"")
    assert request.path == path
    assert request.signed_url == "iam.example" + path


@pytest.mark.parametrize(
    "hosts",
    [[], [""], ["[::1"], ["iam.example"] * 2, ["elsewhere"], ["iam.example."], ["iam.example.elsewhere:443"]],
)
def test_only_one_host_of_our_own_is_answered(hosts: list[str]) -> None:
    request = IncomingRequest("GET", "/", [("Host", host) for host in hosts], b"")
    with pytest.raises(RefusedRequest, match=r"names of this server are: iam\.example"):
        request.require_host(frozenset({"iam.example"}))

"""What a session knows, and its two calls."""

from __future__ import annotations

from typing import Any

import pytest

from pam_iampass.client import ProtocolError, Session, Status
from tests.client.talk import SESSION_SECRET, TOKEN, polled, session_on
from tests.client.test_authentication import signature_holds
from tests.support.scripted_server import answer, scripted_server


@pytest.mark.parametrize(
    "status", ["approved", "ACTIVE", "", None, True, 6, ["active"], "\x1b[2Jactive\n" + "x" * 999]
)
def test_an_unknown_status_is_never_an_approval(status: Any) -> None:
    with scripted_server(polled(status)) as server, session_on(server) as session:
        with pytest.raises(ProtocolError) as caught:
            session.get_status()
        assert session.in_progress
        assert len(server.requests) == 1
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 260


@pytest.mark.parametrize("status", list(Status))
def test_each_status_is_in_progress_or_active_or_away_or_ended(status: Status) -> None:
    kinds = {
        "in_progress": {"pending", "identifying"},
        "active": {"active"},
        "away": {"walkaway"},
        "ended": {"failed", "timeout", "cancelled", "closed"},
    }
    session = Session(status, None, None, None, None)
    for kind, names in kinds.items():
        assert getattr(status, kind) is getattr(session, kind) is (status.name in names)


@pytest.mark.parametrize("status", ["pending", "active", "walkaway", "closed"])
def test_a_poll_without_the_outer_object_says_the_same(status: str) -> None:
    document = {"authenticated": status == "active", "session_status": status}
    with scripted_server(answer(200, document)) as server, session_on(server) as session:
        assert session.get_status() is Status[status]


@pytest.mark.parametrize(
    "document",
    [
        {"session_status": "active", "authenticated": False},
        {"session_status": "active", "authenticated": "true"},
        {"session_status": "active", "authenticated": 1},
        {"authentication_status": {"session_status": "active", "authenticated": False}},
        {"authentication_status": None, "session_status": "active"},
        {"authentication_status": {"authenticated": True}, "session_status": "active"},
        {"authenticated": True},
    ],
)
def test_a_poll_that_contradicts_itself_or_lacks_a_status_is_never_an_approval(document: Any) -> None:
    with scripted_server(answer(200, document)) as server, session_on(server) as session:
        with pytest.raises(ProtocolError):
            session.get_status()
        assert session.in_progress


def test_both_calls_are_signed_by_the_session_and_share_a_connection() -> None:
    with scripted_server(polled("active"), answer(200, {"status": True})) as server:
        with session_on(server) as session:
            session.get_status()
            assert session.destroy() is True
        poll, end = server.requests
        assert (poll.method, poll.target, poll.body) == ("GET", f"/status/{TOKEN}", b"")
        assert (end.method, end.target, end.body) == ("POST", f"/logout/{TOKEN}", b"")
        assert end.header("Content-Length") == "0"
        assert {name.lower() for name, _ in poll.headers} == {
            *("authentication", "x-iampass-authentication-timestamp", "x-iamoass-authentication-version"),
            *("host", "content-type", "user-agent", "accept-encoding"),
        }
        assert poll.header("Content-Type") == end.header("Content-Type") == "application/json"
        assert signature_holds(poll, TOKEN, SESSION_SECRET)
        assert signature_holds(end, TOKEN, SESSION_SECRET)
        assert server.connections == 1


@pytest.mark.parametrize(
    "path",
    [
        "/a/../b",
        "//a//b",
        "/a;b/c'?x=/../y",
        "/%2e%2e/x",
        "/a%2fb",
        "/a?b=c&d=%7e~",
        "/?",
        "/[x]|{y}^`<z>\"'",
        "/%zz",
    ],
)
@pytest.mark.parametrize("form", ["https://localhost:{port}", "HTTPS://LOCALHOST:{port}"])
def test_a_url_is_sent_and_signed_byte_for_byte_as_it_was_given(path: str, form: str) -> None:
    with scripted_server(polled("active")) as server, session_on(server) as session:
        session.status_url = form.format(port=server.port) + path
        session.get_status()
        (request,) = server.requests
        assert request.target == path
        assert request.header("Host") == session.status_url.split("/")[2]
        assert signature_holds(request, TOKEN, SESSION_SECRET)


@pytest.mark.parametrize("document", [{}, {"status": "true"}, {"status": 1}, {"status": None}])
def test_an_end_without_a_clear_word_is_a_protocol_error(document: Any) -> None:
    with (
        scripted_server(answer(200, document)) as server,
        session_on(server) as session,
        pytest.raises(ProtocolError),
    ):
        session.destroy()


def test_a_session_shows_neither_token_nor_secret_nor_url() -> None:
    with scripted_server() as server, session_on(server) as session:
        assert repr(session) == "Session(session_status=<Status.pending: 1>, failure_reason=None)"


def test_a_session_of_no_api_makes_no_call() -> None:
    session = Session(Status.pending, "t", "s", "https://localhost/l", "https://localhost/s")
    with pytest.raises(ValueError, match="no API"):
        session.get_status()
    with pytest.raises(ValueError, match="no API"):
        session.destroy()


def test_a_session_of_another_server_makes_no_call() -> None:
    with scripted_server() as server, session_on(server) as session:
        session.status_url = "https://elsewhere.example/s"
        with pytest.raises(ValueError, match="another server"):
            session.get_status()
        assert server.connections == 0

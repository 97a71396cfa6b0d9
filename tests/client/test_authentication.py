"""Starting a session: what is sent, and which answers are taken."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_iampass import __version__
from pam_iampass.client import AuthenticationAPI, AuthenticationMethod, ProtocolError, Status
from pam_iampass.client.application import path_segment
from tests.client.talk import APPLICATION, SECRET, USER, api_to, started
from tests.client.test_signing import expected_signature
from tests.support.scripted_server import answer, authority, scripted_server

IDS = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1).filter(
    lambda text: text not in (".", "..")
)


def signature_holds(request: Any, client_id: str, secret: str) -> bool:
    scheme, _, credentials = request.header("Authentication").partition(" ")
    sent_id, nonce, signature = credentials.rsplit(":", 2)
    timestamp = request.header("X-IAMPASS-Authentication-Timestamp")
    signed = f"{request.header('Host')}{request.target}"
    assert (scheme, sent_id) == ("hmac", client_id)
    return bool(signature == expected_signature(nonce, secret, signed, timestamp))


def test_a_start_is_sent_as_the_protocol_has_it() -> None:
    with scripted_server() as server, api_to(server, nonce=lambda: 7, wall_clock=lambda: 1234.9) as api:
        server.add(started(server))
        methods = [AuthenticationMethod.acceptance, AuthenticationMethod.facial]
        session = api.authenticate_user("al ice/ü?&+%2e", methods, 90)
        (request,) = server.requests
        host = f"localhost:{server.port}"
        target = (
            f"/authentication/authenticate_user/{APPLICATION}/al+ice%2F%C3%BC%3F%26%2B%252e"
            "?methods=acceptance,facial&duration_seconds=90"
        )
        assert (request.method, request.target, request.body) == ("POST", target, b"{}")
        signature = expected_signature("7", SECRET, host + target, "1234")
        assert dict(request.headers) == {
            "Host": host,
            "Authentication": f"hmac {APPLICATION}:7:{signature}",
            "X-IAMPASS-Authentication-Timestamp": "1234",
            "X-IAMOASS-Authentication-Version": "1",
            "Content-Type": "application/json",
            "Content-Length": "2",
            "Accept-Encoding": "identity",
            "User-Agent": f"pam-iampass/{__version__}",
        }
        assert len(request.headers) == 8
        assert session.in_progress


@given(IDS)
def test_any_text_survives_the_path(user: str) -> None:
    segment = path_segment(user)
    assert unquote_plus(segment) == user
    assert segment.isascii()
    assert not set(segment) & set("/?#\\ ")
    assert segment not in ("", ".", "..")


@pytest.mark.parametrize("user", ["", ".", "..", "a\nb", "\x00", "a\x7f", "a\x85", "\ud800"])
def test_a_user_id_that_would_name_another_path_is_refused_before_anything_is_sent(user: str) -> None:
    with scripted_server() as server, api_to(server) as api:
        with pytest.raises(ValueError, match="user_id"):
            api.authenticate_user(user)
        assert server.connections == 0


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"user_id": None}, TypeError),
        ({"user_id": 7}, TypeError),
        ({"user_id": USER, "authentication_methods": ["facial"]}, TypeError),
        ({"user_id": USER, "duration_seconds": "90"}, TypeError),
        ({"user_id": USER, "duration_seconds": True}, TypeError),
        ({"user_id": USER, "duration_seconds": 0}, ValueError),
    ],
)
def test_arguments_of_a_wrong_kind_are_refused_before_anything_is_sent(
    arguments: dict[str, Any], kind: type[Exception]
) -> None:
    with scripted_server() as server, api_to(server) as api:
        with pytest.raises(kind):
            api.authenticate_user(**arguments)
        assert server.connections == 0


def test_a_user_who_cannot_be_asked_gives_a_failed_session_without_calls() -> None:
    document = {"authentication_status": {"authenticated": False, "reason": "NO_MOBILE_DEVICE"}}
    with scripted_server(answer(200, document)) as server, api_to(server) as api:
        session = api.authenticate_user(USER)
        assert (session.failed, session.in_progress, session.active) == (True, False, False)
        assert session.failure_reason == "NO_MOBILE_DEVICE"
        assert session.get_status() is Status.failed
        assert session.destroy() is False
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "members",
    [
        {"authenticated": False, "reason": None},
        {"authenticated": False, "reason": 5},
        {"authenticated": "false", "reason": "x"},
        {"reason": "x"},
        {},
    ],
)
def test_a_failure_that_is_not_as_it_should_be_is_a_protocol_error(members: dict[str, Any]) -> None:
    with scripted_server(answer(200, {"authentication_status": members})) as server, api_to(server) as api:
        with pytest.raises(ProtocolError) as caught:
            api.authenticate_user(USER)
        assert caught.value.may_have_started is True


_NO_TEXT: tuple[Any, ...] = (..., None, 5, [], True)


@pytest.mark.parametrize(
    "changes",
    [
        *[
            {name: value}
            for name in ("session_status", "session_token", "session_secret")
            for value in _NO_TEXT
        ],
        *[
            {name: value}
            for name in ("status_url", "logout_url")
            for value in (..., None, 5, "", "/relative")
        ],
        {"authenticated": "true"},
        {"session_status": "ACTIVE"},
        {"session_status": "__class__"},
        {"session_token": ""},
        {"session_token": "a\r\nX: y"},
        {"session_secret": "\ud800"},
    ],
)
def test_a_start_that_is_not_as_it_should_be_is_a_protocol_error(changes: dict[str, Any]) -> None:
    with scripted_server() as server, api_to(server) as api:
        server.add(started(server, **changes))
        with pytest.raises(ProtocolError) as caught:
            api.authenticate_user(USER)
        assert caught.value.may_have_started is True
        assert len(server.requests) == 1


@pytest.mark.parametrize("name", ["status_url", "logout_url"])
@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:{port}/s",
        "https://localhost/s",
        "https://localhost:{port}",
        "https://127.0.0.1:{port}/s",
        "https://user@localhost:{port}/s",
        "https://localhost:{port}@elsewhere/s",
        "https://localhost:{port}/s#fragment",
        "https://localhost:{port}/s\n",
        "\thttps://localhost:{port}/s",
        "https://localhost:{port}/ü",
        "https://elsewhere/https://localhost:{port}/s",
        "file:///etc/passwd",
    ],
)
def test_a_url_of_another_server_is_a_protocol_error(name: str, url: str) -> None:
    with scripted_server() as server, api_to(server) as api:
        server.add(started(server, **{name: url.format(port=server.port)}))
        with pytest.raises(ProtocolError, match=name):
            api.authenticate_user(USER)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "application_id", ["", ".", "..", "a:b", "a/b", "a b", "ü", "a\r\n", "a%2f", "a?b", "a#b"]
)
def test_an_application_id_that_cannot_be_one_is_refused(application_id: str) -> None:
    with pytest.raises(ValueError, match="application_id"):
        AuthenticationAPI(application_id, SECRET, "https://localhost", authority().ca_file)


def test_an_empty_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="application_secret"):
        AuthenticationAPI(APPLICATION, "", "https://localhost", authority().ca_file)


@pytest.mark.parametrize(
    "server",
    [
        "http://localhost",
        "https://",
        "https://a@localhost",
        "https://localhost/path",
        "https://[1::2::3]",
        " https://localhost",
    ],
)
def test_only_a_plain_https_origin_can_be_the_server(server: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        AuthenticationAPI(APPLICATION, SECRET, server, authority().ca_file)


def test_an_api_names_its_server_and_hides_its_secret() -> None:
    api = AuthenticationAPI(APPLICATION, SECRET, "HTTPS://LocalHost:443/", authority().ca_file)
    assert repr(api) == f"AuthenticationAPI(application_id='{APPLICATION}', server='https://localhost')"
    api.close()

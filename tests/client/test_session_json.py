"""Sessions as JSON, here and in the published client, and as signed tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer, URLSafeTimedSerializer

from pam_iampass.client import AuthenticationAPI, BadSignature, Session, SessionSigner, Status
from tests.client.talk import SESSION_SECRET, TOKEN, api_to, polled, session_on
from tests.sandbox.witness import Witness, witness_python
from tests.support.sandbox import Sandbox
from tests.support.scripted_server import scripted_server

KEY = "a key that nobody knows"
BEGUN = Session(Status.pending, "tok", "s3cr3t", "https://localhost/l", "https://localhost/s")
NEVER_BEGUN = Session(Status.failed, None, None, None, None, "NO_MOBILE_DEVICE")


_NO_STATUS: tuple[Any, ...] = ("approved", 1, None, [], "__class__")


def text_of(session: Any = BEGUN, **changes: Any) -> str:
    members = {**json.loads(Session.Schema().dumps(session)), **changes}
    return json.dumps({key: value for key, value in members.items() if value is not ...})


def test_the_json_is_that_of_the_protocol() -> None:
    assert Session.Schema().dumps(BEGUN) == (
        '{"session_token": "tok", "session_secret": "s3cr3t", "logout_url": "https://localhost/l", '
        '"status_url": "https://localhost/s", "failure_reason": null, "session_status": "pending"}'
    )


def test_a_reason_need_not_be_there() -> None:
    assert Session.Schema().loads(text_of(failure_reason=...)) == BEGUN


@given(st.sampled_from(Status), *[st.text(st.characters(codec="utf-8"))] * 3)
def test_any_text_comes_back(status: Status, secret: str, url: str, reason: str) -> None:
    session = Session(status, "t", secret, url, url, reason)
    assert Session.Schema().loads(Session.Schema().dumps(session)) == session


def test_a_session_that_is_read_for_an_api_can_be_asked_about() -> None:
    with scripted_server(polled("active")) as server, session_on(server) as begun, api_to(server) as api:
        session = Session.Schema(api).loads(Session.Schema().dumps(begun))
        assert session.get_status() is Status.active


def test_a_session_that_is_read_for_no_api_says_what_to_do() -> None:
    session = Session.Schema().loads(text_of())
    assert session.in_progress
    with pytest.raises(ValueError, match=re.escape("read it with Session.Schema(api)")):
        session.get_status()


@pytest.mark.parametrize("name", ["status_url", "logout_url"])
@pytest.mark.parametrize(
    "url", ["https://elsewhere.example/s", "http://localhost/s", "file:///etc/passwd", ""]
)
def test_a_session_of_another_server_is_not_read(name: str, url: str) -> None:
    with scripted_server() as server, session_on(server) as begun, api_to(server) as api:
        with pytest.raises(ValueError, match="does not belong"):
            Session.Schema(api).loads(text_of(begun, **{name: url}))
        assert server.connections == 0


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        pytest.param("[" * 100_000, id="nested without end"),
        text_of(more=1),
        *[text_of(**{name: ...}) for name in ("session_token", "status_url", "session_status")],
        *[text_of(session_status=status) for status in _NO_STATUS],
        *[text_of(**{name: value}) for name in ("session_secret", "logout_url") for value in (None, 7)],
        text_of(failure_reason=7),
        text_of(session_token="a\r\nX: y"),
        text_of(session_token=""),
        text_of(NEVER_BEGUN, session_status="active"),
        text_of(NEVER_BEGUN, session_status="pending"),
    ],
)
def test_what_no_session_wrote_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ValueError, match="this is not a session") as caught:
        Session.Schema().loads(text)
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.fixture
def api(shared_sandbox: Sandbox) -> Iterator[AuthenticationAPI]:
    shared_sandbox.behave()
    shared_sandbox.auto, shared_sandbox.request_timeout = "ask", 60.0
    shared_sandbox.add_user("json", device=True)
    shared_sandbox.add_user("json without phone", device=False)
    sandbox = shared_sandbox
    api = AuthenticationAPI(sandbox.application_id, sandbox.application_secret, sandbox.url, sandbox.ca_file)
    yield api
    api.close()


@pytest.fixture
def witness(shared_sandbox: Sandbox) -> Iterator[Witness]:
    with Witness(witness_python(), shared_sandbox) as running:
        yield running


def test_the_published_client_goes_on_with_our_session(
    api: AuthenticationAPI, witness: Witness, shared_sandbox: Sandbox
) -> None:
    session = api.authenticate_user("json")
    text = Session.Schema().dumps(session)
    assert witness.call("loads", text)["in_progress"] is True
    assert witness.call("dumps") == text
    shared_sandbox.approve("json")
    assert witness.call("get_status") == "active"
    assert witness.call("destroy") is True
    assert session.get_status() is Status.closed


def test_we_go_on_with_a_session_of_the_published_client(
    api: AuthenticationAPI, witness: Witness, shared_sandbox: Sandbox
) -> None:
    witness.call("authenticate_user", "json")
    text = witness.call("dumps")
    session = Session.Schema(api).loads(text)
    assert Session.Schema().dumps(session) == text
    shared_sandbox.approve("json")
    assert session.get_status() is Status.active
    assert session.destroy() is True


def test_a_session_that_never_began_is_read_alike(api: AuthenticationAPI, witness: Witness) -> None:
    witness.call("authenticate_user", "json without phone")
    text = witness.call("dumps")
    ours = api.authenticate_user("json without phone")
    assert Session.Schema().dumps(ours) == text
    assert Session.Schema(api).loads(text) == ours
    assert witness.call("loads", Session.Schema().dumps(ours))["failure_reason"] == "NO_MOBILE_DEVICE"


def test_a_token_is_valid_for_its_time_and_no_longer() -> None:
    now = [1_000_000.0]
    signer = SessionSigner(KEY, max_age=60, clock=lambda: now[0])
    token = signer.sign(BEGUN)
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", token)
    now[0] += 60
    assert signer.verify(token) == BEGUN
    now[0] += 1
    with pytest.raises(BadSignature, match="expired") as caught:
        signer.verify(token)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "token",
    [
        "",
        "junk",
        "ü.ü.ü",
        "a.b.c",
        SessionSigner("another key of that length").sign(BEGUN),
        URLSafeSerializer(KEY).dumps(text_of()),
        URLSafeTimedSerializer(KEY).dumps(text_of()),
    ],
)
def test_what_was_not_signed_so_is_refused(token: str) -> None:
    with pytest.raises(BadSignature):
        SessionSigner(KEY).verify(token)


def test_a_token_of_the_future_is_refused() -> None:
    token = SessionSigner(KEY, clock=lambda: 2_000_000.0).sign(BEGUN)
    with pytest.raises(BadSignature):
        SessionSigner(KEY, clock=lambda: 1_000_000.0).verify(token)


def test_a_key_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(ValueError, match="key"):
        SessionSigner("secret-key")


def test_nothing_shows_a_secret() -> None:
    assert TOKEN not in repr(SessionSigner(KEY))
    assert SESSION_SECRET not in repr(Session.Schema())
    assert KEY not in repr(SessionSigner(KEY))

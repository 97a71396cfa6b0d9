"""An application works with sessions as the service's example application does, with its client and with ours.

It starts an authentication, waits for the person, keeps the session as a signed token with the id of its own user, asks
for the status before each access, and ends the session at logout.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
from itsdangerous import BadSignature, URLSafeSerializer

from pam_iampass.client import AuthenticationAPI, Session
from pam_iampass.sandbox.sessions import SessionStatus
from tests.sandbox.witness import Witness, witness_python
from tests.support.sandbox import DocumentedPoll, Sandbox


class Client(Protocol):
    """A client with one session at a time: both clients in the form of the witness."""

    def call(self, name: str, *arguments: Any) -> Any: ...


class OurClient:
    """Ours, in the form of the witness."""

    def __init__(self, sandbox: Sandbox) -> None:
        keys = sandbox.application_id, sandbox.application_secret
        self.api = AuthenticationAPI(*keys, sandbox.url, sandbox.ca_file)
        self.session: Session

    def call(self, name: str, *arguments: Any) -> Any:
        return getattr(self, name)(*arguments)

    def authenticate_user(self, user: str) -> None:
        self.session = self.api.authenticate_user(user)

    def state(self) -> dict[str, bool]:
        return {"in_progress": self.session.in_progress, "active": self.session.active}

    def get_status(self) -> str:
        return self.session.get_status().name

    def destroy(self) -> bool:
        return self.session.destroy()

    def dumps(self) -> str:
        return Session.Schema().dumps(self.session)

    def loads(self, text: str) -> None:
        self.session = Session.Schema(self.api).loads(text)


@dataclass
class Application:
    """The application. `login` gives a token, which the browser keeps."""

    client: Client
    signer: URLSafeSerializer

    def login(self, user: str) -> str | None:
        self.client.call("authenticate_user", user)
        while self.client.call("state")["in_progress"]:
            self.client.call("get_status")
        if not self.client.call("state")["active"]:
            return None
        return str(self.signer.dumps({"session": self.client.call("dumps"), "user": user}))

    def admits(self, token: str, user: str) -> bool:
        """Whether the session in the token is this user's, and is active now."""
        return self._load(token) == user and self.client.call("get_status") == "active"

    def logout(self, token: str) -> bool:
        self._load(token)
        return bool(self.client.call("destroy"))

    def _load(self, token: str) -> str | None:
        try:
            kept = self.signer.loads(token)
        except BadSignature:
            return None
        self.client.call("loads", kept["session"])
        return str(kept["user"])


@contextmanager
def client_of(which: str, sandbox: Sandbox) -> Iterator[Client]:
    if which == "published":
        with Witness(witness_python(), sandbox) as witness:
            yield witness
        return
    ours = OurClient(sandbox)
    if which == "ours, polls as documented":
        sandbox.misbehave("poll", DocumentedPoll(), times=None)
    yield ours
    ours.api.close()


@pytest.fixture(
    params=[
        pytest.param("published", marks=pytest.mark.needs_published_client),
        "ours",
        "ours, polls as documented",
    ]
)
def application(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[Application]:
    sandbox.auto = "approve"
    with client_of(request.param, sandbox) as client:
        yield Application(client, URLSafeSerializer("a key of the application"))


def test_who_has_approved_is_admitted_until_the_logout(sandbox: Sandbox, application: Application) -> None:
    token = application.login("alice")
    assert token is not None
    assert application.admits(token, "alice")
    assert application.admits(token, "alice")
    assert application.logout(token) is True
    assert sandbox.wait_for_end("alice").status is SessionStatus.CLOSED
    assert not application.admits(token, "alice")
    assert application.logout(token) is False


@pytest.mark.parametrize("answer", ["deny", "ignore"])
def test_who_has_not_approved_gets_no_token(sandbox: Sandbox, application: Application, answer: str) -> None:
    sandbox.auto, sandbox.request_timeout = answer, 0.2
    assert application.login("alice") is None


def test_who_walks_away_is_no_longer_admitted(sandbox: Sandbox, application: Application) -> None:
    token = application.login("alice") or ""
    sandbox.walk_away("alice")
    assert not application.admits(token, "alice")


def test_a_session_that_is_ended_at_iampass_admits_nobody(sandbox: Sandbox, application: Application) -> None:
    token = application.login("alice") or ""
    sandbox.delete_user("alice")
    assert not application.admits(token, "alice")


def test_a_token_admits_only_its_own_user_and_only_unchanged(
    sandbox: Sandbox, application: Application
) -> None:
    token = application.login("alice") or ""
    polls = sandbox.sessions[0].polls
    assert not application.admits(token, "bob")
    assert not application.admits(token[:-2], "alice")
    assert sandbox.sessions[0].polls == polls, "neither is worth a call"

"""Each call is on the wire what the published client's is."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pam_iampass.client import AuthenticationAPI, AuthenticationMethod, ManagementAPI, Session
from tests.client.talk import APPLICATION, SECRET, SESSION_SECRET, TOKEN, started, transport_to
from tests.client.test_authentication import signature_holds
from tests.sandbox.witness import Witness, witness_python
from tests.support.sandbox import Sandbox
from tests.support.scripted_server import Request, ScriptedServer, Step, answer, scripted_server

# What says which program calls, and over what kind of connection, differs by its nature.
OWN = {"user-agent", "connection"}
SIGNED = {"authentication", "x-iampass-authentication-timestamp"}

DONE = answer(200, {"status": True})
ADDED = answer(200, {"status": True, "users": {"created": ["x"], "existing": []}})
LINKED = answer(200, {"status": True, "register_url": "https://iam-api.com/register/1"})
DEVICE = answer(200, {"device_registered": True})
ODD = "al ice/ü?&+%2e@example.com"

pytestmark = pytest.mark.needs_published_client


class Both:
    """The published client and ours, at the same server."""

    def __init__(self, server: ScriptedServer, witness: Witness, ours: list[Any]) -> None:
        self.server = server
        self.witness = witness
        self.ours = ours

    def call(self, step: Step, name: str, *arguments: Any, **named: Any) -> tuple[Request, Request]:
        """What the server got from each."""
        self.server.add(step, step)
        self.witness.call(name, *arguments, **named)
        api = next(each for each in self.ours if hasattr(each, name))
        self._keep(getattr(api, name)(*arguments, **named))
        return self.server.requests[-2], self.server.requests[-1]

    def start(self, user: str, methods: list[str] | None, duration: int | None) -> tuple[Request, Request]:
        step = started(self.server)
        self.server.add(step, step)
        self.witness.call("authenticate_user", user, methods, duration)
        chosen = None if methods is None else [AuthenticationMethod[method] for method in methods]
        self._keep(self.ours[0].authenticate_user(user, chosen, duration))
        return self.server.requests[-2], self.server.requests[-1]

    def _keep(self, result: Any) -> None:
        if isinstance(result, Session):
            self.ours[2:] = [result]


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    with scripted_server() as server, transport_to(server) as transport:
        known = {
            "url": server.url,
            "ca_file": server.ca_file,
            "application_id": APPLICATION,
            "application_secret": SECRET,
        }
        apis = [kind(APPLICATION, SECRET, transport=transport) for kind in (AuthenticationAPI, ManagementAPI)]
        with Witness(witness_python(), cast(Sandbox, SimpleNamespace(**known))) as witness:
            yield Both(server, witness, apis)


def seen(request: Request, client_id: str, secret: str) -> dict[str, Any]:
    """All that must be alike, of a request that is signed rightly."""
    assert signature_holds(request, client_id, secret)
    headers = {name.lower(): value for name, value in request.headers}
    assert len(headers) == len(request.headers)
    assert headers["x-iampass-authentication-timestamp"].isdigit()
    assert headers["user-agent"]
    compared = {name: value for name, value in headers.items() if name not in OWN | SIGNED}
    return {"method": request.method, "target": request.target, "body": request.body, **compared}


def assert_alike(
    requests: tuple[Request, Request], client_id: str = APPLICATION, secret: str = SECRET
) -> None:
    published, own = (seen(request, client_id, secret) for request in requests)
    assert own == published


@pytest.mark.parametrize("user", ["alice", ODD, "\N{GRINNING FACE}", "a'b(c)*~!"])
@pytest.mark.parametrize(
    ("methods", "duration"), [(None, None), ([], 1), (["facial"], None), (["acceptance", "device"], 3600)]
)
def test_a_start(both: Both, user: str, methods: list[str] | None, duration: int | None) -> None:
    assert_alike(both.start(user, methods, duration))


def test_a_poll_and_an_end(both: Both) -> None:
    both.start("alice", None, None)
    polled = answer(200, {"authentication_status": {"session_status": "pending"}})
    assert_alike(both.call(polled, "get_status"), TOKEN, SESSION_SECRET)
    assert_alike(both.call(DONE, "destroy"), TOKEN, SESSION_SECRET)


@pytest.mark.parametrize("users", [["alice"], [ODD, "bob"], ["\N{GRINNING FACE}", 'quo"te\\'], ["a", "a"]])
def test_adding_and_deleting_users(both: Both, users: list[str]) -> None:
    assert_alike(both.call(ADDED, "add_users", users))
    assert_alike(both.call(ADDED, "add_user", users[0]))
    assert_alike(both.call(DONE, "delete_users", users))
    assert_alike(both.call(DONE, "delete_user", users[0]))


@pytest.mark.parametrize("user", ["alice", ODD])
@pytest.mark.parametrize("display_name", [None, "", "Alice A.", ODD])
def test_a_registration_link(both: Both, user: str, display_name: str | None) -> None:
    assert_alike(both.call(LINKED, "get_registration_link", user, display_name))
    named = {"user_id": user, "display_name": display_name}
    assert_alike(both.call(LINKED, "get_registration_link", **named))


@pytest.mark.parametrize("user", ["alice", ODD])
@pytest.mark.parametrize("display_name", [None, "", ODD])
@pytest.mark.parametrize("message", [None, "", "Büro: "])
def test_a_registration_sms(both: Both, user: str, display_name: str | None, message: str | None) -> None:
    assert_alike(both.call(DONE, "send_registration_sms", user, display_name, "+15551234567", message))


@pytest.mark.parametrize("user", ["alice", ODD])
def test_the_question_for_a_device(both: Both, user: str) -> None:
    assert_alike(both.call(DEVICE, "has_registered_mobile_device", user))

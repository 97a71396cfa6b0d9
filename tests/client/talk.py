"""What the tests of the client share: an API object that talks to a scripted server, and answers to play."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

from pam_iampass.client import AuthenticationAPI, Deadline, Session, Status, Transport
from pam_iampass.client.connection import Network
from tests.support.scripted_server import ScriptedServer, Step, answer

APPLICATION, SECRET, USER = "test-application", "application-secret-text", "user-id-text"
TOKEN, SESSION_SECRET = "session-token-text", "session-secret-text"
#: Seconds until the deadline of a call that waits for it: more than a machine stalls.
DEADLINE = 6.0
CONFIDENTIAL = (SECRET, USER, TOKEN, SESSION_SECRET)

_made_with: list[Callable[..., Any]] = [Transport]


@contextmanager
def made_with(make: Callable[..., Any]) -> Iterator[None]:
    """Plays tests with transports that are made by something else."""
    _made_with.append(make)
    try:
        yield
    finally:
        _made_with.pop()


def make_transport(*arguments: Any, **options: Any) -> Transport:
    """A transport of the kind that is tested."""
    transport: Transport = _made_with[-1](*arguments, **options)
    return transport


@contextmanager
def transport_to(server: ScriptedServer, **options: Any) -> Iterator[Transport]:
    """A transport to the server; it waits for nothing between two tries unless a test wants it."""
    options = {"pause": lambda seconds: None, "jitter": lambda: 1.0, "ca_file": server.ca_file, **options}
    if "resolve" in options:
        options["network"] = Network(options.pop("resolve"))
    transport = make_transport(options.pop("url", server.url), **options)
    try:
        yield transport
    finally:
        transport.close()


@contextmanager
def api_to(server: ScriptedServer, **options: Any) -> Iterator[AuthenticationAPI]:
    with transport_to(server, **options) as transport:
        yield AuthenticationAPI(APPLICATION, SECRET, transport=transport)


@contextmanager
def session_on(server: ScriptedServer, **options: Any) -> Iterator[Session]:
    """A pending session, as if it had been started."""
    with transport_to(server, **options) as transport:
        yield Session(
            Status.pending,
            TOKEN,
            SESSION_SECRET,
            f"{server.url}/logout/{TOKEN}",
            f"{server.url}/status/{TOKEN}",
            transport=transport,
        )


def started_members(server: ScriptedServer, **changes: Any) -> dict[str, Any]:
    members = {
        "authenticated": True,
        "session_status": "pending",
        "session_token": TOKEN,
        "session_secret": SESSION_SECRET,
        "status_url": f"{server.url}/status/{TOKEN}",
        "logout_url": f"{server.url}/logout/{TOKEN}",
        **changes,
    }
    return {key: value for key, value in members.items() if value is not ...}


def started(server: ScriptedServer, **changes: Any) -> Step:
    """The answer to a start; `...` for a member leaves it out."""
    return answer(200, {"authentication_status": started_members(server, **changes)})


def polled(status: Any, **options: Any) -> Step:
    return answer(200, {"authentication_status": {"session_status": status}}, **options)


def seconds(count: float) -> Deadline:
    return Deadline.after(count)

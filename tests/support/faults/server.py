"""The server in place of IAMPASS: a scripted server, the sandbox, or none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Callable, Union

from pam_iampass.sandbox.events import Event, EventKind
from tests.client.connect_proxy import ESTABLISHED, connect_proxy
from tests.client.talk import polled, started
from tests.support.faults.case import NONE, Requests
from tests.support.sandbox import Sandbox
from tests.support.scripted_server import ScriptedServer, Step, answer, scripted_server

if TYPE_CHECKING:
    from tests.support.faults.place import Place

#: A step, or a function that makes one if the response contains the server's address.
Part = Union[Step, Callable[[ScriptedServer], Step]]
Serving = Callable[["Place"], AbstractContextManager[object]]

PENDING: Part = started
ACTIVE = polled("active")
ENDED = answer(200, {"status": True})
PAST_THE_PROXY = Requests(starts=1000)


def start_with(**members: Any) -> Part:
    """A valid start except for these members; `...` leaves one out."""
    return lambda server: started(server, **members)


def start_on(origin: str, *keys: str) -> Part:
    """A start whose URLs of these names point to another origin."""
    return lambda server: started(server, **dict.fromkeys(keys, f"{origin}/status/session-token-text"))


def scripted(*parts: Part, **options: Any) -> Serving:
    """A server that plays these steps. Further requests are answered with 500."""

    @contextmanager
    def serve(place: Place) -> Iterator[None]:
        with scripted_server(**options) as server:
            server.add(*(part if isinstance(part, Step) else part(server) for part in parts))
            place.trust(server.ca_file)
            place.settings["server"] = server.url
            place.count = lambda: _counted(server)
            yield

    return serve


def sandbox(
    auto: str = "approve", *, delay: float = 0.0, ahead: float = 0.0, jump: float = 0.0, device: bool = True
) -> Serving:
    """The sandbox, with all users of the place. Its clock is `ahead` by so many seconds, and is set to `jump` seconds
    ahead at the first request."""

    @contextmanager
    def serve(place: Place) -> Iterator[None]:
        def hear(event: Event) -> None:
            if event.kind is EventKind.REQUESTED and jump:
                running.clock_skew = jump

        running = Sandbox("demo", auto=auto, delay=delay, listener=hear)
        running.clock_skew = ahead
        place.sandbox = running
        with running:
            for user in place.users:
                running.add_user(place.token(user), device=device)
            place.trust(str(running.ca_file))
            place.secret = running.application_secret
            place.settings["server"] = running.url
            place.count = lambda: _sum(call.kind for call in running.calls)
            yield

    return serve


def nobody(at: str) -> Serving:
    """No server at this address."""

    @contextmanager
    def serve(place: Place) -> Iterator[None]:
        with scripted_server() as server:
            place.trust(server.ca_file)
            place.settings["server"] = at.format(port=server.port)
            place.count = lambda: _counted(server)
            yield

    return serve


def by_proxy(answered: bytes = ESTABLISHED, *parts: Part, hangs: bool = False, gone: bool = False) -> Serving:
    """A proxy to a scripted server, which answers so; with `gone`, no proxy listens.

    A server that was reached past the proxy has requests that no row expects.
    """

    @contextmanager
    def serve(place: Place) -> Iterator[None]:
        with scripted(*parts)(place):
            port = int(place.settings["server"].rpartition(":")[2])
            with connect_proxy(("127.0.0.1", port), answered, hang=hangs) as proxy:
                place.settings["proxy"] = "http://127.0.0.1:9" if gone else proxy.url
                counted = place.count
                place.count = lambda: counted() if proxy.heads or counted() == NONE else PAST_THE_PROXY
                yield

    return serve


def _counted(server: ScriptedServer) -> Requests:
    return _sum(
        "start" if "/authenticate_user/" in request.target else "poll" if request.method == "GET" else "end"
        for request in server.requests
    )


def _sum(kinds: Iterator[str]) -> Requests:
    found = list(kinds)
    assert set(found) <= {"start", "poll", "end"}, found
    return Requests(found.count("start"), found.count("poll"), found.count("end"))

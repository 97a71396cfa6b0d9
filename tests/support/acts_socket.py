"""The service for the portal at a unix socket, as tests use it."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, TypeVar

from pam_iampass.gateway.base.database import Database
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import KeyFile
from pam_iampass.gateway.base.settings import GatewaySettings
from pam_iampass.gateway.base.upstream import Upstream
from pam_iampass.gateway.people import people
from pam_iampass.gateway.serving import acts_service
from pam_iampass.gateway.serving.acts_calls import CALLS
from pam_iampass.gateway.serving.acts_service import ActsDispatcher, ActsService
from pam_iampass.gateway.sign_in import passkeys, webauthn
from pam_iampass.portal import calls
from pam_iampass.portal.calls import Call
from pam_iampass.portal.gateway import GatewayClient
from pam_iampass.sandbox.sandbox import ServingThread
from pam_iampass.server.messages import IncomingRequest, RefusedRequest
from pam_iampass.server.serving import Bounds, serve
from tests.support.authenticator import Authenticator
from tests.support.world import PATIENCE

T = TypeVar("T")
A = TypeVar("A")
REMOTE = "192.0.2.7"


class RunningActs:
    """The service in a thread, at a socket in `folder`. These users can connect: by default who runs the tests."""

    def __init__(
        self,
        settings: GatewaySettings,
        folder: Path,
        *,
        uids: tuple[int, ...] = (),
        bounds: Bounds = acts_service.BOUNDS,
    ) -> None:
        self.settings = settings
        self.path = folder / "acts.sock"
        self.refused: list[str] = []
        self._owner = acts_service.peers(*(uids or (os.geteuid(),)))
        self._bounds = bounds
        self._server = ServingThread("acts", self._serve)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(128)
        self.path.chmod(0o666)

    def __enter__(self) -> RunningActs:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.path.unlink()

    def stop(self) -> None:
        self._server.stop()

    async def _serve(self, stopping: asyncio.Event, ready: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()

        def refused(_: IncomingRequest, refusal: RefusedRequest) -> None:
            self.refused.append(refusal.reason)

        async with Database(self.settings.database, connections=acts_service.CONNECTIONS) as database:
            iampass = Upstream.of(self.settings)
            self.gateway = Gateway(self.settings, database, KeyFile(self.settings.key), iampass)
            self.service = ActsService(self.gateway, stopping)
            handle = ActsDispatcher(CALLS, self.service, refused).handle
            stop = self.gateway.held.stop
            waking = asyncio.create_task(self.service.wake_pages())
            await serve(handle, self._listener, None, stopping, ready, self._bounds, stop, self._owner)
            waking.cancel()
            await iampass.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What a coroutine returns, in the event loop of the service."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def call(self, call: Call[A]) -> A:
        """The answer to a call of the portal's client. Raises GatewayError."""

        async def go() -> A:
            async with GatewayClient(self.path) as client:
                return await client.call(call)

        return asyncio.run(go())

    def connected(self) -> socket.socket:
        """A connection to the socket."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.path))  # without a time-out, it waits for room in the queue
        connection.settimeout(PATIENCE)
        return connection

    def send(self, data: bytes) -> bytes:
        """What is answered to these bytes, until the connection is closed."""
        with self.connected() as connection:
            connection.sendall(data)
            return received(connection)


def received(connection: socket.socket) -> bytes:
    """All that comes until the other side closes the connection."""
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionError:
        pass
    return found


def request(path: str, body: bytes, *, method: str = "POST", kind: str = "application/json") -> bytes:
    """A request after which the connection is closed."""
    head = f"{method} {path} HTTP/1.1\r\nHost: gateway\r\nContent-Type: {kind}\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass(frozen=True)
class Browser:
    """Where somebody has signed in, with a passkey."""

    acts: RunningActs
    authenticator: Authenticator
    person: str
    token: str

    def act(
        self, name: str, touch: bool = True, phone: str | None = None, **parameters: Any
    ) -> Mapping[str, Any]:
        """What an act results in. Raises GatewayError."""
        touched, once = None, secrets.token_hex(8)
        if touch:
            begun = self.acts.call(calls.BeginAct(self.token, name, parameters, once))
            touched = self.authenticator.get(begun.options)
        return self.acts.call(calls.DoAct(self.token, name, parameters, once, REMOTE, touched, phone)).result

    def look(self, view: str, **filter: Any) -> Sequence[Mapping[str, Any]]:
        """The rows of a view. Raises GatewayError."""
        return self.acts.call(calls.Look(self.token, view, filter)).rows


def signed_in(acts: RunningActs, person: str, *, by_root: bool = False) -> Browser:
    """A new browser in which this person has signed in, with a new passkey."""
    authenticator = with_passkey(acts, person, by_root=by_root)
    binding = secrets.token_urlsafe(32)
    options = acts.call(calls.BeginSignIn(binding)).options
    begun = acts.call(calls.SignIn(binding, authenticator.get(options), REMOTE, "Firefox"))
    assert begun.person == person
    return Browser(acts, authenticator, person, begun.token)


def with_passkey(acts: RunningActs, person: str, *, by_root: bool = False) -> Authenticator:
    """An authenticator with a new passkey of this person, which nobody had to approve."""
    portal = acts.settings.portal
    assert portal is not None
    authenticator = Authenticator(portal.origin)
    acts.run(add_passkey(acts.gateway, authenticator, person, by_root=by_root))
    return authenticator


async def add_passkey(
    gateway: Gateway, authenticator: Authenticator, person: str, *, by_root: bool = False
) -> None:
    """Register a new passkey of this person in an authenticator."""
    portal = gateway.settings.portal
    assert portal is not None
    async with gateway.database.transaction() as connection:
        found = await people.find(gateway, connection, person)
        assert found is not None
        roles = gateway.settings.operators.roles_of(found.groups) if by_root else ()
        owner, challenge = gateway.keys.owner(found.token), secrets.token_bytes(32)
        options = webauthn.creation_options(portal, challenge, person, person, owner, ())
        credential = webauthn.registered(portal, authenticator.create(options), challenge)
        await passkeys.add(gateway, connection, found, credential, "laptop", roles=roles)

"""The https server: the table of calls, the socket that it listens on, its thread with an event loop of its own."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import sys
import threading
from concurrent.futures import Future
from email.utils import formatdate
from typing import Callable, NamedTuple

from aiohttp import web
from multidict import CIMultiDict

from pam_iampass.sandbox import calls, phone
from pam_iampass.sandbox.calls import Backend
from pam_iampass.sandbox.errors import Refusal, SandboxError
from pam_iampass.sandbox.events import EventKind
from pam_iampass.sandbox.protocol import IncomingRequest, ServiceReply

Handler = Callable[[Backend, IncomingRequest], ServiceReply]


class Route(NamedTuple):
    """A method, a path in which ``*`` matches one segment, and the handler."""

    method: str
    path: str
    handler: Handler

    def matches(self, request: IncomingRequest) -> bool:
        """Whether the path matches. Segments are compared without decoding."""
        pattern = self.path.split("/")[1:]
        same = all(part in ("*", segment) for part, segment in zip(pattern, request.segments))
        return len(pattern) == len(request.segments) and same


ROUTES: tuple[Route, ...] = (
    Route("POST", "/authentication/authenticate_user/*/*", calls.start),
    Route("GET", "/session/*/status", calls.poll),
    Route("POST", "/session/*/logout", calls.end),
    Route("POST", "/management/add_users/*", calls.add_users),
    Route("POST", "/management/delete_users/*", calls.delete_users),
    Route("GET", "/management/device_registration_link/*/*", calls.link),
    Route("POST", "/management/send_registration_sms/*/*", calls.sms),
    Route("GET", "/management/has_registered_mobile_device/*/*", calls.device),
    Route("GET", "/management/lost_user_mobile_device/*/*", calls.lost_device),
    Route("GET", "/register/*", phone.registration),
    Route("POST", "/register/*", phone.register_by_link),
    Route("GET", "/phone", phone.page),
    Route("GET", "/phone/events", phone.events),
    Route("GET", "/phone/*", phone.asset),
    Route("POST", "/phone/requests/*/*", phone.decide),
    Route("POST", "/phone/sessions/*/*", phone.move),
    Route("POST", "/phone/register/*", phone.register),
    Route("POST", "/phone/devices/*/*", phone.lose_or_find),
    Route("GET", "/sandbox/requests", phone.list_for_script),
    Route("POST", "/sandbox/requests/*/*", phone.decide_for_script),
    Route("GET", "/sandbox/sessions", phone.list_sessions_for_script),
    Route("POST", "/sandbox/sessions/*/*", phone.move_for_script),
)


def find_route(request: IncomingRequest) -> Route:
    """The route of a request; without one, a route that refuses it with 404 or 405."""
    matching: dict[str, Route] = {}
    for each in ROUTES:
        if each.matches(request):
            matching.setdefault(each.method, each)
    route: Route | None = matching.get(request.method)
    if route is not None:
        return route
    refusal = Refusal(404, "UNKNOWN_CALL", "there is no such call")
    if matching:
        allow = (("Allow", ", ".join(matching)),)
        refusal = Refusal(405, "WRONG_METHOD", f"the method of this call is {' or '.join(matching)}", allow)

    def refuse(backend: Backend, request: IncomingRequest) -> ServiceReply:
        raise refusal

    return Route(request.method, "", refuse)


LOOPBACK_NAMES = ("127.0.0.1", "::1", "localhost")
# How long replies may take after the sandbox stops.
_SHUTDOWN_SECONDS = 1.0


def open_listener(host: str, port: int, allow_remote: bool = False) -> socket.socket:
    """A listening TCP socket. Raises SandboxError."""
    try:
        results = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise SandboxError(f"cannot look up {host}: {error.strerror}") from error
    family, _, _, _, address = results[0]
    if not allow_remote and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise SandboxError(
            f"{host} is not a loopback address: everybody who can reach the sandbox could approve logins."
            " Listen on 127.0.0.1, or use --allow-remote"
        )
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        what = f"cannot listen on {host} port {port}: {error.strerror}"
        raise SandboxError(f"{what}; choose another with --listen") from error
    return listener


def authority(host: str, port: int) -> str:
    """Host and port for a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_unspecified(host: str) -> bool:
    """Whether this means every address of the machine, and is not a name for clients."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return not host


class Dispatcher:
    """Answers requests.

    :param names: the host names of the sandbox, in lower case.
    """

    def __init__(self, backend: Backend, names: frozenset[str]) -> None:
        self._backend = backend
        self._names = names

    async def handle(self, http: web.BaseRequest, stopping: asyncio.Event) -> web.StreamResponse:
        """Answer a request of aiohttp's low-level server, which does not normalise paths.

        Raises HTTPRequestEntityTooLarge (413), which aiohttp answers.

        :param stopping: is set when the sandbox stops.
        """
        request = IncomingRequest(http.method, http.raw_path, http.headers, await http.read())
        reply = self._reply(find_route(request), request)
        if reply.stream is not None:
            return await reply.stream(http, stopping)
        return self._response(reply)

    def _reply(self, route: Route, request: IncomingRequest) -> ServiceReply:
        try:
            # A page of another site whose name resolves to this address must not control the phone.
            request.require_host(self._names)
            return route.handler(self._backend, request)
        except Refusal as refusal:
            what = f"{request.method} {request.target}"
            why = f"{refusal.status} {refusal.reason}, {refusal.detail}"
            self._backend.state.report(EventKind.REFUSED, detail=f"{what}: {why}")
            return ServiceReply.refusing(refusal)

    def _response(self, reply: ServiceReply) -> web.Response:
        """The response, with the date of the sandbox's clock."""
        date = formatdate(self._backend.clock(), usegmt=True)
        own = (("Date", date), ("Content-Type", reply.content_type), ("Cache-Control", "no-store"))
        headers = CIMultiDict((*own, *reply.headers))
        return web.Response(status=reply.status, body=reply.body, headers=headers)


class _TidyServer(web.Server):
    """Closes its side when a client has closed the connection: asyncio before Python 3.11 warns otherwise."""

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        if handler.transport is not None:
            handler.transport.close()
        super().connection_lost(handler, exc)


class Server:
    """Serves on a socket until it is stopped."""

    def __init__(self, dispatcher: Dispatcher, listener: socket.socket, context: ssl.SSLContext) -> None:
        self._dispatcher = dispatcher
        self._listener = listener
        self._context = context
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="iampass-sandbox", daemon=True)
        self._ready: Future[None] = Future()

    def start(self) -> None:
        """Returns when connections are accepted; raises the error that prevents that."""
        self._thread.start()
        self._ready.result()

    def stop(self) -> None:
        """Returns when every connection is closed."""
        if self._loop is not None and self._stopping is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        stopping = self._stopping = asyncio.Event()

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return await self._dispatcher.handle(request, stopping)

        # The low-level server, which does not normalise paths. By itself it takes bodies of 1 MiB at most.
        server = _TidyServer(handle)
        acceptor = await self._loop.create_server(server, sock=self._listener, ssl=self._context)
        self._ready.set_result(None)
        await stopping.wait()
        acceptor.close()
        for connection in server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        if sys.version_info >= (3, 13):
            # Connections in the TLS handshake, which aiohttp does not know yet.
            acceptor.abort_clients()
        await server.shutdown(_SHUTDOWN_SECONDS)

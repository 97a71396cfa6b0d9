"""The https server: the socket that it listens on, its thread with an event loop of its own, and its requests."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import sys
import threading
from concurrent.futures import Future
from email.utils import formatdate

from aiohttp import web
from multidict import CIMultiDict

from pam_iampass.sandbox.backend import Backend
from pam_iampass.sandbox.errors import Refusal, SandboxError
from pam_iampass.sandbox.events import EventKind
from pam_iampass.sandbox.reply import ServiceReply
from pam_iampass.sandbox.request import IncomingRequest
from pam_iampass.sandbox.routes import Route, find_route

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
        headers = CIMultiDict(reply.all_headers(formatdate(self._backend.clock(), usegmt=True)))
        return web.Response(status=reply.status, reason=reply.reason_phrase, body=reply.body, headers=headers)


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

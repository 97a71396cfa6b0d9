"""The https server: routes, the answer to a request, and serving them with aiohttp in the event loop that calls it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import Callable, Generic, TypeVar

from aiohttp import web
from multidict import CIMultiDict

from pam_iampass.server.messages import IncomingRequest, RefusedRequest, Reply

# How long handlers may take to end after the server stops.
_SHUTDOWN_SECONDS = 1.0
_BODY = 1024 * 1024
"""Bytes of a request's body at most, as in aiohttp."""

S = TypeVar("S")
"""The service that the handlers of a table of routes are given."""
Handler = Callable[[S, IncomingRequest], Awaitable[Reply]]


@dataclass(frozen=True)
class Route(Generic[S]):
    """A method, a path in which ``*`` matches one segment, and the handler, which raises RefusedRequest."""

    method: str
    path: str
    handler: Handler[S]

    def matches(self, request: IncomingRequest) -> bool:
        """Whether the path matches. Segments are compared without decoding."""
        pattern = self.path.split("/")[1:]
        same = all(part in ("*", segment) for part, segment in zip(pattern, request.segments))
        return len(pattern) == len(request.segments) and same


def find_handler(routes: Sequence[Route[S]], request: IncomingRequest) -> Handler[S]:
    """The handler of the first route with the path and the method. Raises RefusedRequest (404 or 405)."""
    matching: dict[str, Route[S]] = {}
    for each in routes:
        if each.matches(request):
            matching.setdefault(each.method, each)
    if not matching:
        raise RefusedRequest(404, "UNKNOWN_CALL", "there is no such call")
    if request.method not in matching:
        allow = (("Allow", ", ".join(matching)),)
        raise RefusedRequest(
            405, "WRONG_METHOD", f"the method of this call is {' or '.join(matching)}", allow
        )
    return matching[request.method].handler


class Dispatcher(Generic[S]):
    """Answers requests to a service."""

    def __init__(
        self,
        routes: Sequence[Route[S]],
        service: S,
        names: frozenset[str],
        clock: Callable[[], float],
        refused: Callable[[IncomingRequest, RefusedRequest], None],
    ) -> None:
        """`names` are the host names of the server, in lower case; `clock` returns its Unix time in seconds. `refused`
        is told of each request that is refused."""
        self._routes = routes
        self._service = service
        self._names = names
        self._clock = clock
        self._refused = refused

    async def handle(self, http: web.BaseRequest, stopping: asyncio.Event) -> web.StreamResponse:
        """Answer a request of aiohttp. Raises HTTPRequestEntityTooLarge (413), which aiohttp answers.

        :param stopping: is set when the server stops.
        """
        remote = http.remote or ""
        request = IncomingRequest(http.method, http.raw_path, http.headers.items(), await http.read(), remote)
        return await self.send(http, await self.reply(request), stopping)

    async def reply(self, request: IncomingRequest) -> Reply:
        """The reply to a request, which may be refused."""
        try:
            # A page of another site whose name resolves to this address must not be answered.
            request.require_host(self._names)
            return await find_handler(self._routes, request)(self._service, request)
        except RefusedRequest as refusal:
            self._refused(request, refusal)
            return Reply.refusing(refusal)

    async def send(self, http: web.BaseRequest, reply: Reply, stopping: asyncio.Event) -> web.StreamResponse:
        """The response, with the date of the server's clock; a stream is sent until it or the server ends."""
        date = formatdate(self._clock(), usegmt=True)
        own = (("Date", date), ("Content-Type", reply.content_type), ("Cache-Control", "no-store"))
        headers = CIMultiDict((*own, *reply.headers))
        if reply.stream is None:
            return web.Response(status=reply.status, body=reply.body, headers=headers)
        response = web.StreamResponse(status=reply.status, headers=headers)
        pieces = reply.stream(stopping)
        try:
            with contextlib.suppress(ConnectionError):
                await response.prepare(http)
                async for piece in pieces:
                    await response.write(piece)
        finally:
            await pieces.aclose()
        return response


class _TidyServer(web.Server):
    """Closes its side when a client has closed the connection: asyncio before Python 3.11 warns otherwise."""

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        if handler.transport is not None:
            handler.transport.close()
        super().connection_lost(handler, exc)


async def serve(
    handle: Callable[[web.BaseRequest, asyncio.Event], Awaitable[web.StreamResponse]],
    listener: socket.socket,
    context: ssl.SSLContext,
    stopping: asyncio.Event,
    ready: Callable[[], None],
) -> None:
    """Serve on a socket until `stopping` is set; then return when every connection is closed. A gateway, which anybody
    may connect to, serves with bounds of its own.

    :param ready: is called once connections are accepted.
    """

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        if (request.content_length or 0) > _BODY:  # answered while the client has not sent all of it
            raise web.HTTPRequestEntityTooLarge(_BODY, request.content_length or 0)
        return await handle(request, stopping)

    server = _TidyServer(respond)  # aiohttp's low-level server, which does not normalise paths
    loop = asyncio.get_running_loop()
    acceptor = await loop.create_server(server, sock=listener, ssl=context)
    ready()
    await stopping.wait()
    # A connection that was accepted just now is one of the acceptor's after a turn of the loop. asyncio leaves one that
    # finds the acceptor closed to the garbage collector, and fails there.
    loop.remove_reader(listener)
    await asyncio.sleep(0)
    acceptor.close()
    for connection in server.connections:
        if connection.transport is not None:
            connection.transport.abort()
    if sys.version_info >= (3, 13):
        # Connections in the TLS handshake, which aiohttp does not know yet.
        acceptor.abort_clients()
    await server.shutdown(_SHUTDOWN_SECONDS)

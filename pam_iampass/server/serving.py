"""Serving all who may connect, such as a gateway's hosts: connections are bounded in number, time and size."""

from __future__ import annotations

import asyncio
import functools
import gc
import hashlib
import hmac
import ipaddress
import select
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Callable, Union
from weakref import WeakSet

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from pam_iampass.server.messages import IncomingRequest, bad_request

# How long handlers may take to end after the server stops.
_SHUTDOWN_SECONDS = 1.0
_LOOK_SECONDS = 0.01
_HEAD = 16 * 1024
"""Bytes of the line, the headers and the trailers of a request, all together."""
_ACCEPT_AGAIN_SECONDS = 1.0
"""The pause before connections are accepted again, after all descriptors were in use."""
_UNFREED = 200
"""Connections that have ended and are still in memory, with about 0.1 MB each. One that breaks off leaves exceptions
that refer to each other: Python counts objects, not bytes, and would look for them much later."""


@dataclass(frozen=True)
class Bounds:
    """The bounds of what a server takes from clients, who need no credential for it."""

    connections: int = 4000
    of_one_address: int = 2000
    """Connections of one address, behind which many hosts may be."""
    body: int = 1024 * 1024
    """Bytes of a request's body."""
    lines: int = 200
    """Line breaks that may come without a complete request: a header takes fifty times its size in memory."""
    waiting: int = 8
    """Requests that a client may send on one connection without reading the answers."""
    seconds: float = 10.0
    """The time for a TLS handshake, until the first request of a connection, and for the body of a request."""
    idle_seconds: float = 60.0
    """The time after which a connection is closed on which no further request comes."""


MakeRequest = Callable[..., web.BaseRequest]
"""Makes a request of what aiohttp has read."""
Owner = Callable[[socket.socket, Any], Union[str, None]]
"""Says who has a share of the connections, of one that was accepted from an address; None: it is closed at once."""


class _Connection(web.RequestHandler):
    """aiohttp's side of one connection. aiohttp itself keeps every header of a request, and every request that is sent
    without its answer being read, waits for ever for the first one, and for the rest of a body also when the connection
    is lost."""

    _too_late: asyncio.TimerHandle | None = None
    _incomplete = 0
    """Bytes since the head of a request was complete."""
    _lines = 0
    """The line breaks in them."""

    def __init__(self, server: _Server, bounds: Bounds) -> None:
        # A compressed body would be larger than what was sent.
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            auto_decompress=False,
            keepalive_timeout=bounds.idle_seconds,
            lingering_time=bounds.seconds,
        )
        self._bounds = bounds
        self._work: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._work = self._task_handler
        self._too_late = asyncio.get_running_loop().call_later(self._bounds.seconds, self._end_if_unused)

    def data_received(self, data: bytes) -> None:
        self._lines += data.count(b"\n")
        if self._lines > self._bounds.lines:
            self.abort()
            return
        before = self._request_count
        super().data_received(data)
        self._incomplete += len(data)
        if self._request_count != before:
            self._incomplete = self._lines = 0
        if self._incomplete > _HEAD + self._bounds.body or len(self._messages) > self._bounds.waiting:
            self.abort()

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """As aiohttp, which would also write a traceback for each request that is no HTTP, or breaks off."""
        if not isinstance(kw.get("exc_info"), (HttpProcessingError, ConnectionError)):
            super().log_exception(*args, **kw)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._too_late is not None:
            self._too_late.cancel()
        if self.transport is not None:
            # asyncio before Python 3.11 warns of a side that is not closed.
            self.transport.close()
        if self._work is not None and self._current_request is None:
            self._work.cancel()
        super().connection_lost(exc)
        self._lost.set()

    async def wait_until_ended(self) -> None:
        """Return when the connection is lost, and nothing is done for it any more."""
        await self._lost.wait()
        work, self._work = self._work, None
        if work is not None:
            await asyncio.wait([work])

    @property
    def is_answering(self) -> bool:
        """Whether a request is under way whose response is not sent yet. Before 3.11, aiohttp does not tell."""
        return bool(getattr(self, "_request_in_progress", False))

    def _end_if_unused(self) -> None:
        if not self._request_count:
            self.abort()

    def abort(self) -> None:
        """End the connection now."""
        if isinstance(self.transport, asyncio.Transport):
            self.transport.abort()


class _Server(web.Server):
    """aiohttp's low-level server, which does not normalise paths. It accepts connections itself: asyncio's servers
    count none, and show none before the end of its TLS handshake. It does so in a thread: while an event loop is busy
    its queue of connections fills up, and a client takes a server that does not answer TCP for one that is away."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        listener: socket.socket,
        context: ssl.SSLContext | None,
        bounds: Bounds,
        owner: Owner,
        make_request: MakeRequest | None,
    ) -> None:
        super().__init__(handler, request_factory=make_request or self._request)
        self._listener = listener
        self._context = context
        self._bounds = bounds
        self._owner = owner
        self._accepting = threading.Thread(target=self._accept_all, name="accept", daemon=True)
        self._stopped = threading.Event()
        self._wakes, self._woken = socket.socketpair()
        self._held: set[asyncio.Task[None]] = set()
        self._in_memory: WeakSet[_Connection] = WeakSet()
        self._counting = threading.Lock()
        self._accepted = 0
        self._accepted_of: Counter[str] = Counter()

    def accept(self) -> None:
        """Accept connections from now on, for the event loop that calls this."""
        self._events = asyncio.get_running_loop()
        self._listener.setblocking(False)
        self._accepting.start()

    async def close(self, seconds: float) -> None:
        """Accept no more connections, and end all; one that is being answered after `seconds` at the latest."""
        self._stopped.set()
        self._wakes.close()  # not by shutting the socket down: one that systemd has passed goes on
        self._accepting.join()
        self._listener.close()
        self._woken.close()
        for _ in range(2):  # what was accepted just now becomes a task, which begins its handshake
            await asyncio.sleep(0)
        connections = [each for each in self.connections if isinstance(each, _Connection)]
        until = asyncio.get_running_loop().time() + seconds
        while connections:
            late = asyncio.get_running_loop().time() >= until
            for connection in connections:
                if late or not connection.is_answering:
                    connection.abort()
            connections = [each for each in connections if each.is_answering and not late]
            await asyncio.sleep(_LOOK_SECONDS if connections else 0)
        held = list(self._held)
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        await self.shutdown(_SHUTDOWN_SECONDS)

    def _accept_all(self) -> None:
        poller = select.poll()
        for each in (self._listener, self._woken):
            poller.register(each, select.POLLIN)
        while not self._stopped.is_set():
            poller.poll()
            try:
                sock, address = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue
            except OSError:  # no descriptor is left, or it was stopped
                self._stopped.wait(_ACCEPT_AGAIN_SECONDS)
                continue
            owner = self._owner(sock, address)
            if owner is None:
                sock.close()
                continue
            with self._counting:
                full = self._accepted >= self._bounds.connections
                if full or self._accepted_of[owner] >= self._bounds.of_one_address:
                    sock.close()
                    continue
                self._accepted += 1
                self._accepted_of[owner] += 1
            self._events.call_soon_threadsafe(self._begin, sock, owner)

    def _begin(self, sock: socket.socket, owner: str) -> None:
        task = asyncio.create_task(self._hold(sock, owner))
        self._held.add(task)
        task.add_done_callback(self._held.discard)

    async def _hold(self, sock: socket.socket, owner: str) -> None:
        """One connection, from before its TLS handshake to its end."""
        connection = _Connection(self, self._bounds)
        self._in_memory.add(connection)
        seconds = self._bounds.seconds if self._context else None
        sock.setblocking(False)
        try:
            # Without a type in typeshed.
            loop: Any = asyncio.get_running_loop()
            await loop.connect_accepted_socket(
                lambda: connection, sock, ssl=self._context, ssl_handshake_timeout=seconds
            )
            await connection.wait_until_ended()
        except OSError as failed:  # the handshake
            failed.__traceback__ = None  # it would keep the connection in memory
        finally:
            with self._counting:
                self._accepted -= 1
                self._accepted_of[owner] -= 1
                if not self._accepted_of[owner]:
                    del self._accepted_of[owner]
            if len(self._in_memory) > self._accepted + _UNFREED and not self._stopped.is_set():
                gc.collect()

    def _request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        loop, most = asyncio.get_running_loop(), self._bounds.body
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=most)


@functools.lru_cache(4096)
def owner_of(address: str) -> str:
    """The owner of a share of the connections: an address, or the /64 of one, in which a host may choose."""
    found = ipaddress.ip_address(address.partition("%")[0])
    is_ipv4 = found.version == 4 or getattr(found, "ipv4_mapped", None)
    return address if is_ipv4 else found.exploded[:19]


def by_address(_: socket.socket, address: Any) -> str:
    """The owner of a connection over IP."""
    return owner_of(address[0])


async def serve(
    handle: Callable[[web.BaseRequest, asyncio.Event], Awaitable[web.StreamResponse]],
    listener: socket.socket,
    context: ssl.SSLContext | None,
    stopping: asyncio.Event,
    ready: Callable[[], None],
    bounds: Bounds = Bounds(),  # noqa: B008 - it is frozen
    stopped: Callable[[], None] = lambda: None,
    owner: Owner = by_address,
    make_request: MakeRequest | None = None,
) -> None:
    """Serve on a socket until `stopping` is set; then return when every connection is closed.

    :param context: None for plain http.
    :param ready: is called once connections are accepted.
    :param owner: whose each connection is.
    :param make_request: makes requests of a kind of its own; `handle` is then given these.
    :param stopped: is called when `stopping` is set. Handlers that end within a second after it are still answered.
    """

    async def respond(request: web.BaseRequest) -> web.StreamResponse:
        if (request.content_length or 0) > bounds.body:  # answered while the client has not sent all of it
            return web.Response(status=413)
        try:
            await asyncio.wait_for(request.read(), bounds.seconds)
        except asyncio.TimeoutError:
            raise web.HTTPRequestTimeout from None
        return await handle(request, stopping)

    server = _Server(respond, listener, context, bounds, owner, make_request)
    server.accept()
    try:
        ready()
        await stopping.wait()
        stopped()
    finally:
        await server.close(_SHUTDOWN_SECONDS)


def require_digest(request: IncomingRequest, digest: str) -> None:
    """Refuse a body that has another digest than the query says: only the query is signed."""
    if not hmac.compare_digest(digest.encode(), hashlib.sha256(request.body).hexdigest().encode()):
        raise bad_request("BAD_DIGEST", "body_sha256 must be the SHA-256 of the body")

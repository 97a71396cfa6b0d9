"""Calls of IAMPASS, sent with aiohttp in the gateway's event loop.

Requests and responses, errors and their meaning are those of `pam_iampass.client`. That nothing was sent rests on two
things: the connector below opens TCP itself, since aiohttp does not tell a time-out of TCP from one of TLS; and an
attempt counts as sent before aiohttp is given its connection, be it new or kept alive. Nor is aiohttp left to repeat a
GET (its nonce is used), to take a response without a length (asyncio does not notice a cut), or to use a connection on
which bytes have arrived (it takes them for the next response).
"""

from __future__ import annotations

import asyncio
import enum
import os
import random
import re
import secrets
import select
import socket
import ssl
import time
from collections.abc import Awaitable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Callable, TypeVar
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from yarl import URL

from pam_iampass.client.application import Application
from pam_iampass.client.attempts import IDLE_SECONDS, Attempts, Sender
from pam_iampass.client.call import ATTEMPTS, Call
from pam_iampass.client.connection import (
    LIMIT,
    USUAL,
    Attempt,
    Deadline,
    Network,
    has_body,
    look_up,
    tls_context,
)
from pam_iampass.client.errors import (
    Declined,
    IampassError,
    LocalFailure,
    NotFound,
    Refused,
    TLSFailure,
    Unavailable,
)
from pam_iampass.client.origin import Origin, split_for_wire
from pam_iampass.gateway.base import metrics, tcp
from pam_iampass.gateway.base.settings import GatewaySettings

POLLS_AT_ONCE = 400
"""IAMPASS may take 0.1 s for a poll, and there may be thousands in a second."""
_CONNECT_SECONDS = 5.0
_OPTIONS: dict[str, Any] = {"ssl_shutdown_timeout": 1.0}
"""A server that does not say goodbye holds a socket no longer than this."""
_ADDED_BY_AIOHTTP = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")

T = TypeVar("T")
U = TypeVar("U", bound="Upstream")


class Lane(enum.Enum):
    """Calls with connections of their own, which calls of another lane cannot fill."""

    decisions = "decisions"
    """Starts, and what an administrator asks for."""
    ends = "ends"
    """Ends of sessions. A start waits for none of them."""
    polls = "polls"
    approved = "approved"
    """Polls of approved sessions. A person who has just answered waits for none of them."""


class Upstream(Sender):
    """IAMPASS, with one application. To be made, used and closed in one event loop."""

    def __init__(
        self,
        server: str,
        application_id: str,
        application_secret: str,
        ca_file: str | os.PathLike[str] | None = None,
        proxy: str | None = None,
        *,
        previous_secret: str = "",
        connections: Mapping[Lane, int] | None = None,
        connect_seconds: float = _CONNECT_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
        wall_clock: Callable[[], float] = time.time,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        nonce: Callable[[], int] = lambda: secrets.randbits(64),
        network: Network = USUAL,
    ) -> None:
        """As `Transport` and `AuthenticationAPI`. `connections` is the most of each lane. Of `network`, only lookups
        are used. Raises ValueError for an invalid argument, and TLSFailure for a `ca_file` without certificates."""
        super().__init__(server, wall_clock, jitter, nonce)
        self.application = Application(self.origin, application_id, application_secret)
        """Builds the calls that are signed with its secret."""
        self.failing_since: float | None = None
        """`time.monotonic()` of the first attempt that has failed since one was answered; None if none has."""
        self.say: Callable[[str, str], object] = lambda what, why: None
        """As `Database.say`."""
        self.used_previous_secret = False
        """Whether the last such call was rejected with the secret, and not with the previous one."""
        self._previous_secret = previous_secret
        self._pause = pause
        self._route = _Route(self.origin, ca_file, proxy, connect_seconds, network)
        limits = connections or {}
        self._sessions = {
            lane: aiohttp.ClientSession(
                connector=_Connector(self._route, limits.get(lane, POLLS_AT_ONCE), idle_seconds),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                timeout=aiohttp.ClientTimeout(total=None),
                skip_auto_headers=_ADDED_BY_AIOHTTP,
            )
            for lane in Lane
        }

    @classmethod
    def of(cls: type[U], settings: GatewaySettings) -> U:
        """The IAMPASS and the application that the settings name."""
        return cls(
            settings.server,
            settings.application_id,
            settings.application_secret,
            settings.server_ca_file,
            settings.proxy,
            previous_secret=settings.previous_secret,
            connections=dict.fromkeys((Lane.decisions, Lane.ends), settings.limits.calls_at_once),
        )

    async def close(self) -> None:
        """Closes all connections; calls that are under way fail."""
        for session in self._sessions.values():
            await session.close()
        await self._route.close()

    async def call(
        self,
        call: Call[T],
        seconds: float,
        lane: Lane,
        *,
        attempts: int = ATTEMPTS,
        pause: Callable[[float], Awaitable[object]] | None = None,
    ) -> T:
        """Makes the call, within `seconds`: as `Transport.call`, and for a call of the application once more with
        the previous secret if the other one is rejected with 401. Raises IampassError, with the same truth in
        `may_have_started` and `outage`, and ValueError for a call of another server."""
        if not self.origin.owns(call.url):
            raise ValueError("this call belongs to another server")
        deadline = Deadline.after(seconds)
        of_application = call.secret == self.application.secret
        try:
            result = await self._make(call, deadline, lane, attempts, pause)
        except Refused as refused:
            if refused.status != 401 or not (of_application and self._previous_secret):
                raise
        else:
            self.used_previous_secret &= not of_application
            return result
        try:
            again = replace(call, secret=self._previous_secret)
            result = await self._make(again, deadline, lane, attempts, pause)
        except Unavailable as unavailable:
            unavailable.outage = False  # the request was sent, and refused
            raise
        self.used_previous_secret = True
        return result

    async def _make(
        self,
        call: Call[T],
        deadline: Deadline,
        lane: Lane,
        attempts: int,
        pause: Callable[[float], Awaitable[object]] | None,
    ) -> T:
        following = Attempts(self, call, deadline, attempts)
        while True:
            is_late = deadline.expired
            try:
                result = await self._attempt(call, deadline, lane)
            except IampassError as error:
                if _is_answer(error):
                    self.failing_since = None
                elif self.failing_since is None and not is_late:
                    self.failing_since = time.monotonic()
                if not (is_late or isinstance(error, (Declined, NotFound, Refused))):
                    self.say("IAMPASS does not answer this gateway", str(error))
                wait = following.wait_after(error)
            else:
                self.failing_since = None
                return result
            if wait is not None:
                await (pause or self._pause)(wait)

    async def _attempt(self, call: Call[T], deadline: Deadline, lane: Lane) -> T:
        if deadline.expired:
            raise Unavailable(f"{call.name}: no time is left for it", timed_out=True)
        attempt = _Attempt(call.name, deadline, self.origin.authority)
        nonce, headers = self.signed(call)
        exchange = _exchange(call, headers, attempt, self._sessions[lane])
        with metrics.timed(call.name):
            try:
                status, received, body = await asyncio.wait_for(exchange, deadline.remaining())
            except (OSError, aiohttp.ClientError, ValueError) as error:
                raise attempt.failed(error) from None
            return self.read(call, nonce, status, received, body)


def _is_answer(error: IampassError) -> bool:
    """Whether IAMPASS has answered what is no success, such as a 404 or a 500."""
    if isinstance(error, Unavailable):
        return error.status is not None
    return not isinstance(error, (TLSFailure, LocalFailure))


async def _exchange(
    call: Call[Any], headers: dict[str, str], attempt: _Attempt, session: aiohttp.ClientSession
) -> tuple[int, Mapping[str, str], bytes]:
    """Sends the request; the response's status, headers and body, which only a 2xx, 4xx or 5xx has."""
    url = URL(call.url, encoded=True)
    if url.raw_path_qs != split_for_wire(call.url)[1]:
        raise attempt.invalid("a URL that aiohttp would change")
    headers = {**headers, "Accept-Encoding": "identity"}
    _ATTEMPT.set(attempt)
    async with session.request(
        call.method, url, data=call.body, headers=headers, allow_redirects=False
    ) as response:
        body = b""
        if has_body(response.status):
            if not _says_where_it_ends(response):
                raise attempt.unavailable("the response does not say where it ends")
            body = await response.read()
        if attempt.received > LIMIT:
            raise attempt.too_large()
        return response.status, response.headers, body


def _says_where_it_ends(response: aiohttp.ClientResponse) -> bool:
    """Whether a response that was cut short is noticed: asyncio does not tell an end of TLS from one of TCP, which
    anybody on the way can cause."""
    chunked = response.headers.get("Transfer-Encoding", "").strip().lower() == "chunked"
    return chunked or "Content-Length" in response.headers or response.status == 204


class _Attempt(Attempt):
    """An attempt with aiohttp."""

    served = False
    """Whether the lane had a connection for it."""
    received = 0
    """Bytes of the response, head included."""
    lost: Exception | None = None
    """The exception with which its connection ended."""

    def failed(self, error: Exception) -> IampassError:
        if self.received > LIMIT:
            return self.too_large()
        if isinstance(self.lost, ssl.SSLError):  # aiohttp's error is a plain OSError
            return super().failed(self.lost)
        if isinstance(error, TimeoutError) and not self.served:
            return self.unavailable("all connections of this kind are in use", timed_out=True)
        if isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError)):
            return self.cut_short()
        return super().failed(error)


_ATTEMPT: ContextVar[_Attempt] = ContextVar("attempt")
"""The attempt that a task makes, for the connector."""


class _Protocol(ResponseHandler):
    """aiohttp's side of one connection. It takes no more of a response than a client may, and nothing that was not
    asked for."""

    _attempt: _Attempt | None = None
    is_new = True

    def begin(self, attempt: _Attempt) -> bool:
        """Whether this attempt can use the connection: it must be open, and a used one have nothing left to read."""
        if not self.is_connected() or (not self.is_new and (self.should_close or self._has_input())):
            return False
        self._attempt, self.is_new = attempt, False
        return True

    def end_attempt(self) -> None:
        """Release the connection: the response is complete, or given up."""
        self._attempt = None

    def _has_input(self) -> bool:
        poller = select.poll()
        if self.transport is not None:
            poller.register(self.transport.get_extra_info("socket"), select.POLLIN)
        return bool(poller.poll(0))

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._attempt is not None and isinstance(exc, Exception):
            self._attempt.lost = exc
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        attempt = self._attempt
        if attempt is not None:
            attempt.received += len(data)
        if attempt is None or attempt.received > LIMIT:
            if self.transport is not None:
                self.transport.abort()
            return
        super().data_received(data)


class _Connector(aiohttp.BaseConnector):
    """The connections of one lane."""

    def __init__(self, route: _Route, limit: int, idle_seconds: float) -> None:
        super().__init__(limit=limit, keepalive_timeout=idle_seconds)
        self._route = route

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Any:
        """A connection to send the request of this task's attempt on. From here on it counts as sent."""
        attempt = _ATTEMPT.get()
        if attempt.sent:
            # aiohttp would repeat a GET whose connection has ended, with a nonce that is used up.
            raise attempt.failed(ConnectionResetError())
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if isinstance(protocol, _Protocol) and protocol.begin(attempt):
                break
            connection.close()
            if not isinstance(protocol, _Protocol) or protocol.is_new:
                raise attempt.failed(ConnectionResetError())
        connection.add_callback(protocol.end_attempt)
        attempt.served = attempt.sent = True
        return connection

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> _Protocol:
        attempt = _ATTEMPT.get()
        attempt.served = True
        return await self._route.open(attempt)


class _Route:
    """The way to the server, through a proxy if there is one."""

    def __init__(
        self,
        origin: Origin,
        ca_file: str | os.PathLike[str] | None,
        proxy: str | None,
        seconds: float,
        network: Network,
    ) -> None:
        self._origin = origin
        self._proxy = Origin.of_proxy(proxy) if proxy is not None else None
        self._context = tls_context(ca_file)
        self._seconds = seconds
        self._network = network
        self._lookup: asyncio.Future[Sequence[Any]] | None = None
        self._thread = ThreadPoolExecutor(1, "lookup")
        self._transports: WeakSet[asyncio.Transport] = WeakSet()

    async def close(self) -> None:
        """End all connections at once, also the ones that wait for the server's goodbye."""
        self._thread.shutdown(wait=False)
        for transport in list(self._transports):
            transport.abort()
        for _ in range(4):  # asyncio closes their sockets later
            await asyncio.sleep(0)

    async def open(self, attempt: _Attempt) -> _Protocol:
        """A connection over which the server, and nobody else, can be spoken to. Raises IampassError."""
        if self._proxy is not None:
            attempt.peer = f"the proxy {self._proxy.authority}"
        sock = await self._open_tcp(attempt, self._proxy or self._origin)
        loop = asyncio.get_running_loop()
        protocol = _Protocol(loop)
        options = {**_OPTIONS, "ssl": self._context, "server_hostname": self._origin.host}
        try:
            if self._proxy is not None:
                await self._ask_for_tunnel(attempt, sock)
            attempt.peer = self._origin.authority
            transport, _ = await loop.create_connection(lambda: protocol, sock=sock, **options)
        except BaseException as error:
            sock.close()
            if isinstance(error, (OSError, ValueError)):
                raise attempt.failed(error) from None
            raise
        self._transports.add(transport)
        return protocol

    async def _open_tcp(self, attempt: _Attempt, target: Origin) -> socket.socket:
        step, until = f"looking up {target.host}", attempt.deadline.sooner(self._seconds)
        try:
            addresses = await self._look_up(target)
            step, until = f"connecting to {attempt.peer}", attempt.deadline.sooner(self._seconds)
            return await tcp.first_reachable(addresses, until)
        except OSError as error:
            raise attempt.not_connected(error, step, until, self._seconds) from None

    async def _look_up(self, target: Origin) -> Sequence[Any]:
        """All who need the addresses while they are looked up wait for the same lookup. It has a deadline of its own,
        however long the event loop is held up, and tells a name server that does not answer from a machine that cannot
        ask."""
        if self._lookup is None or self._lookup.done():
            loop = asyncio.get_running_loop()
            self._lookup = loop.run_in_executor(self._thread, self._found, target)
            self._lookup.add_done_callback(lambda lookup: lookup.cancelled() or lookup.exception())
        return await asyncio.shield(self._lookup)

    def _found(self, target: Origin) -> Sequence[Any]:
        return look_up(target, self._network, Deadline.after(self._seconds))

    async def _ask_for_tunnel(self, attempt: _Attempt, sock: socket.socket) -> None:
        """Have the proxy connect to the server."""
        loop, server = asyncio.get_running_loop(), self._origin.authority
        request = f"CONNECT {server} HTTP/1.1\r\nAccept-Encoding: identity\r\nHost: {server}\r\n\r\n"
        await loop.sock_sendall(sock, request.encode())
        head = b""
        while b"\r\n\r\n" not in head:
            data = await loop.sock_recv(sock, LIMIT)
            head += data
            if not head.startswith(b"HTTP/1."[: len(head)]) or len(head) > LIMIT:
                raise attempt.invalid(f"{attempt.peer} sent an invalid response")
            if not data:
                raise ConnectionResetError
        match = re.match(rb"HTTP/1\.[0-9] ([0-9]{3})[ \r]", head)
        if match is None:
            raise attempt.invalid(f"{attempt.peer} sent an invalid response")
        attempt.check_tunnel(int(match[1]))

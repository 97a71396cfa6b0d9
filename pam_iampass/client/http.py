"""Sends calls to one server with http.client, each with a deadline, over connections that are kept alive."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import secrets
import select
import ssl
import time
import weakref
from typing import Callable, TypeVar

from .attempts import DEFAULT_SECONDS, IDLE_SECONDS, Attempts, Sender
from .call import ATTEMPTS, Call
from .connection import USUAL, Deadline, Exchange, Network, TlsSocket, open_tcp, tls_context
from .errors import IampassError, Unavailable
from .origin import Origin, split_for_wire

T = TypeVar("T")

#: How long a certificate that was verified stands for further connections, if the server goes on with the TLS session.
VERIFIED_SECONDS = 3600.0
Observer = Callable[[str, str, float, "IampassError | None"], None]
"""Is told of an attempt: server, name of the call, seconds, and how it has failed, if it has."""


class Transport(Sender):
    """Connections to one server, kept alive. Threads can share the object."""

    def __init__(
        self,
        server: str,
        ca_file: str | os.PathLike[str] | None = None,
        proxy: str | None = None,
        *,
        connections: int = 1,
        connect_seconds: float = 5.0,
        idle_seconds: float = IDLE_SECONDS,
        kept_seconds: float = 0.0,
        wall_clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
        nonce: Callable[[], int] = lambda: secrets.randbits(64),
        clock: Callable[[], float] = time.monotonic,
        context: ssl.SSLContext | None = None,
        network: Network = USUAL,
        observe: Observer = lambda *_attempt: None,
    ) -> None:
        """Makes a transport. `server`, `ca_file` and `proxy` are as for an API object; `context` replaces the
        certificates. `connections` idle connections stay open, and are used again for `idle_seconds`. Calls that can be
        repeated use them for `kept_seconds`, if that is longer: the server must keep them open for longer. `observe` is
        called after each attempt with server, name of the call, seconds, and the failure or None."""
        # Connections, and when a response was last read from them. No thread waits for another.
        self._idle: list[tuple[TlsSocket, float]] = []
        weakref.finalize(self, _close, self._idle)  # unlike __del__, before the sockets are finalized
        # The newest TLS session, and when the server's certificate was verified for it.
        self._session: tuple[ssl.SSLSession, float] | None = None
        super().__init__(server, wall_clock, jitter, nonce)
        self._proxy = Origin.of_proxy(proxy) if proxy is not None else None
        self._context = context or tls_context(ca_file)
        self._network = network
        self._connect_seconds = connect_seconds
        self._most_idle = connections
        self._idle_seconds = idle_seconds
        self._kept_seconds = max(kept_seconds, idle_seconds)
        self._pause = pause
        self._clock = clock
        self._observe = observe

    def close(self) -> None:
        """Closes the idle connections."""
        _close(self._idle)

    def call(
        self,
        call: Call[T],
        deadline: Deadline | None = None,
        *,
        attempts: int = ATTEMPTS,
        pause: Callable[[float], None] | None = None,
    ) -> T:
        """Makes the call.

        The request is sent again only if it can be repeated, if no byte was sent, or after a complete 429 to a request
        that asks no phone. A 401 from a server whose clock differs much is followed by one more attempt, with the
        server's time.
        """
        deadline = deadline or Deadline.after(DEFAULT_SECONDS)
        following = Attempts(self, call, deadline, attempts)
        while True:
            try:
                return self._observed(call, deadline)
            except IampassError as error:
                wait = following.wait_after(error)
            if wait is not None:
                (pause or self._pause)(wait)

    def _observed(self, call: Call[T], deadline: Deadline) -> T:
        began = time.monotonic()
        try:
            result = self._attempt(call, deadline)
        except IampassError as error:
            self._observe(self.origin.authority, call.name, time.monotonic() - began, error)
            raise
        self._observe(self.origin.authority, call.name, time.monotonic() - began, None)
        return result

    def _attempt(self, call: Call[T], deadline: Deadline) -> T:
        if deadline.expired:
            raise Unavailable(f"{call.name}: no time is left for it", timed_out=True)
        nonce, headers = self.signed(call)
        exchange = Exchange(call.name, deadline, self.origin.authority, self._kept_alive(call))
        is_new, reusable = exchange.sock is None, False
        try:
            if is_new:
                self._connect(exchange)
            if call.held:
                exchange.sock.until_readable = call.until_readable
            exchange.sent = True  # before the request: one that fails may have left in part
            response, body = exchange.ask(call.method, split_for_wire(call.url)[1], headers, call.body)
            if is_new and exchange.sock.session is not None:
                self._session = exchange.sock.session, exchange.sock.verified
            reusable = response.isclosed() and not response.will_close and len(self._idle) < self._most_idle
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise exchange.failed(error) from None
        finally:
            if reusable:
                exchange.sock.until_readable = None
                self._idle.append((exchange.sock, self._clock()))
            elif exchange.sock is not None:
                exchange.sock.close()
        return self.read(call, nonce, response.status, response.headers, body)

    def _kept_alive(self, call: Call[T]) -> TlsSocket | None:
        """An idle connection that the server has neither closed, nor may be about to close, nor sent more to."""
        longest = self._kept_seconds if call.idempotent else self._idle_seconds
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread may have taken the last one
                sock, used = self._idle.pop()
                poller = select.poll()
                poller.register(sock, select.POLLIN)
                young = self._clock() - used < longest
                if young and not sock.pending() and not poller.poll(0):
                    return sock
                sock.close()
        return None

    def _connect(self, exchange: Exchange) -> None:
        """Opens the socket of an exchange. Raises IampassError, and what `Exchange.failed` takes."""
        server = self.origin.authority
        if self._proxy is not None:
            exchange.peer = f"the proxy {self._proxy.authority}"
        exchange.sock = open_tcp(exchange, self._proxy or self.origin, self._network, self._connect_seconds)
        if self._proxy is not None:
            exchange.check_tunnel(exchange.ask("CONNECT", server, {"Host": server})[0].status)
        exchange.peer = server
        session, verified = self._session or (None, 0.0)
        if self._clock() - verified >= VERIFIED_SECONDS:
            session = None
        exchange.sock = TlsSocket(exchange.sock, self._context, self.origin.host, session)
        exchange.limit_time()
        try:
            goes_on = exchange.sock.do_handshake()
        except OSError:
            self._session = None
            raise
        exchange.sock.verified = verified if goes_on else self._clock()
        if self._kept_seconds > self._idle_seconds:
            exchange.sock.notice_silence()


def _close(idle: list[tuple[TlsSocket, float]]) -> None:
    with contextlib.suppress(IndexError):
        while True:
            idle.pop()[0].close()

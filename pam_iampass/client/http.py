"""Sends calls to one server, each with a deadline, over connections that are kept alive."""

from __future__ import annotations

import contextlib
import http.client
import os
import queue
import random
import secrets
import select
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable, Generic, TypeVar

from pam_iampass import __version__

from .call import ATTEMPTS, CLOCK_TOLERANCE, Call, http_time
from .connection import BODY_LIMIT, Connector, Exchange, Resolver, TLSSocket, tls_context
from .deadline import Deadline
from .errors import Refused, Unavailable
from .origin import Origin, split_for_wire

DEFAULT_SECONDS = 30.0
CONNECT_SECONDS = 5.0
# Shorter than the shortest time for which servers commonly keep an idle connection open (5 s): if a request meets the
# end of its connection, it is lost, and it is unknown whether it was carried out.
IDLE_SECONDS = 4.0
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.25, 2.0

T = TypeVar("T")


@dataclass(frozen=True)
class Reply(Generic[T]):
    """The result of a call."""

    result: T
    clock_offset: float
    """Seconds to add to our clock to get the time with which the server accepted the signature."""


class Transport:
    """Connections to one server, kept alive. Threads may share it."""

    def __init__(
        self,
        server: str,
        ca_file: str | os.PathLike[str] | None = None,
        proxy: str | None = None,
        *,
        connections: int = 1,
        connect_seconds: float = CONNECT_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
        wall_clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
        nonce: Callable[[], int] = lambda: secrets.randbits(64),
        resolve: Callable[..., Sequence[Any]] = socket.getaddrinfo,
    ) -> None:
        """`server` is `https://HOST[:PORT]`, `proxy` `http://HOST:PORT`; `ca_file` replaces the system's
        certificates. `connections` is the number of idle connections that are kept open. `pause` waits between two
        attempts, for the seconds that it is given; an exception that it raises ends the call. Raises ValueError for
        an invalid argument, and TLSFailure if there are no certificates to trust."""
        self.origin = Origin.of(server)
        tunnel = Origin.of_proxy(proxy) if proxy is not None else None
        self._connector = Connector(
            self.origin, tls_context(ca_file), tunnel, Resolver(resolve), connect_seconds
        )
        self._idle: queue.LifoQueue[_Connection] = queue.LifoQueue(connections)
        self._idle_seconds = idle_seconds
        self._wall_clock = wall_clock
        self._pause = pause
        self._jitter = jitter
        self._nonce = nonce
        self._last_date: tuple[str | None, float] = (None, 0.0)

    def close(self) -> None:
        """Closes the idle connections."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    @property
    def clock_offset(self) -> float | None:
        """Seconds that the server's clock is ahead of ours by the Date of its last response; None if there was none."""
        date, ours = self._last_date
        theirs = http_time(date)
        return None if theirs is None else theirs - ours

    def call(
        self,
        call: Call[T],
        deadline: Deadline | None = None,
        *,
        attempts: int = ATTEMPTS,
        pause: Callable[[float], None] | None = None,
        clock_offset: float = 0.0,
    ) -> Reply[T]:
        """Makes the call, within 30 s if no deadline is given. Raises IampassError.

        The request is sent up to `attempts` times: again only if it is idempotent, if nothing was sent, or after a
        complete 429 to a request that rings no phone. With `attempts=1` there is no wait. Apart from that, a 401 by a
        server whose clock differs much from ours is answered by one more attempt with the server's time.

        `pause` replaces that of the transport. It is also called, with 0, twice a second while the server does not
        respond, as long as the call can be abandoned without harm; an exception that it raises ends the call.
        """
        deadline = deadline or Deadline.after(DEFAULT_SECONDS)
        failures = obeyed = 0
        clock_corrected = False
        while True:
            try:
                return Reply(self._attempt(call, deadline, clock_offset, pause), clock_offset)
            except Refused as refused:
                servers = refused.clock_offset or 0.0
                if clock_corrected or refused.status != 401 or abs(servers - clock_offset) <= CLOCK_TOLERANCE:
                    raise
                clock_offset, clock_corrected = servers, True
            except Unavailable as error:
                error.outage = error.outage and not clock_corrected  # that was sent, and refused
                rejected = error.status == 429 and not call.rings
                if rejected and error.retry_after is not None and attempts > 1:
                    # A server that says "now" again and again must not be answered in a tight loop.
                    wait = self._backoff(obeyed - 1) if obeyed else 0.0
                    obeyed += 1
                else:
                    failures += 1
                    if failures >= attempts or not (rejected or _may_repeat(call, error)):
                        raise
                    wait = self._backoff(failures - 1)
                wait = max(wait, error.retry_after or 0.0)
                if wait >= deadline.remaining():
                    raise
                (pause or self._pause)(wait)

    def _backoff(self, retry: int) -> float:
        return self._jitter() * min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2.0 ** min(retry, 10))

    def _attempt(
        self, call: Call[T], deadline: Deadline, clock_offset: float, pause: Callable[[float], None] | None
    ) -> T:
        if deadline.expired:
            raise Unavailable(f"{call.name}: no time is left for it", timed_out=True)
        headers = call.headers(self._nonce(), int(self._wall_clock() + clock_offset))
        headers.update({"Accept-Encoding": "identity", "User-Agent": f"pam-iampass/{__version__}"})
        exchange = Exchange(call, deadline, pause)
        connection = self._take() or _Connection(self._connector)
        try:
            response, body = connection.carry(exchange, headers)
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: an invalid chunk
            connection.close()
            problem = exchange.failed(error, self.origin.authority)
        except BaseException:
            connection.close()
            raise
        else:
            self._keep(connection)
            now = self._wall_clock()
            self._last_date = response.headers.get("Date"), now
            return call.read(response.status, response.headers, body, now)
        raise problem

    def _take(self) -> _Connection | None:
        with contextlib.suppress(queue.Empty):
            while True:
                connection = self._idle.get_nowait()
                if not connection.is_stale(self._idle_seconds):
                    return connection
                connection.close()
        return None

    def _keep(self, connection: _Connection) -> None:
        try:
            if connection.sock is not None:
                self._idle.put_nowait(connection)
        except queue.Full:
            connection.close()


class _Connection(http.client.HTTPSConnection):
    """A connection to the server, opened by the connector for the first call that it carries."""

    def __init__(self, connector: Connector) -> None:
        super().__init__(connector.server.host, connector.server.port, context=connector.context)
        self.sock: TLSSocket | None = None
        self._connector = connector
        self._idle_since = 0.0

    def __del__(self) -> None:
        self.close()

    def is_stale(self, idle_seconds: float) -> bool:
        """Whether the server may be about to close it, has closed it, or has sent more than a response."""
        if self.sock is None or time.monotonic() - self._idle_since >= idle_seconds or self.sock.pending():
            return True
        poller = select.poll()
        poller.register(self.sock, select.POLLIN)
        return bool(poller.poll(0))

    def carry(self, exchange: Exchange, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
        """Sends the request and reads the response. Only a 2xx, 4xx or 5xx has a body.

        Raises OSError, HTTPException, ValueError or IampassError; the connection must be closed then.
        """
        if self.sock is None:
            self.sock = self._connector.connect(exchange)
        self.sock.exchange = exchange
        call = exchange.call
        self.request(call.method, split_for_wire(call.url)[1], call.body, headers)
        with self.getresponse() as response:
            if exchange.ended:
                raise http.client.RemoteDisconnected("the connection ended in the headers")
            lengths = set(response.headers.get_all("Content-Length", []))
            if len(lengths) > 1:
                raise exchange.invalid("the response has two lengths")
            body = b""
            if 200 <= response.status < 300 or 400 <= response.status < 600:
                body = response.read(BODY_LIMIT + 1)
                if len(body) > BODY_LIMIT:
                    raise exchange.too_large()
                if lengths and len(body) < int(lengths.pop()) and "Transfer-Encoding" not in response.headers:
                    raise http.client.IncompleteRead(body)
            else:
                self.close()
        if self.sock is not None:
            del self.sock.exchange  # an idle connection keeps nothing of a login
            self._idle_since = time.monotonic()
        return response, body


def _may_repeat(call: Call[T], error: Unavailable) -> bool:
    """Whether a call that failed may be made again."""
    if error.status is not None:
        return call.idempotent and error.status in (502, 503, 504)
    # After a time-out of connecting, a person is waiting and another attempt would take as long again.
    return call.idempotent or not (error.may_have_started or error.timed_out)

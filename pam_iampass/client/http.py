"""Sends calls to one server with requests, each with a deadline, over connections that are kept alive."""

from __future__ import annotations

import http.client
import os
import random
import secrets
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable, Generic, TypeVar

from pam_iampass import __version__

from .call import ATTEMPTS, CLOCK_TOLERANCE, Call, http_time
from .connection import BODY_LIMIT, Connector, Exchange, Resolver, TLSSocket, system_bundle, tls_context
from .deadline import Deadline
from .errors import Refused, Unavailable
from .origin import Origin, split_for_wire

# Some versions of requests make a TLS context when imported, and open the file that SSLKEYLOGFILE names.
_key_log = os.environ.pop("SSLKEYLOGFILE", None)
try:
    from requests import PreparedRequest, RequestException
    from requests.adapters import HTTPAdapter
    from urllib3.connection import HTTPSConnection
    from urllib3.connectionpool import HTTPSConnectionPool
    from urllib3.exceptions import HTTPError
finally:
    if _key_log is not None:
        os.environ["SSLKEYLOGFILE"] = _key_log

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
        self._bundle = system_bundle() if ca_file is None else os.fspath(ca_file)
        self._connector = Connector(
            self.origin, tls_context(self._bundle), tunnel, Resolver(resolve), connect_seconds, idle_seconds
        )
        # An adapter without a session: nothing follows redirects, keeps cookies or reads the environment.
        self._adapter = _Adapter(pool_connections=1, pool_maxsize=connections, max_retries=0)
        self._wall_clock = wall_clock
        self._pause = pause
        self._jitter = jitter
        self._nonce = nonce
        self._last_date: tuple[str | None, float] = (None, 0.0)

    def close(self) -> None:
        """Closes the idle connections."""
        self._adapter.close()

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
        request = PreparedRequest()
        request.prepare_method(call.method)
        request.url = call.url  # prepare_url would rewrite what is signed
        request.prepare_headers(headers)
        request.prepare_body(call.body, None)
        with Exchange(call, deadline, pause, self._connector) as exchange:
            try:
                status, answer_headers, body = self._carry(request, exchange)
            except (RequestException, HTTPError, http.client.HTTPException, ValueError) as error:
                problem = exchange.unreadable(error)
            else:
                now = self._wall_clock()
                self._last_date = answer_headers.get("Date"), now
                return call.read(status, answer_headers, body, now)
        raise problem

    def _carry(self, request: PreparedRequest, exchange: Exchange) -> tuple[int, Any, bytes]:
        """Status, headers and body of the response. Only a 2xx, 4xx or 5xx has a body.

        Raises IampassError, RequestException, HTTPError, HTTPException and ValueError; the connection is closed then.
        """
        response = self._adapter.send(request, stream=True, verify=self._bundle).raw
        try:
            if exchange.ended:
                raise exchange.cut_off()
            lengths = set(response.headers.getlist("Content-Length"))
            if len(lengths) > 1:
                raise exchange.invalid("the response has two lengths")
            body = b""
            if 200 <= response.status < 300 or 400 <= response.status < 600:
                body = response.read(BODY_LIMIT + 1, decode_content=False)
                if len(body) > BODY_LIMIT:
                    raise exchange.too_large()
                if lengths and len(body) < int(lengths.pop()) and "Transfer-Encoding" not in response.headers:
                    raise exchange.cut_off()
                response.release_conn()
            return response.status, response.headers, body
        finally:
            response.close()  # with the connection, unless the response was read to its end


class _Connection(HTTPSConnection):
    """A connection to the server, which the connector of the exchange opens that needs it."""

    sock: TLSSocket | None

    def connect(self) -> None:
        """Called by urllib3 and http.client."""
        exchange = Exchange.running()
        self.sock = exchange.connector.connect(exchange)
        self.is_verified = True

    def request(self, method: str, url: str, *arguments: Any, **options: Any) -> None:
        """Called by urllib3. The target is sent as it was signed: urllib3 would write %2f as %2F."""
        exchange = Exchange.running()
        if self.sock is not None and self.sock.is_stale(exchange.connector.idle_seconds):
            self.close()  # it is opened again when the request is sent
        super().request(method, split_for_wire(exchange.call.url)[1], *arguments, **options)


class _Pool(HTTPSConnectionPool):
    ConnectionCls = _Connection


class _Adapter(HTTPAdapter):  # type: ignore[misc]
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Called by requests."""
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"https": _Pool}


def _may_repeat(call: Call[T], error: Unavailable) -> bool:
    """Whether a call that failed may be made again."""
    if error.status is not None:
        return call.idempotent and error.status in (502, 503, 504)
    # After a time-out of connecting, a person is waiting and another attempt would take as long again.
    return call.idempotent or not (error.may_have_started or error.timed_out)

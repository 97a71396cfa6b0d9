"""HTTP through requests, with all that it takes from the environment, guesses or repeats left out.

The adapter is used without a `requests.Session`, which would add cookies, redirects, .netrc and proxies of
the environment. requests and urllib3 see only the origin, never a signed path, so they can neither rewrite
nor log it: the connection puts the exact target on the wire.
"""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .errors import ProtocolError
from .exchange import BODY_LIMIT, Exchange, begin, current, finish
from .origin import split_for_wire


@contextmanager
def _without_key_log() -> Iterator[None]:
    """Some versions of requests make a TLS context when imported, and open the file that SSLKEYLOGFILE
    names."""
    name = os.environ.pop("SSLKEYLOGFILE", None)
    try:
        yield
    finally:
        if name is not None:
            os.environ["SSLKEYLOGFILE"] = name


with _without_key_log():
    import requests
    import requests.adapters
    import urllib3
    import urllib3.connection
    import urllib3.connectionpool
    import urllib3.exceptions


@dataclass(frozen=True)
class Answer:
    """A complete answer with a status of 2xx, 4xx or 5xx; the body of any other status is not read."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Connection(urllib3.connection.HTTPSConnection):
    """Connects as the current exchange says, and sends the target that it names, byte for byte."""

    idle_since = 0.0

    def connect(self) -> None:
        exchange = current()
        self.sock = exchange.connect(exchange)
        self.is_verified = True

    def putrequest(self, method: str, url: str, *arguments: Any, **options: Any) -> None:
        super().putrequest(method, split_for_wire(current().call.url)[1], *arguments, **options)

    def is_stale(self, idle_limit: float) -> bool:
        """May the server be about to close it, or is there something left in it that belongs to no
        request?"""
        if self.sock is None:
            return False
        return time.monotonic() - self.idle_since >= idle_limit or bool(self.sock.pending())  # type: ignore[union-attr]


class _Pool(urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = _Connection

    def _get_conn(self, timeout: Any = None) -> Any:
        connection: Any = super()._get_conn(timeout)
        if connection.is_stale(current().idle_limit):
            connection.close()
        return connection

    def _put_conn(self, connection: Any) -> None:
        if connection is not None:
            connection.idle_since = time.monotonic()
        super()._put_conn(connection)


class _Adapter(requests.adapters.HTTPAdapter):  # type: ignore[misc, unused-ignore]
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"https": _Pool}

    def cert_verify(self, *arguments: Any, **options: Any) -> None:
        """The connection brings its own context; no other certificates are looked for."""


class Wire:
    """Sends one request at a time and thread, and reads its answer. Keeps `connections` connections alive."""

    def __init__(self, connections: int) -> None:
        self._adapter = _Adapter(pool_connections=1, pool_maxsize=connections, max_retries=0)

    def close(self) -> None:
        self._adapter.close()

    def send(self, exchange: Exchange, headers: Mapping[str, str]) -> Answer:
        """Raises Unavailable, TLSFailure or ProtocolError."""
        token = begin(exchange)
        try:
            return self._send(exchange, headers)
        except (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
            problem = exchange.explain(error)
        finally:
            finish(token)
        # Outside of the handler: the errors of requests carry the signed request with them.
        raise problem

    def _send(self, exchange: Exchange, headers: Mapping[str, str]) -> Answer:
        netloc = split_for_wire(exchange.call.url)[0]
        request = requests.PreparedRequest()
        request.prepare(
            method=exchange.call.method,
            url=f"https://{netloc}/",
            headers={**headers, "Host": netloc},
            data=exchange.call.body,
        )
        # The sockets keep the deadline; this timeout is only never in their way.
        response = self._adapter.send(
            request, stream=True, timeout=max(0.001, exchange.deadline.remaining()), proxies={}
        )
        try:
            return _read(response, exchange)
        except BaseException:
            response.raw.close()
            raise


def _read(response: requests.Response, exchange: Exchange) -> Answer:
    if exchange.ended:
        raise urllib3.exceptions.ProtocolError("the connection ended in the head")
    status = response.status_code
    if not (200 <= status < 300 or 400 <= status < 600):
        response.raw.close()
        return Answer(status, response.headers, b"")
    body = response.raw.read(BODY_LIMIT + 1, decode_content=False)
    if len(body) > BODY_LIMIT:
        raise ProtocolError(
            f"{exchange.call.name}: the answer is larger than {BODY_LIMIT // 1024} KiB", may_have_started=True
        )
    if response.raw.length_remaining:
        raise urllib3.exceptions.ProtocolError("the connection ended in the body")
    return Answer(status, response.headers, body)

"""HTTP as a transport adapter of requests, over connections that are kept alive and keep the deadline of each attempt.

The adapter is used without a `requests.Session`, which would add cookies, redirects, .netrc and the proxies of the
environment, and requests are sent byte for byte as they were signed.
"""

from __future__ import annotations

import http.client
import io
import os
import queue
import select
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .attempt import BODY_LIMIT, HttpAttempt, TLSSocket
from .connector import Connector
from .origin import split_for_wire


@contextmanager
def _without_key_log() -> Iterator[None]:
    """Some versions of requests make a TLS context when imported, and open the file that SSLKEYLOGFILE names."""
    name = os.environ.pop("SSLKEYLOGFILE", None)
    try:
        yield
    finally:
        if name is not None:
            os.environ["SSLKEYLOGFILE"] = name


with _without_key_log():
    import requests
    import requests.adapters
    import requests.structures


class _PreparedAttempt(requests.PreparedRequest):  # type: ignore[misc, unused-ignore]
    """An attempt in the form that an adapter takes, without the changes that `prepare` would make to its URL."""

    def __init__(self, attempt: HttpAttempt) -> None:
        super().__init__()
        self.attempt = attempt
        self.method = attempt.request.method
        self.url = attempt.request.url
        self.body = attempt.request.body


class DeadlineAdapter(requests.adapters.BaseAdapter):  # type: ignore[misc, unused-ignore]
    """Sends each attempt over a connection of its own, and keeps up to `connections` idle ones alive."""

    def __init__(self, connector: Connector, connections: int, idle_seconds: float) -> None:
        super().__init__()
        self._connector = connector
        self._idle_seconds = idle_seconds
        self._idle: queue.LifoQueue[Connection] = queue.LifoQueue(connections)

    def send_attempt(self, attempt: HttpAttempt) -> requests.Response:
        """The complete response with a status of 2xx, 4xx or 5xx; the body of any other status is not read.

        Raises Unavailable, TLSFailure, LocalFailure or ProtocolError.
        """
        return self.send(_PreparedAttempt(attempt))

    def send(self, request: requests.PreparedRequest, *_arguments: Any, **_options: Any) -> requests.Response:
        """What requests calls. Its options have no effect: the attempt has its own deadline, and the connector its own
        certificates and proxy."""
        if not isinstance(request, _PreparedAttempt):
            raise TypeError("only what send_attempt prepares can be sent")
        connection = self._take() or Connection(self._connector)
        try:
            response = connection.exchange(request.attempt)
        except (OSError, http.client.HTTPException) as error:
            problem = request.attempt.explain(error)
        else:
            self._keep(connection)
            response.request = request
            return response
        raise problem

    def close(self) -> None:
        """Closes the idle connections."""
        while (connection := self._pop()) is not None:
            connection.close()

    def _take(self) -> Connection | None:
        while (connection := self._pop()) is not None:
            if not connection.is_stale(self._idle_seconds):
                return connection
            connection.close()
        return None

    def _pop(self) -> Connection | None:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return None

    def _keep(self, connection: Connection) -> None:
        try:
            self._idle.put_nowait(connection)
        except queue.Full:
            connection.close()


class Connection(http.client.HTTPConnection):
    """A connection to the server, opened by the connector for the first attempt that it carries."""

    sock: TLSSocket | None

    def __init__(self, connector: Connector) -> None:
        super().__init__(connector.server.host, connector.server.port)
        self._connector = connector
        self._attempt: HttpAttempt
        self._idle_since = 0.0

    def connect(self) -> None:
        self.sock = self._connector.connect(self._attempt)

    def is_stale(self, idle_seconds: float) -> bool:
        """Whether the server may be about to close it, has closed it, or has sent more than a response."""
        if self.sock is None or time.monotonic() - self._idle_since >= idle_seconds or self.sock.pending():
            return True
        poller = select.poll()
        poller.register(self.sock, select.POLLIN)
        return bool(poller.poll(0))

    def exchange(self, attempt: HttpAttempt) -> requests.Response:
        """Sends the request and reads the response. Raises OSError, HTTPException or IampassError, and closes then."""
        self._attempt = attempt
        if self.sock is not None:
            self.sock.attempt = attempt
        try:
            host, target = split_for_wire(attempt.request.url)
            headers = {"Host": host, **attempt.headers}
            self.request(attempt.request.method, target, attempt.request.body, headers)
            with self.getresponse() as incoming:
                response = _read(incoming, attempt)
                complete = incoming.isclosed()
        except BaseException:
            self.close()
            raise
        if not complete:
            self.close()
        self._idle_since = time.monotonic()
        return response


def _read(incoming: http.client.HTTPResponse, attempt: HttpAttempt) -> requests.Response:
    if attempt.ended:
        raise http.client.RemoteDisconnected("the connection ended in the headers")
    if len(set(incoming.headers.get_all("Content-Length", []))) > 1:
        raise attempt.invalid("the response has two lengths")
    body = b""
    if 200 <= incoming.status < 300 or 400 <= incoming.status < 600:
        body = incoming.read(BODY_LIMIT + 1)
        if len(body) > BODY_LIMIT:
            raise attempt.too_large()
        if incoming.length:
            raise http.client.IncompleteRead(body, incoming.length)
    response = requests.Response()
    response.status_code = incoming.status
    response.headers = requests.structures.CaseInsensitiveDict(incoming.headers.items())
    response.raw = io.BytesIO(body)
    return response

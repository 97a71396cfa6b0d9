"""HTTP as a transport adapter of requests, over connections that are kept alive.

It is used without a `requests.Session`, which would add cookies, redirects, .netrc and the proxies of the environment.
"""

from __future__ import annotations

import http.client
import io
import queue
import select
import time
from contextlib import suppress
from typing import Any

from .attempt import BODY_LIMIT, HttpAttempt, TLSSocket, requests
from .connector import Connector


class DeadlineAdapter(requests.adapters.BaseAdapter):  # type: ignore[misc, unused-ignore]
    """Sends each attempt over a connection of its own, and keeps up to `connections` idle ones alive."""

    def __init__(self, connector: Connector, connections: int, idle_seconds: float) -> None:
        super().__init__()
        self._connector = connector
        self._idle_seconds = idle_seconds
        self._idle: queue.LifoQueue[Connection] = queue.LifoQueue(connections)

    def send(self, request: Any, *_arguments: Any, **_options: Any) -> requests.Response:
        """The complete response to an HttpAttempt, if its status is 2xx, 4xx or 5xx; else a response without a body.

        The other arguments have no effect: the attempt has its own deadline, the connector its own certificates and
        proxy. Raises Unavailable, TLSFailure, LocalFailure or ProtocolError.
        """
        connection = self._take() or Connection(self._connector)
        try:
            response = connection.exchange(request)
        except ValueError as error:  # from http.client, for a chunk of a negative length
            problem = request.invalid(f"the response is invalid: {error}")
        except (OSError, http.client.HTTPException) as error:
            problem = request.explain(error, self._connector.server.authority)
        else:
            self._keep(connection)
            return response
        raise problem

    def close(self) -> None:
        """Closes the idle connections."""
        with suppress(queue.Empty):
            while True:
                self._idle.get_nowait().close()

    def _take(self) -> Connection | None:
        with suppress(queue.Empty):
            while True:
                connection = self._idle.get_nowait()
                if not connection.is_stale(self._idle_seconds):
                    return connection
                connection.close()
        return None

    def _keep(self, connection: Connection) -> None:
        try:
            self._idle.put_nowait(connection)
        except queue.Full:
            connection.close()


class Connection:
    """A connection to the server, opened by the connector for the first attempt that it carries."""

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._sock: TLSSocket | None = None
        self._idle_since = 0.0

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def is_stale(self, idle_seconds: float) -> bool:
        """Whether the server may be about to close it, has closed it, or has sent more than a response."""
        if self._sock is None or time.monotonic() - self._idle_since >= idle_seconds or self._sock.pending():
            return True
        poller = select.poll()
        poller.register(self._sock, select.POLLIN)
        return bool(poller.poll(0))

    def exchange(self, attempt: HttpAttempt) -> requests.Response:
        """Sends the request and reads the response. Raises OSError, HTTPException or IampassError, and closes then."""
        try:
            sock = self._attached_to(attempt)
            sock.sendall(attempt.encoded())
            with http.client.HTTPResponse(sock, method=attempt.method) as incoming:
                incoming.begin()
                response = _read(incoming, attempt)
                reusable = incoming.isclosed() and not incoming.will_close
        except BaseException:
            self.close()
            raise
        if reusable:
            del sock.attempt  # an idle connection keeps nothing of a login
        else:
            self.close()
        self._idle_since = time.monotonic()
        return response

    def _attached_to(self, attempt: HttpAttempt) -> TLSSocket:
        if self._sock is None:
            self._sock = self._connector.connect(attempt)
        self._sock.attempt = attempt
        return self._sock


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
    response.request = attempt
    return response

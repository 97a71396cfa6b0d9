"""Bounds what a client can send, and how slowly, before the sandbox knows who it is."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from pam_iampass.sandbox.automatic import Behaviour

MOST_BODY_BYTES = 512 * 1024
_MOST_BYTES = MOST_BODY_BYTES + 64 * 1024  # of a whole request
_IDLE_SECONDS = 75.0  # between two requests


class BoundedHandler(web.RequestHandler):
    """One connection. It is broken if a request is too large or takes too long to arrive."""

    __slots__ = ("_behaviour", "_received", "_timer")

    def __init__(self, server: web.Server, behaviour: Behaviour) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), keepalive_timeout=_IDLE_SECONDS)
        self._behaviour = behaviour
        self._received = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > _MOST_BYTES:
            self._break()
            return
        if self._timer is None:
            self._start_timer()
        super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.request_complete()
        super().connection_lost(exc)

    def request_complete(self) -> None:
        """A request has arrived, with its body."""
        self._received = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start_timer(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._behaviour.receive_timeout, self._break)

    def _break(self) -> None:
        if self.transport is not None:
            self.transport.abort()


async def read_body(http: web.BaseRequest) -> bytes:
    """The body of a request, within the bounds. Raises HTTPRequestEntityTooLarge (413)."""
    body: bytes = await http.read()
    if isinstance(http.protocol, BoundedHandler):
        http.protocol.request_complete()
    return body


def bounded_request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    """The request of a connection, as aiohttp's server makes it, with a bound for the body."""
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MOST_BODY_BYTES)

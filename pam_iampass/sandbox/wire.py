"""Answers on the wire, byte for byte where a fault wants it so."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from pam_iampass.sandbox.answer import Answer, reason_phrase
from pam_iampass.sandbox.faults import Fault

_LINGER_ZERO = struct.pack("ii", 1, 0)


class ConnectionWire:
    """The connection of one request.

    :param stopping: is set when the sandbox stops.
    """

    def __init__(self, transport: asyncio.Transport, stopping: asyncio.Event) -> None:
        self._transport = transport
        self._stopping = stopping

    async def send(self, data: bytes) -> None:
        """Send bytes now; raises ConnectionResetError where the caller has left."""
        if self._transport.is_closing():
            raise ConnectionResetError("the caller has left")
        self._transport.write(data)

    async def pause(self, seconds: float | None) -> None:
        """Wait, but not longer than the sandbox runs."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def close(self) -> None:
        """End the connection in good order."""
        self._transport.close()

    def reset(self) -> None:
        """Break the connection: without lingering, the kernel sends RST."""
        connection = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._transport.abort()


class FaultyResponse(web.StreamResponse):
    """A response that a fault sends in its own way, past what aiohttp would make of it."""

    def __init__(self, fault: Fault, data: bytes, wire: ConnectionWire) -> None:
        super().__init__()
        self._fault = fault
        self._data = data
        self._wire = wire

    @property
    def keep_alive(self) -> bool | None:
        """A fault that means to end the connection has done so itself."""
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Sends everything."""
        await self._fault.play(self._wire, self._data)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Has nothing left to send."""


def response_of(answer: Answer, date: str) -> web.StreamResponse:
    """The ordinary response. Its Date is the sandbox's, which may be wrong on purpose."""
    response = web.Response(status=answer.status, reason=reason_phrase(answer.status), body=answer.body)
    for name, value in answer.all_headers(date):
        if name in ("Date", "Content-Type", "Content-Length"):
            response.headers[name] = value
        else:
            response.headers.add(name, value)
    return response

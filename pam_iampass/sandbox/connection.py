"""Responses on the wire, byte by byte where a fault needs that."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from pam_iampass.sandbox.faults import Fault
from pam_iampass.sandbox.reply import Reply

_LINGER_ZERO = struct.pack("ii", 1, 0)


class ClientConnection:
    """The connection of one request.

    :param stopping: is set when the sandbox stops.
    """

    def __init__(self, transport: asyncio.Transport, stopping: asyncio.Event) -> None:
        self._transport = transport
        self._stopping = stopping

    async def send(self, data: bytes) -> None:
        """Send bytes now. Raises ConnectionResetError if the client is gone."""
        if self._transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self._transport.write(data)

    async def pause(self, seconds: float | None) -> None:
        """Wait, at most until the sandbox stops; None waits until then."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def close(self) -> None:
        """Close the connection properly."""
        self._transport.close()

    def reset(self) -> None:
        """Break the connection: without lingering, the kernel sends RST."""
        connection = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._transport.abort()


class FaultyResponse(web.StreamResponse):
    """A response that a fault sends itself, bypassing aiohttp."""

    def __init__(self, fault: Fault, data: bytes, connection: ClientConnection) -> None:
        super().__init__()
        self._fault = fault
        self._data = data
        self._connection = connection

    @property
    def keep_alive(self) -> bool | None:
        """A fault that ends the connection does so itself."""
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send everything."""
        await self._fault.play(self._connection, self._data)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Everything is sent already."""


def response_of(reply: Reply, date: str) -> web.StreamResponse:
    """The ordinary response. Its Date is the sandbox's, which may be wrong on purpose."""
    headers = CIMultiDict(reply.all_headers(date))
    return web.Response(status=reply.status, reason=reply.reason_phrase, body=reply.body, headers=headers)

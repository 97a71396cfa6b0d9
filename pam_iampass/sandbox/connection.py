"""The connection of one request, for faults."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

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

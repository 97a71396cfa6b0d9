"""Sockets that obey the deadline of the exchange that is using them, at every byte.

A socket's own timeout starts afresh with each operation, so a server that drips bytes holds a call for as
long as it likes. These set it, before each operation, to what is left.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Callable

from .exchange import Exchange, current


@contextmanager
def _in_time(sock: socket.socket) -> Iterator[Exchange]:
    exchange = current()
    try:
        sock.settimeout(exchange.time_left())
        yield exchange
    except OSError as error:
        exchange.failure = error
        raise


def _receive(sock: socket.socket, receive: Callable[[], int]) -> int:
    def attempt(seconds: float) -> int:
        sock.settimeout(seconds)
        return receive()

    with _in_time(sock) as exchange:
        count = exchange.in_slices(attempt)
    exchange.note_received(count)
    return count


class PlainSocket(socket.socket):
    """To the server before TLS begins, or to a proxy: carries no request."""

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        receive = super().recv_into
        return _receive(self, lambda: receive(buffer, nbytes, flags))

    def sendall(self, data: Any, flags: int = 0) -> None:
        with _in_time(self):
            super().sendall(data, flags)


class TLSSocket(ssl.SSLSocket):
    """To the server. `sendall` of the base class goes through `send`, a file made from it through
    `recv_into`."""

    def recv_into(self, buffer: Any, nbytes: Any = None, flags: int = 0) -> int:
        receive = super().recv_into
        return _receive(self, lambda: receive(buffer, nbytes, flags))

    def send(self, data: Any, flags: int = 0) -> int:
        with _in_time(self) as exchange:
            # Before the attempt: one that fails may have sent a part.
            exchange.request_sent = True
            return super().send(data, flags)

    def __del__(self) -> None:
        # Where a reset comes between connecting and wrapping, `wrap_socket` raises and leaves the socket
        # open, out of our reach.
        self.close()

"""An address at which connecting times out."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def black_hole() -> Iterator[tuple[str, int]]:
    """An address that answers no attempt to connect: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        try:
            for _ in range(4):
                sock = socket.socket()
                sock.setblocking(False)
                sock.connect_ex(listener.getsockname())
                waiting.append(sock)
            assert select.select([], waiting, [], 60)[1]  # one is connected, and there is no room for more
            yield listener.getsockname()
        finally:
            for sock in waiting:
                sock.close()

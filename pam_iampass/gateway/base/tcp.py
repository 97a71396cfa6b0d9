"""Connecting with TCP in the gateway's event loop, so that a failure tells what it may be taken for."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence
from typing import Any

from pam_iampass.client.connection import Deadline, proving_least


async def first_reachable(addresses: Sequence[Any], until: Deadline) -> socket.socket:
    """A connection to the first address that accepts one. Raises OSError.

    Each address gets the same time, even if the event loop was held up before it: a time-out must prove something.
    """
    problems: list[OSError] = []
    seconds = until.remaining() / max(len(addresses), 1)
    for family, kind, protocol, _, address in addresses:
        try:
            return await _connected(socket.socket(family, kind, protocol), address, seconds)
        except OSError as error:  # asyncio has a text of its own
            problems.append(OSError(error.errno, os.strerror(error.errno)) if error.errno else error)
    raise proving_least(problems)


async def _connected(sock: socket.socket, address: Any, seconds: float) -> socket.socket:
    """The socket, connected. An event loop that was held up sees its time-out first: what the kernel says counts, or
    an attacker who can hold up a gateway could make an outage. Raises OSError."""
    with contextlib.ExitStack() as unless_connected:
        unless_connected.callback(sock.close)
        sock.setblocking(False)
        try:
            await asyncio.wait_for(asyncio.get_running_loop().sock_connect(sock, address), seconds)
        except TimeoutError as error:
            if error.errno is not None or not _has_peer(sock):
                raise
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        unless_connected.pop_all()
        return sock


def _has_peer(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True

"""Many logins at once, from one process: the benchmark speaks the relay protocol with the agent, as doors do."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pam_iampass.agent.wire import Hello
from pam_iampass.outcome import Phase
from tests.support.agent import SOCKET
from tests.support.frames import encode_items


@dataclass
class Login:
    """One login at the agent."""

    user: str
    began: float = 0.0
    begun: float = 0.0
    """The time at which the agent sent its DEADLINE."""
    deadline: float = 0.0
    """The deadline that it sent."""
    ended: float = 0.0
    code: int | None = None
    received: bytearray = field(default_factory=bytearray)


def hello(user: str, *arguments: str) -> bytes:
    """HELLO, with the arguments of the module, and ITEMS of a login through a service that has no prompt."""
    items = {"user": user.encode(), "service": b"bench", "uid": b"0"}
    return Hello(Phase.AUTHENTICATE, 0, arguments).encode().encode() + encode_items(items).encode()


def play(
    users: list[str], timeout: float, meanwhile: Callable[[], None] = lambda: None, *arguments: str
) -> list[Login]:
    """Log all users in at once. `meanwhile` is called about every 10 ms to play the users; `arguments` are those of the
    module."""
    selector = selectors.DefaultSelector()
    logins = []
    for user in users:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(SOCKET))
        login = Login(user, began=time.monotonic())
        connection.sendall(hello(user, *arguments))
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ, login)
        logins.append(login)
    until = time.monotonic() + timeout
    while selector.get_map() and time.monotonic() < until:
        meanwhile()
        for key, _events in selector.select(0.01):
            if _ended(key.fileobj, key.data):
                selector.unregister(key.fileobj)
                key.fileobj.close()
    return logins


def _ended(connection: socket.socket, login: Login) -> bool:
    """Read the received frames. Returns whether the login has its result, or the agent has closed the connection."""
    data = connection.recv(65536)
    login.received += data
    position = 0
    while len(login.received) - position >= 5:
        length = int.from_bytes(login.received[position + 1 : position + 5], "big")
        if len(login.received) - position < 5 + length:
            break
        kind, number = login.received[position : position + 1], login.received[position + 5 : position + 9]
        if kind == b"R":
            login.code = int.from_bytes(number, "big")
            login.ended = time.monotonic()
            return True
        if kind == b"D" and not login.begun:
            login.begun = time.monotonic()
            login.deadline = login.begun + int.from_bytes(number, "big") / 1000
        position += 5 + length
    return not data

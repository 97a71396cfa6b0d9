"""Frames on the socket between the module and a door."""

from __future__ import annotations

import socket
import struct
import time

from pam_iampass.login.application import ApplicationGone
from pam_iampass.relay import protocol
from pam_iampass.relay.protocol import Frame

#: How long the module waits for the first two frames. Seconds.
LOGIN_TIMEOUT = 2.0
#: How long the door may take to read a frame. Seconds.
SEND_TIMEOUT = 5.0
_CREDENTIALS = struct.Struct("3i")


def receive_login(connection: socket.socket) -> tuple[protocol.Hello, dict[str, str]]:
    """Read the first two frames. Raises ApplicationGone and FrameError."""
    until = time.monotonic() + LOGIN_TIMEOUT
    hello = protocol.Hello.decode(receive(connection, until - time.monotonic()))
    return hello, protocol.decode_items(receive(connection, until - time.monotonic()))


def receive(connection: socket.socket, timeout: float) -> Frame:
    """The next frame, whole within `timeout` seconds. Raises ApplicationGone and FrameError."""
    until = time.monotonic() + timeout

    def read(count: int) -> bytes:
        connection.settimeout(max(until - time.monotonic(), 0.001))
        return connection.recv(count)

    try:
        frame = protocol.read_frame(read)
    except OSError as error:
        raise ApplicationGone(f"nothing came from the door: {error.strerror or 'time-out'}") from None
    if frame is None:
        raise ApplicationGone("the application ended")
    return frame


def send(connection: socket.socket, frame: Frame) -> None:
    """Send a frame. Raises ApplicationGone."""
    try:
        connection.settimeout(SEND_TIMEOUT)
        connection.sendall(frame.encode())
    except OSError:
        raise ApplicationGone("the application ended") from None


def peer_credentials(connection: socket.socket) -> tuple[int, int, int]:
    """The process, user and group ids of the peer (SO_PEERCRED, unix(7))."""
    pid, uid, gid = _CREDENTIALS.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return pid, uid, gid

"""Whether the peer of a TCP connection has hung up, as the kernel has it: sock_diag(7), `linux/inet_diag.h`.

Every user may ask about the connections of its own network namespace. Nothing here blocks or raises: where the kernel
does not tell, the peer has not hung up.
"""

from __future__ import annotations

import errno
import socket
import struct
from dataclasses import dataclass

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_ERROR = 2  # NLMSG_ERROR
_REQUEST = 1  # NLM_F_REQUEST
_ESTABLISHED, _CLOSE_WAIT = 1, 8  # tcp_states.h
_ANY_SOCKET = b"\xff" * 8  # INET_DIAG_NOCOOKIE

_HEADER = struct.Struct("=IHHII")
_BODY = struct.Struct("=BBBxI")
_ID = struct.Struct("!HH16s16s")
_STATE, _COOKIE = _HEADER.size + 1, slice(_HEADER.size + 44, _HEADER.size + 52)


@dataclass(frozen=True)
class _Address:
    family: int
    packed: bytes
    interface: int
    """The index of the interface of a link-local address, else 0."""
    port: int


class PeerWatch:
    """Watches one connection: the one that `SSH_CONNECTION` names, and no later one with the same addresses."""

    def __init__(self, ssh_connection: str) -> None:
        """`ssh_connection`: address and port of the client, address and port of the server (ssh(1))."""
        words = ssh_connection.split(" ")
        ends = [_address(*words[:2]), _address(*words[2:])] if len(words) == 4 else []
        peer, own = ends or (None, None)
        self._ends = (own, peer) if own and peer and own.family == peer.family else None
        self._cookie = _ANY_SOCKET

    def has_hung_up(self) -> bool:
        """Whether the peer has closed or reset the connection.

        A connection that is not found counts only if it was seen open before: sshd may be in another namespace.
        """
        found = self._ask()
        seen = self._cookie != _ANY_SOCKET
        if isinstance(found, int):
            return seen and found == errno.ENOENT
        state, cookie = found
        if state == _ESTABLISHED:
            self._cookie = cookie
        return state == _CLOSE_WAIT or (seen and state != _ESTABLISHED)

    def _ask(self) -> tuple[int, bytes] | int:
        """The state and the cookie of the socket, or an errno."""
        if self._ends is None:
            return errno.EINVAL
        request = _request(*self._ends, self._cookie)
        try:
            with socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _SOCK_DIAG
            ) as kernel:
                kernel.sendto(request, (0, 0))
                reply, (sender, _groups) = kernel.recvfrom(1024)
        except OSError:
            return errno.EIO  # not the kernel's word on the connection, whatever the number
        return _parsed(reply) if sender == 0 else errno.EPROTO


def _request(own: _Address, peer: _Address, cookie: bytes) -> bytes:
    """The message that asks for one socket (struct inet_diag_req_v2)."""
    body = _BODY.pack(own.family, socket.IPPROTO_TCP, 0, 0xFFFFFFFF)
    body += _ID.pack(own.port, peer.port, own.packed, peer.packed)
    body += struct.pack("=I", own.interface or peer.interface) + cookie
    return _HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _REQUEST, 1, 0) + body


def _parsed(reply: bytes) -> tuple[int, bytes] | int:
    """The state and the cookie in the kernel's reply, or the errno in it."""
    if len(reply) < _HEADER.size + 4:
        return errno.EPROTO
    kind = _HEADER.unpack_from(reply)[1]
    if kind == _ERROR:
        return -int(struct.unpack_from("=i", reply, _HEADER.size)[0])
    if kind != _BY_FAMILY or len(reply) < _COOKIE.stop:
        return errno.EPROTO
    return reply[_STATE], reply[_COOKIE]


def _address(host: str, port: str) -> _Address | None:
    """An end of a connection; None where it is not one (sshd writes `UNKNOWN` for a pipe)."""
    if not (port.isascii() and port.isdigit() and 0 < len(port) <= 5 and int(port) <= 0xFFFF):
        return None
    host, _percent, scope = host.partition("%")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        interface = socket.if_nametoindex(scope) if scope else 0
        return _Address(family, socket.inet_pton(family, host), interface, int(port))
    except (OSError, ValueError):
        return None

"""The kernel's answers about a connection: whether its client has hung up, and whose the sockets are (sock_diag(7)).

Every user may ask about the connections of its own network namespace. Nothing here blocks or raises: where the kernel
does not tell, the peer has not hung up, and the socket is nobody's.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass

_SOCK_DIAG = 4  # NETLINK_SOCK_DIAG
_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY
_ERROR = 2  # NLMSG_ERROR
_REQUEST = 1  # NLM_F_REQUEST
_ESTABLISHED, _CLOSE_WAIT = 1, 8  # tcp_states.h
_ANY_SOCKET = b"\xff" * 8  # INET_DIAG_NOCOOKIE, and that of AF_UNIX
_UNIX_REQUEST, _UNIX_REPLY = struct.Struct("=BBHIII8s"), struct.Struct("=BBBBI8s")  # linux/unix_diag.h
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr
_SHOW_NAME, _NAME, _SHUTDOWN = 1, 0, 6
_RECEIVES_NO_MORE = 1  # RCV_SHUTDOWN

_HEADER = struct.Struct("=IHHII")
_BODY = struct.Struct("=BBBxI")
_ID = struct.Struct("!HH16s16s")
_STATE, _COOKIE = _HEADER.size + 1, slice(_HEADER.size + 44, _HEADER.size + 52)
_UID, _INODE, _ATTRIBUTES = (_HEADER.size + place for place in (64, 68, 72))  # struct inet_diag_msg
_CONTROL_GROUP = 21  # INET_DIAG_CGROUP_ID


@dataclass(frozen=True)
class _Address:
    family: int
    packed: bytes
    interface: int
    """The index of the interface of a link-local address, else 0."""
    port: int


class TcpClient:
    """The client of the connection that `SSH_CONNECTION` names, and of no later one with the same addresses."""

    def __init__(self, ssh_connection: str) -> None:
        """`ssh_connection`: address and port of the client, address and port of the server (ssh(1))."""
        self._ends = _ends(ssh_connection)
        self._cookie = _ANY_SOCKET

    def has_hung_up(self) -> bool:
        """Whether it has closed or reset the connection.

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
        client, server = self._ends
        reply = _answer(_request(server, client, self._cookie))
        if isinstance(reply, int):
            return reply
        return (reply[_STATE], reply[_COOKIE]) if len(reply) >= _COOKIE.stop else errno.EPROTO


class UnixClient:
    """The client of a connection over AF_UNIX, where `SSH_CONNECTION` has no address: sshd of systemd's ssh generator.

    `sockets` are the sockets of sshd's process, by their inodes. The connection is the only one of them that has a
    name: an accepted one has its listener's, and what sshd makes for itself has none.
    """

    def __init__(self, sockets: Iterable[int]) -> None:
        found = ((number, self._ask(number, _ANY_SOCKET)) for number in sockets)
        named = {
            (number, told.cookie) for number, told in found if not isinstance(told, int) and told.is_named
        }
        self._socket = named.pop() if len(named) == 1 else None

    def has_hung_up(self) -> bool:
        """Whether it has closed the connection, or its half of it."""
        if self._socket is None:
            return False
        found = self._ask(*self._socket)
        return found == errno.ENOENT if isinstance(found, int) else found.is_over

    def _ask(self, number: int, cookie: bytes) -> _UnixSocket | int:
        """The connected socket with this inode, or an errno."""
        if number >= 2**32:
            return errno.EINVAL
        body = _UNIX_REQUEST.pack(socket.AF_UNIX, 0, 0, 1 << _ESTABLISHED, number, _SHOW_NAME, cookie)
        reply = _answer(_HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _REQUEST, 1, 0) + body)
        if isinstance(reply, int):
            return reply
        if len(reply) < _HEADER.size + _UNIX_REPLY.size:
            return errno.EPROTO
        _family, kind, state, _pad, _number, cookie = _UNIX_REPLY.unpack_from(reply, _HEADER.size)
        attributes = _attributes(reply, _HEADER.size + _UNIX_REPLY.size)
        is_connection = kind == socket.SOCK_STREAM and state == _ESTABLISHED
        return _UnixSocket(
            cookie,
            is_named=is_connection and bool(attributes.get(_NAME)),
            is_over=bool(attributes.get(_SHUTDOWN, b"\0")[0] & _RECEIVES_NO_MORE),
        )


@dataclass(frozen=True)
class _UnixSocket:
    cookie: bytes
    is_named: bool
    """Whether it is a connected stream socket with a name."""
    is_over: bool
    """Whether nothing comes from its peer any more."""


@dataclass(frozen=True)
class SocketOwner:
    """The user who has made a socket, and the control group; another process may hold it now."""

    uid: int
    control_group: int
    """The id of the control group of version 2 (cgroups(7)), which is the inode of its folder."""


def owner_of_client(ssh_connection: str) -> SocketOwner | None:
    """The owner of the client's end of a connection, if that end is established here. `ssh_connection` is what the sshd
    at its other end says, on another machine.

    None for link-local addresses too, whose interface only that machine knows, and before Linux 5.8, which tells no
    control groups.
    """
    reply = _established(ssh_connection, of_client=True)
    if reply is None:
        return None
    (uid,) = struct.unpack_from("=I", reply, _UID)
    group = _attributes(reply, _ATTRIBUTES).get(_CONTROL_GROUP, b"")
    return SocketOwner(uid, int.from_bytes(group, sys.byteorder)) if len(group) == 8 else None


def is_served_by(ssh_connection: str, sockets: Collection[int]) -> bool:
    """Whether the server's end of a connection is established here, and is one of these sockets, by their inodes.

    As in `owner_of_client`, an end with a link-local address is not found.
    """
    reply = _established(ssh_connection, of_client=False)
    return reply is not None and struct.unpack_from("=I", reply, _INODE)[0] in sockets


def _established(ssh_connection: str, *, of_client: bool) -> bytes | None:
    """The kernel's answer about one end of a connection, if it is established here."""
    ends = None if "%" in ssh_connection else _ends(ssh_connection)
    if ends is None:
        return None
    client, server = ends
    own, peer = (client, server) if of_client else (server, client)
    reply = _answer(_request(own, peer, _ANY_SOCKET))
    if isinstance(reply, int) or len(reply) < _ATTRIBUTES or reply[_STATE] != _ESTABLISHED:
        return None  # without such a connection, the kernel names one that listens at that port
    return reply


def _attributes(reply: bytes, place: int) -> dict[int, bytes]:
    """The attributes of a reply, which begin at `place`."""
    found: dict[int, bytes] = {}
    while place + _ATTRIBUTE.size <= len(reply):
        length, name = _ATTRIBUTE.unpack_from(reply, place)
        found[name] = reply[place + _ATTRIBUTE.size : place + length]
        place += max(length + 3 & ~3, _ATTRIBUTE.size)
    return found


def _answer(request: bytes) -> bytes | int:
    """The kernel's reply about one socket, or an errno."""
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _SOCK_DIAG) as kernel:
            kernel.sendto(request, (0, 0))
            reply, (sender, _groups) = kernel.recvfrom(1024)
    except OSError:
        return errno.EIO  # not the kernel's word on the connection, whatever the number
    if sender != 0 or len(reply) < _HEADER.size + 4:
        return errno.EPROTO
    kind = _HEADER.unpack_from(reply)[1]
    if kind == _ERROR:
        return -int(struct.unpack_from("=i", reply, _HEADER.size)[0])
    return reply if kind == _BY_FAMILY else errno.EPROTO


def _request(own: _Address, peer: _Address, cookie: bytes) -> bytes:
    """The message that asks for one socket (struct inet_diag_req_v2)."""
    body = _BODY.pack(own.family, socket.IPPROTO_TCP, 0, 0xFFFFFFFF)
    body += _ID.pack(own.port, peer.port, own.packed, peer.packed)
    body += struct.pack("=I", own.interface or peer.interface) + cookie
    return _HEADER.pack(_HEADER.size + len(body), _BY_FAMILY, _REQUEST, 1, 0) + body


def _ends(ssh_connection: str) -> tuple[_Address, _Address] | None:
    """The ends of the client and of the server, as `SSH_CONNECTION` names them."""
    words = ssh_connection.split(" ")
    client, server = (_address(*words[:2]), _address(*words[2:])) if len(words) == 4 else (None, None)
    return (client, server) if client and server and client.family == server.family else None


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

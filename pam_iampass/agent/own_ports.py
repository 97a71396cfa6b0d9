"""Ports that no user can take away, for what a user must not be able to prevent.

A user who takes all ephemeral ports could keep the agent from polling IAMPASS, and so keep a login that the phone has
ended. Logins use none of these ports, because a user who starts many logins could use them up.

Measured on Linux 6.18: a socket that was bound with SO_REUSEPORT and never connected keeps its port. Another user
cannot bind the port; a further socket of the same user can, and it connects while all other ports are taken. An open
connection in reserve would not do, since servers end idle ones after some seconds, nor IP_BIND_ADDRESS_NO_PORT, which
chooses the port only when it connects.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any

from pam_iampass.client.connection import USUAL, Network, socket_of_both_families

#: Ports that the agent keeps for calls about kept sessions: as many of them as are made at the same time.
OWN_PORTS = 8
#: Closing a connection resets it: one that waits for late packets would keep its port from being used again.
_RESET = struct.pack("ii", 1, 0)


class OwnPorts:
    """Some ports, and a network that uses them.

    A user who takes all ephemeral ports makes every connection fail that needs one, and name lookups too. Some ports
    are taken beforehand, by sockets that are never connected; with SO_REUSEPORT further sockets of the same user id,
    and of no other, can use them (socket(7)).
    """

    def __init__(self, usual: Network = USUAL) -> None:
        self._usual = usual
        self._reserved: list[socket.socket] = []
        self._addresses: dict[Any, Any] = {}
        self.network = Network(self._look_up, self._connect)
        """Uses them if there are no others."""
        self._reserve()

    def close(self) -> None:
        """Gives them up."""
        for reserved in self._reserved:
            reserved.close()

    def _look_up(self, host: str, port: int, **options: Any) -> Any:
        """As `Network.getaddrinfo`; the last answer if no name server can be asked."""
        try:
            self._addresses[host, port] = self._usual.getaddrinfo(host, port, **options)
        except socket.gaierror as error:
            if error.errno != socket.EAI_AGAIN or (host, port) not in self._addresses:
                raise
        return self._addresses[host, port]

    def _connect(self, address: tuple[str, int], timeout: float) -> socket.socket:
        """As `socket.create_connection`; from a reserved port if there is no other."""
        try:
            return self._usual.create_connection(address, timeout)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL:
                raise
            problem = error
        self._reserve()
        for reserved in self._reserved:
            sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                sock.settimeout(timeout)
                sock.bind(("", reserved.getsockname()[1]))
                sock.connect(address)
                return sock
            except OSError as error:
                sock.close()
                if error.errno != errno.EADDRNOTAVAIL:  # there is a connection from this port already
                    raise
        raise problem

    def _reserve(self) -> None:
        """Takes ports of both families, as long as there are any."""
        while len(self._reserved) < OWN_PORTS:
            sock = socket_of_both_families(socket.SOCK_STREAM)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                sock.bind(("", 0))
            except OSError:
                sock.close()
                return
            self._reserved.append(sock)

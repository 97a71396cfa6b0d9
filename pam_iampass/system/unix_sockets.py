"""Unix sockets: the ones that systemd has passed to this process, the process at the other end, and datagrams."""

from __future__ import annotations

import os
import socket
import struct

_FIRST = 3  # SD_LISTEN_FDS_START
_CREDENTIALS = struct.Struct("3i")


def passed() -> list[tuple[str, int]]:
    """Names and numbers of the descriptors that systemd has passed, the sockets first (sd_listen_fds_with_names(3)).

    No program inherits them. Empty without systemd.
    """
    count = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdigit():
        return []
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    found = [(names[number] if number < len(names) else "", _FIRST + number) for number in range(int(count))]
    for _name, descriptor in found:
        os.set_inheritable(descriptor, False)
    return found


def peer_credentials(connection: socket.socket) -> tuple[int, int, int]:
    """The process, user and group ids of the peer (SO_PEERCRED, unix(7))."""
    pid, uid, gid = _CREDENTIALS.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return pid, uid, gid


def send_datagram(path: str, datagram: bytes | bytearray, patience: float) -> None:
    """Send a datagram. Raises OSError. While it waits, other threads run."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(patience)
        sender.connect(path)
        sender.send(datagram)


def notify(state: str) -> bool:
    """Tell systemd the state of the service, if it asked for it, as sd_notify(3).

    Any user can fill that socket. sd_notify(3) then blocks, and systemd.daemon.notify with it, while it holds the
    interpreter's lock: no thread of the agent would go on (seen with systemd-python 235, 2026-11-27).
    Returns False if its socket has no room.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return True
    path = address.replace("@", "\0", 1) if address[0] == "@" else address
    try:
        send_datagram(path, state.encode(), patience=0.0)
    except BlockingIOError:
        return False
    except OSError:
        pass  # nobody listens: nothing to wait for
    return True

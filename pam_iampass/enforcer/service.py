"""pam-iampass-enforcer: serves one request of the agent, as root, and ends.

systemd starts one process for each connection to `/run/iampass/enforcer.sock`. Where there is no systemd,
`pam-iampass-enforcer --socket` makes the socket, and a child process for each connection.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import signal
import socket
import struct
import sys
import time

from pam_iampass.enforcer.actions import Enforcer
from pam_iampass.enforcer.protocol import InvalidRequest, Reply, Request, Result, receive_line
from pam_iampass.errors import PamIampassError, StateError
from pam_iampass.system import paths
from pam_iampass.system.service_user import SERVICE_USER
from pam_iampass.system.trusted_folder import trusted_folder

REQUEST_TIMEOUT = 2.0
"""How long the peer may take to send its line. Seconds."""
REPLY_TIMEOUT = 2.0
"""How long it may take to read the answer. Seconds."""
BACKLOG = 128
_PEER = struct.Struct("3i")


def serve(connection: socket.socket, enforcer: Enforcer, allowed_uids: frozenset[int]) -> Reply | None:
    """Serve one request; returns the answer, None where the peer may not ask or has hung up."""
    if _peer_uid(connection) not in allowed_uids:
        print("refused a connection of another user", file=sys.stderr)
        return None
    try:
        request = Request.decode(receive_line(connection, time.monotonic() + REQUEST_TIMEOUT))
    except (InvalidRequest, OSError):
        reply = Reply(Result.FAILED, "invalid request")
    else:
        reply = enforcer.carry_out(request)
    if reply.problem:
        print(reply.problem, file=sys.stderr)
    connection.settimeout(REPLY_TIMEOUT)
    with contextlib.suppress(OSError):
        connection.sendall(reply.encode())
    return reply


def main(arguments: list[str]) -> int:
    """Serve the connection on standard input, or with `--socket` all connections; returns the exit status."""
    parser = argparse.ArgumentParser("pam-iampass-enforcer", description="Ends and locks login sessions.")
    what = "make the socket (default: %(const)s); without this option systemd passes a connection"
    parser.add_argument("--socket", nargs="?", const=paths.ENFORCER_SOCKET, metavar="PATH", help=what)
    path = parser.parse_args(arguments).socket
    try:
        allowed = frozenset({0, _service_uid()})
        if path:
            _serve_all(listen(path), allowed)
        with socket.socket(fileno=os.dup(0)) as connection:
            serve(connection, Enforcer(), allowed)
    except PamIampassError as error:
        print(f"Error: {error.diagnostics()}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Error: {error.strerror}; systemctl start pam-iampass-enforcer.socket", file=sys.stderr)
        return 1
    return 0


def listen(path: str) -> socket.socket:
    """Make the socket at `path`, for the agent's user alone. Raises PamIampassError and OSError."""
    if os.geteuid() != 0:
        raise StateError("pam-iampass-enforcer --socket must start as root", "it ends login sessions")
    os.umask(0o022)  # the agent's user passes these folders, whatever root's umask is
    os.makedirs(paths.LOGINS, mode=0o755, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    with trusted_folder(os.path.dirname(path), 0):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.umask(0o177)
        listener.bind(path)
        os.chown(path, _service_uid(), -1)
        listener.listen(BACKLOG)
    return listener


def _serve_all(listener: socket.socket, allowed_uids: frozenset[int]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no child is waited for
    while True:
        connection, _address = listener.accept()
        with connection:
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # it waits for loginctl
                listener.close()
                serve(connection, Enforcer(), allowed_uids)
                os._exit(0)


def _service_uid() -> int:
    try:
        return pwd.getpwnam(SERVICE_USER).pw_uid
    except KeyError:
        raise StateError(f"there is no user {SERVICE_USER}", "systemd-sysusers") from None


def _peer_uid(connection: socket.socket) -> int:
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(data)[1])

"""The one-shot helper: serves one login, then ends.

It runs as the service user, in a clean process, with the socket to the door as descriptor 0 (`doors/helper.in`,
`docs/relay-protocol.md`).
"""

from __future__ import annotations

import signal
import socket
import sys
import types

from pam_iampass.relay.serve import PamFunction, login_phases, serve


def main(authenticate: PamFunction) -> int:
    """Serve one login on descriptor 0. Returns the exit status: 0 where the login was served, whatever its result."""
    connection = socket.socket(fileno=0)
    signal.signal(signal.SIGTERM, _exit)
    serve(connection, login_phases(authenticate))
    return 0


def _exit(_number: int, _frame: types.FrameType | None) -> None:
    """End as after an error: the login is denied and its IAMPASS session ended."""
    sys.exit(1)

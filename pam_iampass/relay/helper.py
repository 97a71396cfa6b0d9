"""The one-shot helper: serves the login whose door started it, then ends.

It runs as the service user, in a clean process, with the socket to the door as descriptor 0 (`doors/helper.in`,
`docs/relay-protocol.md`).
"""

from __future__ import annotations

import signal
import socket
import sys
import types

from pam_iampass.relay.serve import Authenticate, serve


def main(authenticate: Authenticate) -> int:
    """Serve one login on descriptor 0. The exit status is 0 where the login was served, whatever came of it."""
    connection = socket.socket(fileno=0)
    signal.signal(signal.SIGTERM, _leave)
    serve(connection, authenticate)
    return 0


def _leave(_number: int, _frame: types.FrameType | None) -> None:
    """End as if by an error: the login is denied and its IAMPASS session ended on the way out."""
    sys.exit(1)

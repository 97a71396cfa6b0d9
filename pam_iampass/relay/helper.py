"""The one-shot helper: serves the login whose door started it, then ends.

A door starts it with a clean environment, as root or already as the service user, with the socket as descriptor 0
(`docs/relay-protocol.md`). `prepare` leaves root behind before anything of the login is read.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import types

from pam_iampass.relay.serve import Authenticate, serve
from pam_iampass.system.service_user import SERVICE_USER, become


def main(authenticate: Authenticate) -> int:
    """Serve one login on descriptor 0. The exit status is 0 where the login was served, whatever came of it."""
    connection = socket.socket(fileno=0)
    if os.geteuid() == 0:
        become(SERVICE_USER)
    signal.signal(signal.SIGTERM, _leave)
    serve(connection, authenticate)
    return 0


def _leave(_number: int, _frame: types.FrameType | None) -> None:
    """End as if by an error: the login is denied and its IAMPASS session ended on the way out."""
    sys.exit(1)

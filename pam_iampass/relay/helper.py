"""The one-shot helper: serves one login, then ends.

A door starts it with a clean environment, as root or already as the service user, with the socket as descriptor 0
(`docs/relay-protocol.md`). It drops root before it reads anything of the login.
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
    """Serve one login on descriptor 0. Returns the exit status: 0 where the login was served, whatever its result."""
    connection = socket.socket(fileno=0)
    if os.geteuid() == 0:
        become(SERVICE_USER)
    signal.signal(signal.SIGTERM, _exit)
    serve(connection, authenticate)
    return 0


def _exit(_number: int, _frame: types.FrameType | None) -> None:
    """End as after an error: the login is denied and its IAMPASS session ended."""
    sys.exit(1)

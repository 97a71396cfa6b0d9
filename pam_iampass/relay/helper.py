"""The one-shot helper: serves the login whose door started it, then ends.

It runs as the service user, in a clean process, with the socket to the door as descriptor 0 (`doors/helper.in`,
`docs/relay-protocol.md`).
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import types

SERVICE_USER = "iampass"


def main() -> int:
    """Serve one login on descriptor 0. The exit status is 0 where the login was served, whatever came of it."""
    connection = socket.socket(fileno=0)
    signal.signal(signal.SIGTERM, _leave)
    from pam_iampass.module import pam_sm_authenticate
    from pam_iampass.relay.serve import serve

    serve(connection, pam_sm_authenticate)
    return 0


def become(name: str) -> None:
    """Become the user `name`, for good: groups, group, user. Raises KeyError where there is no such user."""
    import pwd

    account = pwd.getpwnam(name)
    os.setgroups([account.pw_gid])
    os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
    os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)


def _leave(_number: int, _frame: types.FrameType | None) -> None:
    """End as if by an error: the login is denied and its IAMPASS session ended on the way out."""
    sys.exit(1)

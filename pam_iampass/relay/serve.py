"""One login on one connection, from HELLO to RESULT and what is owed after it."""

from __future__ import annotations

import contextlib
import socket
from typing import Callable

from pam_iampass.login.application import ApplicationGone
from pam_iampass.relay.connection import RelayConnection, greet
from pam_iampass.relay.protocol import FrameError

#: `pam_iampass.module.pam_sm_authenticate`, or what stands in for it.
Authenticate = Callable[[RelayConnection, int, "list[str]"], int]


def serve(connection: socket.socket, authenticate: Authenticate, stop: int | None = None) -> None:
    """Read the greeting, let `authenticate` decide, answer, then do what was left for afterwards.

    `stop` is a descriptor that becomes readable when all logins must end.
    Where the door does not keep to the protocol nothing is answered: it denies by itself.
    """
    with connection, contextlib.ExitStack() as after_reply:
        try:
            hello, items = greet(connection)
            handle = RelayConnection(connection, items, after_reply, stop)
            code = authenticate(handle, hello.flags, ["pam_iampass", *hello.arguments])
            handle.answer(code)
        except (ApplicationGone, FrameError):
            return
        finally:
            # The door learns from the end of the stream that nothing more comes; what follows costs it no time.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)

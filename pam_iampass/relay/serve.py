"""One login on one connection: HELLO, RESULT, and what remains to be done after it."""

from __future__ import annotations

import contextlib
import socket
from typing import Callable

from pam_iampass.login.application import ApplicationGone, PamApplication
from pam_iampass.relay.connection import RelayConnection, greet
from pam_iampass.relay.protocol import FrameError

#: `pam_iampass.module.pam_sm_authenticate`, or a substitute.
Authenticate = Callable[[PamApplication, int, "list[str]"], int]


def serve(connection: socket.socket, authenticate: Authenticate, stop: int | None = None) -> None:
    """Read the greeting, call `authenticate` (in any phase), send the result, then run the callbacks of `after_reply`.

    `stop` is a descriptor that becomes readable when all logins must end.
    Where the door breaks the protocol no result is sent, and the door denies.
    """
    with connection, contextlib.ExitStack() as after_reply:
        try:
            hello, items = greet(connection)
            application = RelayConnection(connection, items, after_reply, stop, hello.phase)
            code = authenticate(application, hello.flags, ["pam_iampass", *hello.arguments])
            application.send_result(code)
        except (ApplicationGone, FrameError):
            return
        finally:
            # The door sees the end of the stream and does not wait for the callbacks.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)

"""One call of a PAM function on one connection: HELLO, RESULT, and what remains to be done after it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping
from typing import Callable

from pam_iampass.login.application import ApplicationGone, PamApplication
from pam_iampass.outcome import Phase
from pam_iampass.relay.connection import RelayConnection
from pam_iampass.relay.protocol import FrameError
from pam_iampass.relay.stream import receive_login

#: A `pam_sm_*` function of `pam_iampass.module`, or a substitute.
PamFunction = Callable[[PamApplication, int, "list[str]"], int]


def serve(connection: socket.socket, functions: Mapping[Phase, PamFunction], stop: int | None = None) -> None:
    """Read HELLO and ITEMS, call the function of the phase, send the result, then run the callbacks of `after_reply`.

    `stop` is a descriptor that becomes readable when all logins must end.
    Where the door breaks the protocol or its phase has no function, no result is sent, and the door denies.
    """
    with connection, contextlib.ExitStack() as after_reply:
        try:
            hello, items = receive_login(connection)
            if hello.phase not in functions:
                return
            application = RelayConnection(connection, items, after_reply, stop, hello.phase)
            code = functions[hello.phase](application, hello.flags, ["pam_iampass", *hello.arguments])
            application.send_result(code)
        except (ApplicationGone, FrameError):
            return
        finally:
            # The door sees the end of the stream and does not wait for the callbacks.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)

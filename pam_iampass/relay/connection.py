"""The application of a login (`login.application.PamApplication`), at the other end of a socket."""

from __future__ import annotations

import contextlib
import math
import select
import socket
import time

from pam_iampass.login.application import (
    ApplicationGone,
    ConversationFailed,
    PamMessage,
    PamResponse,
    Stopping,
)
from pam_iampass.outcome import Phase
from pam_iampass.relay import protocol
from pam_iampass.relay.protocol import Frame, FrameError
from pam_iampass.system.inet_diag import PeerWatch

#: How long the module waits for the first two frames. Seconds.
GREETING_TIMEOUT = 2.0
#: How long it waits for the answer to a prompt. Applications have shorter limits of their own. Seconds.
ANSWER_TIMEOUT = 600.0
#: How long the door may take to read a frame. Seconds.
SEND_TIMEOUT = 5.0
#: How often a login that waits looks whether its ssh client has hung up. Seconds.
CLIENT_INTERVAL = 1.0


class RelayConnection:
    """The PAM items and the conversation of the application at the other end of `connection`."""

    PAM_PROMPT_ECHO_OFF = 1
    PAM_PROMPT_ECHO_ON = 2
    PAM_ERROR_MSG = 3
    PAM_TEXT_INFO = 4

    def __init__(
        self,
        connection: socket.socket,
        items: dict[str, str],
        after_reply: contextlib.ExitStack,
        stop: int | None = None,
        phase: Phase = Phase.AUTHENTICATE,
    ) -> None:
        """`stop` is a descriptor that becomes readable when all logins must end."""
        self._connection = connection
        self._items = items
        self._stop = stop
        self.phase = phase
        self.after_reply = after_reply
        self.user = items.get("user")
        self.service = items.get("service")
        self.rhost = items.get("rhost")
        self.tty = items.get("tty")
        self.ruser = items.get("ruser")
        self.env = {"SSH_AUTH_INFO_0": items["ssh_auth_info"]} if "ssh_auth_info" in items else {}
        self._client = PeerWatch(items.get("ssh_connection", ""))
        self._next_look = 0.0 if "ssh_connection" in items else math.inf

    @property
    def real_uid(self) -> int | None:
        """The real user id of the application, None where the door sent none or no valid one."""
        text = self._items.get("uid", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None

    def conversation(self, message: PamMessage, within: float | None = None) -> PamResponse:
        """See `PamApplication.conversation`."""
        if message.msg_style in (self.PAM_TEXT_INFO, self.PAM_ERROR_MSG):
            self._send(protocol.say(message.msg, error=message.msg_style == self.PAM_ERROR_MSG))
            return PamResponse(None)
        self._send(protocol.ask(message.msg, echo=message.msg_style == self.PAM_PROMPT_ECHO_ON))
        if not self._readable(ANSWER_TIMEOUT if within is None else within):
            if within is not None:
                raise ConversationFailed("the prompt was not answered in time")
            raise ApplicationGone("the prompt was not answered in time")
        try:
            answer = protocol.decode_answer(receive(self._connection, GREETING_TIMEOUT))
        except FrameError as error:
            raise ApplicationGone(str(error)) from None
        if answer is None:
            raise ConversationFailed("the application could not ask")
        return PamResponse(answer)

    def set_deadline(self, seconds: float) -> None:
        """See `PamApplication.set_deadline`."""
        self._send(protocol.deadline(seconds))
        self._look_at_client()

    def pause(self, seconds: float) -> None:
        """See `PamApplication.pause`."""
        until = time.monotonic() + seconds
        while True:
            if self._readable(min(until, self._next_look) - time.monotonic()):
                raise ApplicationGone("the application ended")
            if time.monotonic() >= until:
                return
            self._look_at_client()

    def send_result(self, code: int) -> None:
        """Send the result. Raises ApplicationGone."""
        self._send(protocol.result(code))

    def _look_at_client(self) -> None:
        """Look whether the ssh client has hung up: nobody tells PAM. Raises ApplicationGone."""
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + CLIENT_INTERVAL
            if self._client.has_hung_up():
                raise ApplicationGone("the ssh client hung up")

    def _send(self, frame: Frame) -> None:
        send(self._connection, frame)

    def _readable(self, seconds: float) -> bool:
        """Whether data or the end of the stream came from the door within `seconds`. Raises Stopping."""
        poller = select.poll()
        poller.register(self._connection, select.POLLIN | select.POLLHUP | select.POLLERR)
        if self._stop is not None:
            poller.register(self._stop, select.POLLIN)
        ready = [descriptor for descriptor, _event in poller.poll(max(seconds, 0.0) * 1000)]
        if self._stop in ready:
            raise Stopping("pam-iampass-agent is being stopped")
        return bool(ready)


def greet(connection: socket.socket) -> tuple[protocol.Hello, dict[str, str]]:
    """Read the first two frames. Raises ApplicationGone and FrameError."""
    until = time.monotonic() + GREETING_TIMEOUT
    hello = protocol.Hello.decode(receive(connection, until - time.monotonic()))
    return hello, protocol.decode_items(receive(connection, until - time.monotonic()))


def receive(connection: socket.socket, timeout: float) -> Frame:
    """The next frame, whole within `timeout` seconds. Raises ApplicationGone and FrameError."""
    until = time.monotonic() + timeout

    def read(count: int) -> bytes:
        connection.settimeout(max(until - time.monotonic(), 0.001))
        return connection.recv(count)

    try:
        frame = protocol.read_frame(read)
    except OSError as error:
        raise ApplicationGone(f"nothing came from the door: {error.strerror or 'time-out'}") from None
    if frame is None:
        raise ApplicationGone("the application ended")
    return frame


def send(connection: socket.socket, frame: Frame) -> None:
    """Send a frame. Raises ApplicationGone."""
    try:
        connection.settimeout(SEND_TIMEOUT)
        connection.sendall(frame.encode())
    except OSError:
        raise ApplicationGone("the application ended") from None

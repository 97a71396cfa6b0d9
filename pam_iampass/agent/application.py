"""The application of a login (`login.application.PamApplication`), at the other end of a socket."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import select
import socket
import time
from pathlib import Path

from pam_iampass.agent import wire
from pam_iampass.agent.wire import FrameError, receive, send
from pam_iampass.audit.administrator import NO_LOGIN
from pam_iampass.enforcer.protocol import SESSION_ID
from pam_iampass.login.application import (
    ApplicationGone,
    PamMessage,
    PamResponse,
    Stopping,
    Unanswered,
)
from pam_iampass.login.command import described
from pam_iampass.outcome import Phase
from pam_iampass.system.sock_diag import TcpClient, UnixClient, is_served_by
from pam_iampass.system.unix_sockets import peer_credentials

#: How long it waits for the answer to a prompt. Applications have shorter limits of their own. Seconds.
ANSWER_TIMEOUT = 600.0
#: How often a login that waits looks whether its ssh client has hung up. Seconds.
CLIENT_INTERVAL = 1.0
#: What logind makes ids of (session_id_valid in systemd's src/basic/login-util.c).
_XDG_SESSION = re.compile(r"[A-Za-z0-9]{1,64}")
_INODE = re.compile(r"[0-9]{1,10}")


class RemoteApplication:
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
        self.ssh_connection = items.get("ssh_connection")
        self.executable = items.get("executable", "")
        self.command = described(*(items.get(name, "") for name in ("program", "command", "folder")))
        session, xdg_session = items.get("session", ""), items.get("xdg_session", "")
        self.session = session if SESSION_ID.fullmatch(session) else None
        self.xdg_session = xdg_session if _XDG_SESSION.fullmatch(xdg_session) else None
        self.peer_pid = peer_credentials(connection)[0]
        self._sockets = [int(each) for each in items.get("sockets", "").split(" ") if _INODE.fullmatch(each)]
        named = self.ssh_connection or ""
        self._client = UnixClient(self._sockets) if named.startswith("UNKNOWN ") else TcpClient(named)
        self._next_look = 0.0 if "ssh_connection" in items else math.inf

    @property
    def real_uid(self) -> int | None:
        """The real user id of the application, None if the door sent no valid one."""
        return self._number("uid")

    @property
    def login_uid(self) -> int | None:
        """See `PamApplication.login_uid`."""
        return self._of_login("login_uid", "loginuid")

    @property
    def audit_session(self) -> int | None:
        """See `PamApplication.audit_session`."""
        return self._of_login("audit_session", "sessionid")

    def _of_login(self, item: str, file: str) -> int | None:
        """Returns an item of the application's login session, from the kernel. The session of this process is no login:
        the machine was started in it."""
        number = self._number(item)
        try:
            own = int(Path("/proc/self", file).read_text("ascii"))
        except FileNotFoundError:  # a kernel without audit
            own = NO_LOGIN
        return number if number is not None and number < NO_LOGIN and number != own else None

    @property
    def served_connection(self) -> str:
        """See `PamApplication.served_connection`."""
        named = self.ssh_connection or ""
        return named if is_served_by(named, self._sockets) else ""

    def conversation(self, message: PamMessage, within: float | None = None) -> PamResponse:
        """See `PamApplication.conversation`."""
        if message.msg_style in (self.PAM_TEXT_INFO, self.PAM_ERROR_MSG):
            send(self._connection, wire.say(message.msg, error=message.msg_style == self.PAM_ERROR_MSG))
            return PamResponse(None)
        send(self._connection, wire.ask(message.msg, echo=message.msg_style == self.PAM_PROMPT_ECHO_ON))
        if not self._wait(ANSWER_TIMEOUT if within is None else within):
            if within is not None:
                raise Unanswered("the prompt was not answered in time")
            raise ApplicationGone("the prompt was not answered in time")
        try:
            answer = wire.decode_answer(receive(self._connection, wire.RECEIVE_TIMEOUT))
        except FrameError as error:
            raise ApplicationGone(str(error)) from None
        if answer is None:
            raise Unanswered("the application could not ask")
        return PamResponse(answer)

    def set_deadline(self, seconds: float) -> None:
        """See `PamApplication.set_deadline`."""
        send(self._connection, wire.deadline(seconds))
        self._look_at_client()

    def pause(self, seconds: float, woken: int | None = None, /) -> None:
        """See `PamApplication.pause`."""
        until = time.monotonic() + seconds
        while True:
            ready = self._wait(min(until, self._next_look) - time.monotonic(), woken)
            if self._connection.fileno() in ready:
                raise ApplicationGone("the application ended")
            if woken in ready or time.monotonic() >= until:
                return
            self._look_at_client()

    def keep(self, session: str) -> None:
        """See `PamApplication.keep`."""
        send(self._connection, wire.keep(session))

    def pidfd(self) -> int:
        """See `PamApplication.pidfd`."""
        return self._pidfd(self.peer_pid)

    def opener(self) -> tuple[int, int]:
        """See `PamApplication.opener`.

        With keyboard-interactive, sshd asks in a child process. The process that serves the connection
        leads its session (setsid(2)): no other one gets its id while the child is in it. If the leader is outside of
        this PID namespace, getsid(2) returns 0. It is not asked about a child that is outside, whose id is 0: it takes
        0 for the agent itself.
        """
        if not self.peer_pid:
            raise ProcessLookupError(errno.ESRCH, "the process is in another PID namespace")
        in_sshd = "ssh_auth_info" in self._items
        pid = (os.getsid(self.peer_pid) if in_sshd else 0) or self.peer_pid
        return pid, self._pidfd(pid)

    def _pidfd(self, pid: int) -> int:
        descriptor = os.pidfd_open(pid)
        poller = select.poll()
        poller.register(self._connection, select.POLLIN)
        if poller.poll(0):  # the process may have ended before, and its id be in use again
            os.close(descriptor)
            raise ApplicationGone("the application ended")
        return descriptor

    def send_result(self, code: int) -> None:
        """Send the result. Raises ApplicationGone."""
        send(self._connection, wire.result(code))

    def _look_at_client(self) -> None:
        """Look whether the ssh client has hung up: nobody tells PAM. Raises ApplicationGone."""
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + CLIENT_INTERVAL
            if self._client.has_hung_up():
                raise ApplicationGone("the ssh client hung up")

    def _number(self, item: str) -> int | None:
        text = self._items.get(item, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None

    def _wait(self, seconds: float, woken: int | None = None) -> list[int]:
        """Wait for the door, or for the descriptor `woken`; returns the ones that are readable. Raises Stopping."""
        poller = select.poll()
        poller.register(self._connection, select.POLLIN | select.POLLHUP | select.POLLERR)
        if self._stop is not None:
            poller.register(self._stop, select.POLLIN)
        if woken is not None:
            poller.register(woken, select.POLLIN)
        ready = [descriptor for descriptor, _event in poller.poll(max(seconds, 0.0) * 1000)]
        if self._stop in ready:
            raise Stopping("pam-iampass-agent is being stopped")
        return ready

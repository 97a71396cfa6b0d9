"""pam-iampass-agent: serves all logins of this machine from one unprivileged process, each in a thread.

It listens on `/run/iampass/pam.sock`, to which only root can connect. SIGTERM ends all pending logins and their IAMPASS
sessions. After SIGHUP, which an upgrade sends, it goes on until no login is pending.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Mapping
from typing import Callable, Protocol

from pam_iampass.audit.journal import ERROR, WARNING, Journal
from pam_iampass.login.application import ApplicationGone, PamApplication
from pam_iampass.outcome import Phase
from pam_iampass.relay.connection import RelayConnection
from pam_iampass.relay.protocol import GREETING, FrameError
from pam_iampass.relay.stream import peer_credentials, receive_login

#: Logins that may be pending; more are denied with a message.
MOST_PENDING = 1000
#: Denials with a message that may be pending; beyond them a connection is closed, and the door denies.
MOST_DECLINED = 100
#: How long the agent waits for the end of pending logins when it stops. Seconds: a door waits 5 s for the next agent.
STOP_TIMEOUT = 2.0
#: After how many seconds it ends without waiting any longer for a moment in which no login is pending.
MOST_LEAVING = 300.0
#: How often it looks for one. Seconds.
LOOK = 0.5
#: How soon `alive` is called again where systemd's socket had no room: any user can fill it. Seconds.
AGAIN = 0.05


class LoginModule(Protocol):
    """The functions of `pam_iampass.module` that an agent calls. Each returns the PAM code."""

    def pam_sm_authenticate(self, pamh: PamApplication, flags: int, argv: list[str]) -> int:
        """Decide a login."""

    def pam_sm_acct_mgmt(self, pamh: PamApplication, flags: int, argv: list[str]) -> int:
        """Decide a login in sshd's account phase."""

    def pam_sm_open_session(self, pamh: PamApplication, flags: int, argv: list[str]) -> int:
        """Attach a login session to its kept session."""

    def pam_sm_close_session(self, pamh: PamApplication, flags: int, argv: list[str]) -> int:
        """Note that an attached login session is over."""

    def decline(self, pamh: PamApplication, reason: str) -> int:
        """Deny a login that there is no capacity for."""


class Agent:
    """Accepts connections on `listener` and serves each in a thread of its own."""

    def __init__(
        self,
        listener: socket.socket,
        journal: Journal,
        module: LoginModule,
        *,
        most_pending: int = MOST_PENDING,
        most_leaving: float = MOST_LEAVING,
        allowed_uid: int = 0,
    ) -> None:
        self._listener = listener
        self._journal = journal
        self._module = module
        self._functions: dict[Phase, PamFunction] = {
            Phase.AUTHENTICATE: module.pam_sm_authenticate,
            Phase.ACCOUNT: module.pam_sm_acct_mgmt,
            Phase.OPEN_SESSION: module.pam_sm_open_session,
            Phase.CLOSE_SESSION: module.pam_sm_close_session,
        }
        self._most_pending = most_pending
        self._most_leaving = most_leaving
        self._allowed_uid = allowed_uid
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._stopped, self._stopper = os.pipe()
        self._leaving, self._leaver = os.pipe()

    @property
    def pending(self) -> int:
        """The number of logins that are being served."""
        return len(self._threads)

    def run(self, alive: Callable[[], bool], every: float) -> None:
        """Serve until `stop` is called, then wait for the pending logins; or until none is pending after `leave`.

        `alive` is called at least every `every` seconds, and again soon where it returns False.
        """
        self._listener.setblocking(False)
        poller = select.poll()
        poller.register(self._listener, select.POLLIN)
        poller.register(self._stopped, select.POLLIN)
        poller.register(self._leaving, select.POLLIN)
        leaves_by: float | None = None
        while True:
            wait = every if leaves_by is None else min(every, LOOK)
            if not alive():
                wait = min(every, AGAIN)
            ready = [descriptor for descriptor, _event in poller.poll(wait * 1000)]
            if self._stopped in ready:
                break
            if self._leaving in ready:
                poller.unregister(self._leaving)
                leaves_by = time.monotonic() + self._most_leaving
            if self._listener.fileno() in ready:
                self._accept()
            if leaves_by is not None and (not self._threads or time.monotonic() >= leaves_by):
                self.stop()
        self._listener.close()
        until = time.monotonic() + STOP_TIMEOUT
        for thread in list(self._threads):
            thread.join(max(until - time.monotonic(), 0.0))

    def stop(self) -> None:
        """End all pending logins and make `run` return. May be called from a signal handler."""
        os.write(self._stopper, b".")

    def leave(self) -> None:
        """Make `run` return as soon as no login is pending. May be called from a signal handler."""
        os.write(self._leaver, b".")

    def _accept(self) -> None:
        try:
            connection, _address = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:  # out of descriptors or memory: the door waits, and denies at its deadline
            self._journal.note(f"a connection could not be accepted: {error.strerror}", WARNING)
            time.sleep(0.05)
            return
        if peer_credentials(connection)[1] != self._allowed_uid:
            connection.close()
            return
        with contextlib.suppress(OSError):  # the door has gone already
            connection.sendall(GREETING.encode())
        if self.pending >= self._most_pending + MOST_DECLINED:
            connection.close()
            return
        functions = self._functions
        if self.pending >= self._most_pending:
            functions = {**functions, Phase.AUTHENTICATE: self._decline, Phase.ACCOUNT: self._decline}
        thread = threading.Thread(target=self._serve, args=(connection, functions), daemon=True)
        with self._lock:
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # out of threads
            self._forget(thread)
            connection.close()

    def _serve(self, connection: socket.socket, functions: Mapping[Phase, PamFunction]) -> None:
        try:
            serve(connection, functions, self._stopped)
        except Exception as error:  # noqa: BLE001 - one login must not end the agent; its door denies
            self._journal.note(f"a login ended with {type(error).__name__}", ERROR)
        finally:
            self._forget(threading.current_thread())

    def _decline(self, pamh: PamApplication, flags: int, argv: list[str]) -> int:
        return self._module.decline(pamh, f"{self._most_pending} logins are pending already")

    def _forget(self, thread: threading.Thread) -> None:
        with self._lock:
            self._threads.discard(thread)


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

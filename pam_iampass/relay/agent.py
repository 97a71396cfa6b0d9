"""pam-iampass-agent: serves all logins of this machine from one unprivileged process, each in a thread.

It listens on `/run/iampass/pam.sock`, to which only root can connect. SIGTERM ends all pending logins and their IAMPASS
sessions.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
import types
from typing import TYPE_CHECKING, Callable, Protocol

from pam_iampass.audit.journal import ERROR, WARNING, Journal
from pam_iampass.audit.sinks import send_datagram
from pam_iampass.errors import PamIampassError
from pam_iampass.login.application import PamApplication
from pam_iampass.relay import listener as listening
from pam_iampass.relay.serve import serve
from pam_iampass.system import paths

#: Logins that may be pending; more are denied with a message.
MOST_PENDING = 1000
#: Denials with a message that may be pending; beyond them a connection is closed, and the door denies.
MOST_DECLINED = 100
#: How long the agent waits for the end of pending logins when it stops. Seconds.
STOP_TIMEOUT = 15.0
#: Size of a thread's stack in bytes: 1,000 threads with the default of 8 MiB would not fit.
STACK_SIZE = 512 * 1024

if TYPE_CHECKING:
    from pam_iampass.login.context import ContextFactory

_PEER = struct.Struct("3i")


class LoginModule(Protocol):
    """The functions of `pam_iampass.module` that an agent calls."""

    def authenticate(
        self, pamh: PamApplication, argv: list[str], journal: Journal, make_context: ContextFactory
    ) -> int:
        """Decide a login; return the PAM code."""

    def decline(self, pamh: PamApplication, journal: Journal, reason: str) -> int:
        """Deny a login that there is no capacity for; return the PAM code."""


class Agent:
    """Accepts connections on `listener` and serves each in a thread of its own."""

    def __init__(
        self,
        listener: socket.socket,
        journal: Journal,
        module: LoginModule,
        context_factory: Callable[[Callable[[], int]], ContextFactory],
        *,
        most_pending: int = MOST_PENDING,
        allowed_uid: int = 0,
    ) -> None:
        """`context_factory` receives a function that returns the number of pending logins."""
        self._listener = listener
        self._journal = journal
        self._module = module
        self._make_parts = context_factory(lambda: self.pending)
        self._most_pending = most_pending
        self._allowed_uid = allowed_uid
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._stopped, self._stopper = os.pipe()

    @property
    def pending(self) -> int:
        """The number of logins that are being served."""
        return len(self._threads)

    def run(self, alive: Callable[[], None], every: float) -> None:
        """Serve until `stop` is called, then wait for the pending logins.

        `alive` is called at least every `every` seconds.
        """
        self._listener.setblocking(False)
        poller = select.poll()
        poller.register(self._listener, select.POLLIN)
        poller.register(self._stopped, select.POLLIN)
        while True:
            alive()
            ready = [descriptor for descriptor, _event in poller.poll(every * 1000)]
            if self._stopped in ready:
                break
            if ready:
                self._accept()
        self._listener.close()
        until = time.monotonic() + STOP_TIMEOUT
        for thread in list(self._threads):
            thread.join(max(until - time.monotonic(), 0.0))

    def stop(self) -> None:
        """End all pending logins and make `run` return. May be called from a signal handler."""
        os.write(self._stopper, b".")

    def _accept(self) -> None:
        try:
            connection, _address = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:  # out of descriptors or memory: the door waits, and denies at its deadline
            self._journal.note(f"a connection could not be accepted: {error.strerror}", WARNING)
            time.sleep(0.05)
            return
        if _peer_uid(connection) != self._allowed_uid or self.pending >= self._most_pending + MOST_DECLINED:
            connection.close()
            return
        serves = self._authenticate if self.pending < self._most_pending else self._decline
        thread = threading.Thread(target=self._serve, args=(connection, serves), daemon=True)
        with self._lock:
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # out of threads
            self._forget(thread)
            connection.close()

    def _serve(
        self, connection: socket.socket, serves: Callable[[PamApplication, int, list[str]], int]
    ) -> None:
        try:
            serve(connection, serves, self._stopped)
        except Exception as error:  # noqa: BLE001 - one login must not end the agent; its door denies
            self._journal.note(f"a login ended with {type(error).__name__}", ERROR)
        finally:
            self._forget(threading.current_thread())

    def _authenticate(self, pamh: PamApplication, flags: int, argv: list[str]) -> int:
        return self._module.authenticate(pamh, argv, self._journal, self._make_parts)

    def _decline(self, pamh: PamApplication, flags: int, argv: list[str]) -> int:
        return self._module.decline(pamh, self._journal, f"{self._most_pending} logins are pending already")

    def _forget(self, thread: threading.Thread) -> None:
        with self._lock:
            self._threads.discard(thread)


def main(module: LoginModule, arguments: list[str]) -> int:
    """Serve on the socket that systemd passes, or with `--socket` on one of its own.

    Returns the exit status: 0 after SIGTERM, 1 without a socket.
    """
    from pam_iampass.relay.agent_context import SharedContext

    options = _options(arguments)
    try:
        listener = listening.make(options.socket) if options.socket else listening.passed()
    except PamIampassError as error:
        print(f"Error: {error.diagnostics()}", file=sys.stderr)
        return 1
    threading.stack_size(STACK_SIZE)
    agent = Agent(listener, Journal(), module, SharedContext)

    def stop(_number: int, _frame: types.FrameType | None) -> None:
        agent.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    notify("READY=1", patience=5.0)
    agent.run(lambda: notify(f"WATCHDOG=1\nSTATUS={agent.pending} logins pending"), _watchdog_interval())
    notify("STOPPING=1")
    return 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("pam-iampass-agent", description="Decides the logins of this machine.")
    what = "make the socket (default: %(const)s); without this option systemd passes it"
    parser.add_argument("--socket", nargs="?", const=paths.AGENT_SOCKET, metavar="PATH", help=what)
    return parser.parse_args(arguments)


def notify(state: str, patience: float = 0.0) -> None:
    """Tell systemd the state of the service, if it asked for it: sd_notify(3), which could block."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    with contextlib.suppress(OSError):
        if address:
            send_datagram(
                address.replace("@", "\0", 1) if address[0] == "@" else address, state.encode(), patience
            )


def _watchdog_interval() -> float:
    """Half of the watchdog time-out of systemd (sd_watchdog_enabled(3)), in seconds."""
    return int(os.environ.get("WATCHDOG_USEC", "20000000")) / 2e6


def _peer_uid(connection: socket.socket) -> int:
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(data)[1])

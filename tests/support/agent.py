"""The installed agent as systemd would run it: its socket belongs to root, its process to the user iampass."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from pam_iampass.agent.wire import Frame, FrameType
from pam_iampass.system import paths
from tests.support.deadline import PATIENCE

SOCKET = Path("/run/iampass/pam.sock")
CONTROL = Path("/run/iampass/control.sock")
AS_IAMPASS = ["setpriv", "--reuid=_iampass", "--regid=_iampass", "--clear-groups", "--no-new-privs"]
COMMAND = ["/usr/bin/python3", "-I", "-S", "/usr/lib/pam-iampass/agent"]
AT_REST = 4
"""Its threads while it serves nothing: for logins, control requests, reports, and what is done now and then."""
OUT_OF_TURN = Frame(FrameType.NO_ANSWER).encode()
"""A frame that begins no login: the agent closes the connection, without a request or an audit record."""


def listeners(path: Path) -> set[str]:
    """The sockets that listen by this name, also where another one has it now; connecting would start the agent."""
    sockets = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    accepting = "00010000"  # __SO_ACCEPTCON
    return {words[6] for words in sockets if words[-1] == str(path) and words[3] == accepting}


@contextmanager
def state_of(agent: RunningAgent) -> Iterator[sqlite3.Connection]:
    """The agent's file, to look at or to change, while the agent is stopped."""
    agent.stop()
    with closing(sqlite3.connect(paths.STATE)) as connection, connection:
        yield connection
    agent.__enter__()
    agent.wake()


class RunningAgent:
    """Runs pam-iampass-agent behind systemd-socket-activate, in the isolated root."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RunningAgent:
        for path in (SOCKET, CONTROL):
            path.unlink(missing_ok=True)
        others = listeners(SOCKET) | listeners(CONTROL)
        listen = ["systemd-socket-activate", f"--listen={SOCKET}", f"--listen={CONTROL}"]
        self.process = subprocess.Popen(
            [*listen, *AS_IAMPASS, *COMMAND],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + PATIENCE
        while not (listeners(SOCKET) - others and listeners(CONTROL) - others) and time.monotonic() < until:
            time.sleep(0.02)
        for path in (SOCKET, CONTROL):
            path.chmod(0o600)
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def pid(self) -> int:
        """The process id of the agent. Exists only after the first connection."""
        assert self.process is not None
        return self.process.pid

    def wake(self) -> None:
        """Let systemd start the agent, which it does at the first connection; returns once it has answered.

        A door waits for 10 seconds, in which an agent cannot always start while many tests run side by side.
        """
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(str(SOCKET))
            with suppress(ConnectionResetError, BrokenPipeError):
                connection.sendall(OUT_OF_TURN)
                while connection.recv(4096):
                    pass

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the agent, and start another one."""
        self.stop(how)
        self.__enter__()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the agent, and remove its sockets."""
        if self.process is None:
            return
        self.process.send_signal(how)
        self.process.wait(PATIENCE)
        self.process = None
        for path in (SOCKET, CONTROL):
            path.unlink(missing_ok=True)


@contextmanager
def running_enforcer() -> Iterator[None]:
    """The service that ends logins, where there is no systemd to start it."""
    socket = Path(paths.ENFORCER_SOCKET)
    socket.unlink(missing_ok=True)
    with subprocess.Popen(["/usr/sbin/pam-iampass-enforcer", "--socket"]) as process:
        until = time.monotonic() + PATIENCE
        while not listeners(socket) and time.monotonic() < until:
            time.sleep(0.02)
        try:
            yield
        finally:
            process.terminate()

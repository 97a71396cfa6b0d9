"""An attacker in place of the agent, who replies to every connection that the login is approved."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

from pam_iampass.agent import wire
from pam_iampass.outcome import PamCode


class PlantedAgent:
    """Listens at `path`; the socket and the process belong to the user `uid`."""

    def __init__(self, path: Path, uid: int) -> None:
        self.visits = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        os.chown(path, uid, -1)
        path.chmod(0o600)
        _listen_as(self._listener, uid)
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> PlantedAgent:
        return self

    def __exit__(self, *_exc: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.visits += 1
                with connection, suppress(OSError):
                    connection.settimeout(5)
                    approval = wire.GREETING.encode() + wire.result(PamCode.SUCCESS).encode()
                    connection.sendall(approval)
                    while connection.recv(1 << 16):
                        pass


def _listen_as(listener: socket.socket, uid: int) -> None:
    """listen(2) as a user: the peer's credentials are those of the process that called it (unix(7), SO_PEERCRED)."""
    child = os.posix_spawn(
        "/usr/bin/setpriv",
        ["setpriv", f"--reuid={uid}", "--clear-groups", "/usr/bin/python3", "-I", "-S", "-c", _LISTEN],
        {},
        file_actions=[(os.POSIX_SPAWN_DUP2, listener.fileno(), 3)],
    )
    assert os.waitpid(child, 0)[1] == 0


_LISTEN = "import socket; socket.socket(fileno=3).listen(64)"

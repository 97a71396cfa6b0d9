"""The people's phones: answers requests at the sandbox that runs in a booted machine."""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.packages.booted import PATIENCE, Booted

STATE = "/var/lib/sandbox"
PORT = 8443
_CLONE_NEWNET = 0x40000000


class Phone:
    """Everybody's phone."""

    def __init__(self, machine: Booted, port: int = PORT) -> None:
        self._machine = machine
        self._port = port
        self._newest: dict[str, float] = {}

    def request(self, user: str = "", token: str = "") -> int:
        """The number of the request that waits for the user, once there is one. Raises TimeoutError.

        One that was returned before, or is older, does not count: a killed agent leaves its requests open.
        """
        whose = token or token_of(user)
        until = time.monotonic() + PATIENCE
        while (asked := time.monotonic()) < until:
            for each in self.requests():
                # Its age is that of a moment since `asked`: it began between these two.
                earliest, latest = asked - each["age_seconds"], time.monotonic() - each["age_seconds"]
                if each["user"] == whose and earliest > self._newest.get(whose, 0.0):
                    self._newest[whose] = latest
                    return int(each["id"])
            time.sleep(0.1)
        raise TimeoutError(f"no request for {whose}; these wait: {self.requests()}")

    def approve(self, user: str = "", token: str = "") -> None:
        """Approve the request, once it is there."""
        self.answer(self.request(user, token), "approve")

    def deny(self, user: str = "", token: str = "") -> None:
        """Deny the request, once it is there."""
        self.answer(self.request(user, token), "deny")

    def answer(self, request: int, verb: str) -> None:
        """`approve` or `deny` a request that waits."""
        self._control("POST", f"/sandbox/requests/{request}/{verb}")

    def sessions(self, user: str) -> list[int]:
        """The numbers of the user's open sessions, the oldest first."""
        found = self._control("GET", "/sandbox/sessions")["sessions"]
        return [each["id"] for each in found if each["user"] == token_of(user)]

    def move(self, session: int, verb: str) -> None:
        """End an open session, leave it (`away`) or return to it (`back`)."""
        self._control("POST", f"/sandbox/sessions/{session}/{verb}")

    def register(self, path: str) -> None:
        """Open a registration link, and press the button."""
        page = self._call("POST", path, {})
        assert b"can now approve logins" in page, page

    def requests(self) -> list[dict[str, Any]]:
        """The requests that wait for an answer."""
        found: list[dict[str, Any]] = self._control("GET", "/sandbox/requests")["requests"]
        return found

    def _control(self, method: str, path: str) -> dict[str, Any]:
        token = (self._state / "control-token").read_text().strip()
        answer: dict[str, Any] = json.loads(self._call(method, path, {"Authorization": f"Bearer {token}"}))
        return answer

    def _call(self, method: str, path: str, headers: dict[str, str]) -> bytes:
        context = ssl.create_default_context(cafile=str(self._state / "ca.pem"))
        with (
            connect(self._machine.pid, self._port) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            client = http.client.HTTPSConnection("127.0.0.1", self._port)
            client.sock = connection
            client.request(method, path, headers=headers)
            answer = client.getresponse()
            read = answer.read()
            assert answer.status == 200, read
            return read

    @property
    def _state(self) -> Path:
        return self._machine.var / STATE.removeprefix("/var/")


def token_of(user: str) -> str:
    """The user's IAMPASS token."""
    return f"token-of-{user}"


def connect(pid: int, port: int) -> socket.socket:
    """A connection to a port on the loopback of the machine whose init is `pid`. Raises OSError."""
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def inside() -> None:  # a namespace is a thread's own
        libc = ctypes.CDLL(None, use_errno=True)
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.setns(namespace, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            made.append(socket.create_connection(("127.0.0.1", port), PATIENCE))
        except OSError as error:
            failed.append(error)
        finally:
            os.close(namespace)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]


@contextmanager
def approving_all(phone: Phone) -> Iterator[None]:
    """All people approve what their phones ask."""
    stopped = threading.Event()

    def approve() -> None:
        while not stopped.wait(0.2):
            for each in phone.requests():
                try:
                    phone.answer(each["id"], "approve")
                except AssertionError:  # it has ended since
                    continue

    thread = threading.Thread(target=approve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()

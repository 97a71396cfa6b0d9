"""The control socket in the agent: takes requests of root's processes only, in threads of its own.

A set-uid program has the effective uid 0 too, and a user can lead it to the socket. It gets nothing: all three user ids
must be root's. A process of root that is led here by a name does not repeat the nonce.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import secrets
import select
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

from pam_iampass.audit.administrator import Administrator, login_uid, name_of
from pam_iampass.audit.journal import ERROR, WARNING, Journal
from pam_iampass.errors import PamIampassError
from pam_iampass.relay.control import (
    GREETING,
    LARGEST_GREETING,
    LARGEST_REQUEST,
    LineReader,
    LineTooLong,
    encode,
)
from pam_iampass.relay.stream import peer_credentials

#: Requests that may be under way; more are refused.
MOST_REQUESTS = 16
#: How long a greeting and its request may take. Seconds.
REQUEST_TIMEOUT = 5.0
#: How long the command may take to read a line. Seconds.
SEND_TIMEOUT = 5.0
#: How long the agent waits for requests that are under way when it stops. Seconds.
STOP_TIMEOUT = 2.0
#: Between two notes about strangers. Seconds.
NOTE_INTERVAL = 60.0
_LONGEST_TEXT = 1000
_SO_PEERPIDFD = 77  # since Linux 6.5


class Request:
    """One request of the command."""

    def __init__(
        self, administrator: Administrator, arguments: Mapping[str, Any], progress: Callable[[str], None]
    ) -> None:
        self.administrator = administrator
        self.progress = progress
        """Sends a line of text to the command."""
        self._arguments = arguments

    def text(self, name: str) -> str:
        """An argument that is a text. Raises PamIampassError."""
        return _checked_text(name, self._arguments.get(name))

    def flag(self, name: str) -> bool:
        """Whether an argument is true."""
        return self._arguments.get(name) is True

    def number(self, name: str) -> float:
        """An argument that is a number. Raises PamIampassError."""
        value = self._arguments.get(name)
        if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
            raise PamIampassError(f"the argument {name} of the request is no number")
        return float(value)  # type: ignore[arg-type]

    def texts(self, name: str) -> list[str]:
        """An argument that is a list of texts. Raises PamIampassError."""
        value = self._arguments.get(name)
        if not isinstance(value, list):
            raise PamIampassError(f"the argument {name} of the request is no list")
        return [_checked_text(name, each) for each in value]


#: Answers a request with what JSON can hold. Raises PamIampassError.
Handler = Callable[[Request], Any]


class ControlServer:
    """Accepts connections on `listener` and answers each in a thread."""

    def __init__(
        self,
        listener: socket.socket,
        handlers: Mapping[str, Handler],
        journal: Journal,
        *,
        allowed_uid: int = 0,
        most_requests: int = MOST_REQUESTS,
        request_timeout: float = REQUEST_TIMEOUT,
    ) -> None:
        self._listener = listener
        self._handlers = handlers
        self._journal = journal
        self._allowed_uid = allowed_uid
        self._request_timeout = request_timeout
        self._most_requests = most_requests
        self._stopped, self._stopper = os.pipe()
        self._threads: set[threading.Thread] = set()
        self._note_at = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True, name="control")

    @property
    def requests(self) -> int:
        """The number of requests that are under way."""
        return len(self._threads)

    def start(self) -> None:
        """Begin to answer."""
        self._listener.setblocking(False)
        self._thread.start()

    def stop(self) -> None:
        """Accept nothing more, and wait a moment for the requests that are under way."""
        os.write(self._stopper, b".")
        until = time.monotonic() + STOP_TIMEOUT
        for thread in (self._thread, *self._threads):
            thread.join(max(until - time.monotonic(), 0.0))

    def _run(self) -> None:
        poller = select.poll()
        poller.register(self._listener, select.POLLIN)
        poller.register(self._stopped, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _event in poller.poll()]
            if self._stopped in ready:
                break
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                continue
            except OSError as error:  # out of descriptors or memory
                self._journal.note(f"a control connection could not be accepted: {error.strerror}", WARNING)
                time.sleep(0.05)
                continue
            self._receive(connection)
        self._listener.close()

    def _receive(self, connection: socket.socket) -> None:
        uid = _login_uid_of_root(connection, self._allowed_uid)
        if uid is None:
            connection.close()
            if time.monotonic() >= self._note_at:  # a user can have this happen as often as they like
                self._note_at = time.monotonic() + NOTE_INTERVAL
                self._journal.note(
                    "a process that is not root's was turned away on the control socket", WARNING
                )
            return
        if self.requests >= self._most_requests:
            _refuse(connection, "the agent answers too many requests at the moment", "try again")
            return
        thread = threading.Thread(target=self._serve, args=(connection, uid), daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # out of threads
            self._threads.discard(thread)
            _refuse(connection, "the agent has no thread for the request", "try again")

    def _serve(self, connection: socket.socket, uid: int) -> None:
        try:
            with connection, contextlib.suppress(OSError, EOFError, LineTooLong):
                self._answer(connection, uid)
        finally:
            self._threads.discard(threading.current_thread())

    def _answer(self, connection: socket.socket, uid: int) -> None:
        """Raises OSError, EOFError and LineTooLong where the other side does not keep to the protocol."""
        greeting = f"{GREETING} {secrets.token_hex(16)}".encode("ascii")
        reader, until = LineReader(connection), time.monotonic() + self._request_timeout
        connection.settimeout(SEND_TIMEOUT)
        connection.sendall(greeting + b"\n")
        if reader.line(LARGEST_GREETING, until) != greeting:
            return
        answer = self._result(connection, reader.line(LARGEST_REQUEST, until), uid)
        connection.settimeout(SEND_TIMEOUT)
        connection.sendall(encode(answer))

    def _result(self, connection: socket.socket, line: bytes, uid: int) -> dict[str, Any]:
        def progress(text: str) -> None:
            with contextlib.suppress(OSError):  # what was asked is done, whether or not anybody looks
                connection.settimeout(SEND_TIMEOUT)
                connection.sendall(encode({"progress": text}))

        try:
            message = _decoded(line)
            handler = self._handlers.get(_checked_text("request", message.get("request")))
            if handler is None:
                raise PamIampassError(
                    "the agent does not know this request", "systemctl restart pam-iampass-agent"
                )
            arguments = message.get("arguments")
            request = Request(
                _administrator(uid, message), arguments if isinstance(arguments, dict) else {}, progress
            )
            return {"result": handler(request)}
        except PamIampassError as error:
            return {"error": {"what": error.what, "remedy": error.remedy}}
        except Exception as error:  # noqa: BLE001 - one request must not end the agent
            self._journal.note(f"a control request ended with {type(error).__name__}", ERROR)
            return {"error": {"what": f"the agent failed with {type(error).__name__}", "remedy": ""}}


def _login_uid_of_root(connection: socket.socket, allowed_uid: int) -> int | None:
    """The login uid of the process at the other end.

    None where it has ended, or one of its real, effective and saved user ids is another than `allowed_uid`.
    """
    pid, effective, _gid = peer_credentials(connection)
    if effective != allowed_uid or pid <= 0:
        return None
    try:
        pidfd = _pidfd(connection, pid)
    except OSError:
        return None
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8", "replace")
        (ids,) = [line.split()[1:4] for line in status.split("\n") if line.startswith("Uid:")]
        uid = login_uid(pid)
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        has_ended = bool(poller.poll(0))  # while it lives no other process has its id
        return uid if ids == [str(allowed_uid)] * 3 and not has_ended else None
    except (OSError, ValueError):
        return None
    finally:
        os.close(pidfd)


def _pidfd(connection: socket.socket, pid: int) -> int:
    """A pidfd of the process that connected. Raises OSError."""
    try:
        return connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
        # Before Linux 6.5. The id may be another process's by now. A child that has inherited the connection reads the
        # nonce: that takes a set-uid program that leaks it, and whose id a process of root gets.
        return os.pidfd_open(pid)


def _administrator(uid: int, message: Mapping[str, Any]) -> Administrator:
    """Raises PamIampassError."""
    sudo_user, tty, rhost = (
        _checked_text(name, message.get(name, "")) for name in ("sudo_user", "tty", "rhost")
    )
    return Administrator(name_of(uid, sudo_user), sudo_user, tty, rhost)


def _decoded(line: bytes) -> dict[str, Any]:
    """Raises PamIampassError."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise PamIampassError("the request is not a JSON object")
    return message


def _checked_text(name: str, value: object) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT or "\0" in value:
        raise PamIampassError(f"{name} in the request is no text, or too long")
    return value


def _refuse(connection: socket.socket, what: str, remedy: str) -> None:
    """Say so without waiting, and close the connection."""
    with connection, contextlib.suppress(OSError):
        connection.setblocking(False)
        connection.sendall(encode({"error": {"what": what, "remedy": remedy}}))

"""The control socket, on which root's command asks the agent: protocol, client and server.

`docs/inside/control-protocol.md` describes it. The agent greets with a nonce; the command repeats the greeting and
sends its request; the agent answers with any number of lines of progress, then with a result or an error. Each is one
line, all but the greetings are JSON.

The agent takes requests only from processes of root. A set-uid program has the effective uid 0 too, and a user can lead
it to the socket. It gets nothing: all three user ids must be root's. A process of root that is led here by a name does
not repeat the nonce.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import secrets
import select
import socket
import stat
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Callable

from pam_iampass.audit.administrator import Administrator, administrator, login_uid, name_of
from pam_iampass.audit.journal import ERROR, WARNING, Journal
from pam_iampass.errors import RUN_AS_ROOT, PamIampassError, UntrustedFile
from pam_iampass.system import paths
from pam_iampass.system.trusted_folder import trusted_folder
from pam_iampass.system.unix_sockets import peer_credentials

GREETING = "pam-iampass-control 1"
"""The text with which both sides begin, followed by the nonce: no other protocol has it."""
LARGEST_GREETING = 100
"""Bytes."""
LARGEST_REQUEST = 1 << 18
"""Bytes."""
LARGEST_ANSWER = 1 << 26
"""Bytes: 10,000 kept sessions are about 5 MiB."""
PATIENCE = 10.0
"""How long the command waits for the agent's greeting: systemd may have to start the agent. Seconds."""
SILENCE = 60.0
"""How long it waits for the answer or the next line of progress. Seconds."""
_START = "systemctl start pam-iampass-agent.socket; without systemd: pam-iampass-agent --socket"
MOST_REQUESTS = 16
"""Requests that may be under way; more are refused."""
REQUEST_TIMEOUT = 5.0
"""How long a greeting and its request may take. Seconds."""
SEND_TIMEOUT = 5.0
"""How long the command may take to read a line. Seconds."""
STOP_TIMEOUT = 2.0
"""How long the agent waits for requests that are under way when it stops. Seconds."""
NOTE_INTERVAL = 60.0
"""Seconds between two notes about strangers."""
_LONGEST_TEXT = 1000
_SO_PEERPIDFD = 77  # since Linux 6.5


class AgentUnavailable(PamIampassError):
    """The agent cannot be asked."""


class LineTooLong(ValueError):
    """The other side sent more than the protocol allows."""


class LineReader:
    """Reads lines from a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._data = bytearray()

    def line(self, limit: int, until: float) -> bytes:
        """The next line, without its end, before `until` (`time.monotonic`).

        Raises LineTooLong, EOFError if the other side has ended, and OSError.
        """
        looked_at = 0
        while (end := self._data.find(b"\n", looked_at)) < 0:
            looked_at = len(self._data)
            if looked_at > limit:
                raise LineTooLong
            self._connection.settimeout(max(until - time.monotonic(), 0.001))
            chunk = self._connection.recv(65536)
            if not chunk:
                raise EOFError
            self._data += chunk
        if end > limit:
            raise LineTooLong
        line = bytes(self._data[:end])
        del self._data[: end + 1]
        return line


def encode(message: dict[str, Any]) -> bytes:
    """A message as one line."""
    return json.dumps(message).encode("ascii") + b"\n"


def ask(
    request: str,
    progress: Callable[[str], None] = lambda _text: None,
    *,
    path: str = paths.CONTROL_SOCKET,
    owner: int = 0,
    **arguments: object,
) -> Any:
    """The agent's answer to a request (`administration`). `progress` is called with each line of progress.

    `owner` is the user who must listen there. Raises AgentUnavailable, and PamIampassError if the agent refuses.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            _connect(connection, path, owner)
            reader = LineReader(connection)
            greeting = reader.line(LARGEST_GREETING, time.monotonic() + PATIENCE)
            if not re.fullmatch(re.escape(GREETING.encode()) + b" [0-9a-f]{32}", greeting):
                return _result_in(json.loads(greeting))  # the agent is too busy for a conversation
            connection.settimeout(PATIENCE)
            by = administrator()
            message = {"request": request, "arguments": arguments}
            seen = {"sudo_user": by.sudo_user, "tty": by.tty, "rhost": by.rhost}
            connection.sendall(greeting + b"\n" + encode({**message, **seen}))
            return _received(reader, progress)
        except EOFError:
            what = f"{path}: the agent closed the connection before it had answered"
            remedy = "journalctl -u pam-iampass-agent says why; it answers only processes of root"
            raise AgentUnavailable(what, remedy) from None
        except socket.timeout:
            what = f"{path}: the agent does not answer"
            raise AgentUnavailable(what, "systemctl status pam-iampass-agent") from None
        except OSError as error:
            remedy = RUN_AS_ROOT if isinstance(error, PermissionError) else _START
            raise AgentUnavailable(f"{path}: {error.strerror or error}", remedy) from None
        except (ValueError, LookupError, TypeError):
            what = f"{path}: the agent's answer is invalid"
            raise AgentUnavailable(what, "systemctl restart pam-iampass-agent") from None


def _connect(connection: socket.socket, path: str, owner: int) -> None:
    """Raises OSError and AgentUnavailable."""
    try:
        with trusted_folder(os.path.dirname(path), owner):
            found = os.lstat(path)
    except UntrustedFile as error:
        raise AgentUnavailable(str(error), _START) from None
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != owner or found.st_mode & 0o077:
        raise AgentUnavailable(f"{path} is not a socket for its owner alone", _START)
    until = time.monotonic() + PATIENCE
    connection.settimeout(PATIENCE)
    while True:
        try:
            connection.connect(path)
            break
        except BlockingIOError:  # the queue is full
            if time.monotonic() >= until:
                raise
            time.sleep(0.02)
    if peer_credentials(connection)[1] != owner:
        raise AgentUnavailable(f"{path}: another user's process listens there", _START)


def _received(reader: LineReader, progress: Callable[[str], None]) -> Any:
    """Raises PamIampassError, and what `LineReader.line` and `_result_in` raise."""
    while True:
        message = json.loads(reader.line(LARGEST_ANSWER, time.monotonic() + SILENCE))
        if "progress" not in message:
            return _result_in(message)
        progress(str(message["progress"]))


def _result_in(message: dict[str, Any]) -> Any:
    """Raises PamIampassError as the agent says it, ValueError, LookupError and TypeError."""
    if "error" in message:
        raise PamIampassError(str(message["error"]["what"]), str(message["error"]["remedy"]))
    return message["result"]


class ControlRequest:
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
Handler = Callable[[ControlRequest], Any]


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
        """Raises OSError, EOFError and LineTooLong if the other side does not keep to the protocol."""
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
            sudo_user, tty, rhost = (
                _checked_text(name, message.get(name, "")) for name in ("sudo_user", "tty", "rhost")
            )
            by = Administrator(name_of(uid, sudo_user), sudo_user, tty, rhost)
            arguments = message.get("arguments")
            request = ControlRequest(by, arguments if isinstance(arguments, dict) else {}, progress)
            return {"result": handler(request)}
        except PamIampassError as error:
            return {"error": {"what": error.what, "remedy": error.remedy}}
        except Exception as error:  # noqa: BLE001 - one request must not end the agent
            self._journal.note(f"a control request ended with {type(error).__name__}", ERROR)
            return {"error": {"what": f"the agent failed with {type(error).__name__}", "remedy": ""}}


def _login_uid_of_root(connection: socket.socket, allowed_uid: int) -> int | None:
    """The login uid of the process at the other end.

    None if it has ended, or one of its real, effective and saved user ids is another than `allowed_uid`.
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

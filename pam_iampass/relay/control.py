"""The control socket, on which root's command asks the agent: its protocol (docs/control-protocol.md) and its client.

The agent greets with a nonce; the command repeats the greeting and sends its request; the agent answers with any number
of lines of progress, then with a result or an error. Each is one line, all but the greetings are JSON.
"""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import time
from typing import Any, Callable

from pam_iampass.audit.administrator import administrator
from pam_iampass.errors import RUN_AS_ROOT, PamIampassError, UntrustedFile
from pam_iampass.relay.stream import peer_credentials
from pam_iampass.system import paths
from pam_iampass.system.trusted_folder import trusted_folder

GREETING = "pam-iampass-control 1"
"""What both sides begin with, followed by the nonce: no other protocol does."""
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

        Raises LineTooLong, EOFError where the other side has ended, and OSError.
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

    `owner` is the user who must listen there. Raises AgentUnavailable, and PamIampassError where the agent refuses.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            _connect(connection, path, owner)
            reader = LineReader(connection)
            greeting = reader.line(LARGEST_GREETING, time.monotonic() + PATIENCE)
            if not re.fullmatch(re.escape(GREETING.encode()) + b" [0-9a-f]{32}", greeting):
                return _result(json.loads(greeting))  # the agent is too busy for a conversation
            connection.settimeout(PATIENCE)
            by = administrator()
            message = {"request": request, "arguments": arguments}
            seen = {"sudo_user": by.sudo_user, "tty": by.tty, "rhost": by.rhost}
            connection.sendall(greeting + b"\n" + encode({**message, **seen}))
            return _answer(reader, progress)
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


def _answer(reader: LineReader, progress: Callable[[str], None]) -> Any:
    """Raises PamIampassError, and what `LineReader.line` and `_result` raise."""
    while True:
        message = json.loads(reader.line(LARGEST_ANSWER, time.monotonic() + SILENCE))
        if "progress" not in message:
            return _result(message)
        progress(str(message["progress"]))


def _result(message: dict[str, Any]) -> Any:
    """Raises PamIampassError as the agent says it, ValueError, LookupError and TypeError."""
    if "error" in message:
        raise PamIampassError(str(message["error"]["what"]), str(message["error"]["remedy"]))
    return message["result"]

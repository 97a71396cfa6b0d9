"""A stand-in for the module: it runs a test's script against a door, and records what the door sent.

It has its own notion of the frames of docs/inside/relay-protocol.md, so that a door is not tested against the code
that it works with. A script is a function that is given the connection:

    def approves(door: DoorConnection) -> None:
        door.hello()
        door.send(say("Approved."), result(0))

    with ScriptedModule.as_agent(path, approves) as module: …
    assert module.connection.items["user"] == b"alice"
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

#: Longer than any wait of a door. If a script waits that long, the test is wrong.
PATIENCE = 30.0


@dataclass(frozen=True)
class Frame:
    """One frame: its type byte and its payload."""

    kind: bytes
    payload: bytes = b""

    @property
    def wire(self) -> bytes:
        """The bytes of the frame."""
        return self.kind + struct.pack("!I", len(self.payload)) + self.payload


def say(text: str) -> Frame:
    """SAY."""
    return Frame(b"S", text.encode())


def say_error(text: str) -> Frame:
    """SAY_ERROR."""
    return Frame(b"E", text.encode())


def ask(text: str, *, echo: bool = True) -> Frame:
    """ASK."""
    return Frame(b"Q", bytes([echo]) + text.encode())


def deadline(milliseconds: int) -> Frame:
    """DEADLINE."""
    return Frame(b"D", struct.pack("!I", milliseconds))


def keep(session: str) -> Frame:
    """KEEP."""
    return Frame(b"K", session.encode())


def greeting(version: int = 1) -> Frame:
    """GREETING."""
    return Frame(b"G", struct.pack("!I", version))


def result(code: int) -> Frame:
    """RESULT."""
    return Frame(b"R", struct.pack("!I", code))


class DoorConnection:
    """The module's end of a connection, for use by a script."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.settimeout(PATIENCE)
        #: The door's process (SO_PEERCRED).
        self.pid: int = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[
            0
        ]
        #: All bytes sent to the door.
        self.sent = b""
        #: All frames received from the door.
        self.received: list[Frame] = []
        #: Set once the door has closed its end.
        self.closed = threading.Event()

    def hello(self) -> None:
        """Read HELLO and ITEMS."""
        assert [self.receive().kind, self.receive().kind] == [b"H", b"I"]

    def receive(self) -> Frame:
        """The next frame from the door. Raises ConnectionError if it closed."""
        kind, length = struct.unpack("!cI", self._exactly(5))
        frame = Frame(kind, self._exactly(length))
        self.received.append(frame)
        return frame

    def send(self, *frames: Frame) -> None:
        """Send frames with one call."""
        self.send_bytes(b"".join(frame.wire for frame in frames))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes."""
        self.sent += data
        self._socket.sendall(data, socket.MSG_NOSIGNAL)

    def drip(self, data: bytes, pause: float) -> None:
        """Send byte by byte with a pause after each, until the door closes."""
        for byte in data:
            self.send_bytes(bytes([byte]))
            if self.door_closes(within=pause):
                return

    def door_closes(self, within: float = PATIENCE) -> bool:
        """Wait until the door closes; return whether it did."""
        poller = select.poll()
        poller.register(self._socket, select.POLLRDHUP)
        if poller.poll(within * 1000):
            self.closed.set()
        return self.closed.is_set()

    def close(self) -> None:
        """Close the module's end."""
        self._socket.close()

    @property
    def flags(self) -> int:
        """The flags of HELLO."""
        return int(struct.unpack("!I", self._payload(b"H")[2:6])[0])

    @property
    def version_and_phase(self) -> tuple[int, int]:
        """The first two bytes of HELLO."""
        return self._payload(b"H")[0], self._payload(b"H")[1]

    @property
    def arguments(self) -> list[bytes]:
        """The module arguments in HELLO."""
        return _ended_by_nul(self._payload(b"H")[6:])

    @property
    def items(self) -> dict[str, bytes]:
        """The items in ITEMS."""
        parts = [part.partition(b"=") for part in _ended_by_nul(self._payload(b"I"))]
        assert len({name for name, _, _ in parts}) == len(parts)
        return {name.decode(): value for name, _, value in parts}

    def _payload(self, kind: bytes) -> bytes:
        return next(frame.payload for frame in self.received if frame.kind == kind)

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self._socket.recv(count - len(data))
            if not part:
                self.closed.set()
                raise ConnectionError("the door closed")
            data += part
        return data


Script = Callable[[DoorConnection], None]


class ScriptedModule:
    """Listens for doors, and runs a script on one connection after the other."""

    def __init__(self, script: Script, listener: socket.socket, greets: bool) -> None:
        self._script = script
        self._listener = listener
        self._greets = greets
        self._over = threading.Event()
        self._failures: list[BaseException] = []
        #: One for each login.
        self.connections: list[DoorConnection] = []

    @classmethod
    @contextlib.contextmanager
    def as_agent(
        cls,
        path: Path,
        script: Script,
        *,
        mode: int = 0o600,
        owner: int = 0,
        listener_uid: int = 0,
        greets: bool = True,
    ) -> Iterator[ScriptedModule]:
        """Be the agent that listens at `path`. Unless it `greets`, the script does."""
        with _listener(path, mode, owner, listener_uid) as listener:
            yield from cls(script, listener, greets)._play()

    @property
    def connection(self) -> DoorConnection:
        """The channel of the only login."""
        assert len(self.connections) == 1, f"{len(self.connections)} connections"
        return self.connections[0]

    def _play(self) -> Iterator[ScriptedModule]:
        thread = threading.Thread(target=self._serve, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            self._listener.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)
        assert not thread.is_alive(), "the script did not end"
        if self._failures:
            raise self._failures[0]

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            with accepted:
                try:
                    self._converse(accepted)
                except BaseException as failure:  # noqa: BLE001 - shown by the test that owns the thread
                    self._failures.append(failure)

    def _converse(self, accepted: socket.socket) -> None:
        connection = DoorConnection(accepted)
        self.connections.append(connection)
        try:
            if self._greets:
                with contextlib.suppress(ConnectionError):
                    connection.send(greeting())
            self._script(connection)
        finally:
            connection.close()


@contextlib.contextmanager
def _listener(path: Path, mode: int, owner: int, listener_uid: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as undo:
        listener.bind(str(path))
        undo.callback(path.unlink)
        os.chown(path, owner, owner)
        path.chmod(mode)
        if listener_uid:
            os.seteuid(listener_uid)  # SO_PEERCRED is that of the process that called listen
        try:
            listener.listen(16)
        finally:
            os.seteuid(0)
        yield listener


def _ended_by_nul(payload: bytes) -> list[bytes]:
    assert not payload or payload.endswith(b"\0")
    return payload.split(b"\0")[:-1]

"""Frames between a door and the agent, and sending and receiving them: `docs/inside/relay-protocol.md`."""

from __future__ import annotations

import enum
import socket
import struct
import time
from dataclasses import dataclass
from typing import Callable

from pam_iampass.enforcer.protocol import SESSION_ID
from pam_iampass.login.application import ApplicationGone
from pam_iampass.outcome import Phase

VERSION = 1
LONGEST_PAYLOAD = 64 * 1024
LONGEST_DEADLINE = 300.0
_ITEMS = (
    "user service rhost tty ruser uid ssh_auth_info ssh_connection sockets executable login_uid audit_session session"
    " xdg_session command program folder"
)
KNOWN_ITEMS = frozenset(_ITEMS.split())

#: How long a door may take for HELLO and ITEMS together, and for the rest of a frame that has begun. Seconds.
RECEIVE_TIMEOUT = 2.0
#: How long the door may take to read a frame. Seconds.
SEND_TIMEOUT = 5.0

_HEADER = struct.Struct("!cI")
_HELLO = struct.Struct("!BBI")


class FrameError(Exception):
    """The data is not valid in the relay protocol: truncated, too long, unknown or out of turn."""


class FrameType(enum.Enum):
    """The kinds of frames, by their byte on the wire."""

    HELLO = b"H"
    ITEMS = b"I"
    ANSWER = b"A"
    NO_ANSWER = b"N"
    GREETING = b"G"
    DEADLINE = b"D"
    SAY = b"S"
    SAY_ERROR = b"E"
    ASK = b"Q"
    KEEP = b"K"
    RESULT = b"R"


@dataclass(frozen=True)
class Frame:
    """One frame."""

    type: FrameType
    payload: bytes = b""

    def encode(self) -> bytes:
        """The bytes on the wire. Raises FrameError if the payload is over 64 KiB."""
        if len(self.payload) > LONGEST_PAYLOAD:
            raise FrameError("payload over 64 KiB")
        return _HEADER.pack(self.type.value, len(self.payload)) + self.payload


@dataclass(frozen=True)
class Hello:
    """The first frame: which PAM function was called, and how."""

    phase: Phase
    flags: int
    arguments: tuple[str, ...]

    def encode(self) -> Frame:
        """The frame."""
        arguments = b"".join(each.encode("utf-8", "surrogateescape") + b"\0" for each in self.arguments)
        return Frame(FrameType.HELLO, _HELLO.pack(VERSION, self.phase, self.flags) + arguments)

    @classmethod
    def decode(cls, frame: Frame) -> Hello:
        """Decode a frame. Raises FrameError."""
        _expect(frame, FrameType.HELLO)
        if len(frame.payload) < _HELLO.size:
            raise FrameError("HELLO is truncated")
        version, phase, flags = _HELLO.unpack_from(frame.payload)
        if version != VERSION:
            raise FrameError(
                f"version {version} of the relay protocol is not known here; this is version {VERSION}"
            )
        if phase not in set(Phase):
            raise FrameError(f"phase {phase} is not known")
        return cls(Phase(phase), flags, tuple(_decode(part) for part in _parts(frame.payload[_HELLO.size :])))


def decode_items(frame: Frame) -> dict[str, str]:
    """Read the PAM items: name to text (UTF-8; other bytes as surrogates, PEP 383). Raises FrameError.

    Leaves out items that are not known here: the door can be newer (docs/inside/relay-protocol.md says why that is
    safe).
    """
    _expect(frame, FrameType.ITEMS)
    items: dict[str, str] = {}
    for part in _parts(frame.payload):
        name, equals, value = part.partition(b"=")
        key = _decode(name)
        if not key or not equals or key in items:
            raise FrameError("ITEMS holds an item that is repeated or has no name or value")
        items[key] = _decode(value)
    return {key: value for key, value in items.items() if key in KNOWN_ITEMS}


def decode_answer(frame: Frame) -> str | None:
    """Return what the person typed, or None if the application could not ask. Raises FrameError."""
    if frame.type is FrameType.NO_ANSWER and not frame.payload:
        return None
    _expect(frame, FrameType.ANSWER)
    if b"\0" in frame.payload:
        raise FrameError("ANSWER holds a NUL")
    return _decode(frame.payload)


def say(text: str, error: bool = False) -> Frame:
    """A line for the person."""
    return Frame(FrameType.SAY_ERROR if error else FrameType.SAY, _for_a_person(text))


def ask(text: str, echo: bool) -> Frame:
    """A prompt for the person."""
    return Frame(FrameType.ASK, bytes([echo]) + _for_a_person(text))


def deadline(seconds: float) -> Frame:
    """How long the door is to wait for its result from now, in seconds, at most 300."""
    return Frame(
        FrameType.DEADLINE, struct.pack("!I", round(min(max(seconds, 0.0), LONGEST_DEADLINE) * 1000))
    )


#: What the agent sends first, as soon as a door has connected.
GREETING = Frame(FrameType.GREETING, struct.pack("!I", VERSION))


def keep(session: str) -> Frame:
    """The id of the kept session that the login is to be attached to. Raises FrameError if it is no id."""
    if not SESSION_ID.fullmatch(session):
        raise FrameError("the id of a kept session is not 32 hexadecimal digits")
    return Frame(FrameType.KEEP, session.encode())


def result(code: int) -> Frame:
    """The PAM code."""
    return Frame(FrameType.RESULT, struct.pack("!I", code))


def read_frame(read: Callable[[int], bytes]) -> Frame | None:
    """Read one frame with `read(n)`, which returns 1 to n bytes, or none at the end of the stream.

    Returns None if the stream ends between frames. Raises FrameError, and what `read` raises.
    """
    header = _read_exactly(read, _HEADER.size, may_end=True)
    if not header:
        return None
    kind, length = _HEADER.unpack(header)
    if length > LONGEST_PAYLOAD:
        raise FrameError("a frame is over 64 KiB")
    try:
        frame_type = FrameType(kind)
    except ValueError:
        raise FrameError("a frame of unknown type") from None
    return Frame(frame_type, _read_exactly(read, length))


def _read_exactly(read: Callable[[int], bytes], count: int, may_end: bool = False) -> bytes:
    data = bytearray()
    while len(data) < count:
        chunk = read(count - len(data))
        if not chunk:
            if may_end and not data:
                return b""
            raise FrameError("the stream ended within a frame")
        data += chunk
    return bytes(data)


def receive_login(connection: socket.socket) -> tuple[Hello, dict[str, str]]:
    """Read the first two frames. Raises ApplicationGone and FrameError."""
    until = time.monotonic() + RECEIVE_TIMEOUT
    hello = Hello.decode(receive(connection, until - time.monotonic()))
    return hello, decode_items(receive(connection, until - time.monotonic()))


def receive(connection: socket.socket, timeout: float) -> Frame:
    """The next frame, whole within `timeout` seconds. Raises ApplicationGone and FrameError."""
    until = time.monotonic() + timeout

    def read(count: int) -> bytes:
        connection.settimeout(max(until - time.monotonic(), 0.001))
        return connection.recv(count)

    try:
        frame = read_frame(read)
    except OSError as error:
        raise ApplicationGone(f"nothing came from the door: {error.strerror or 'time-out'}") from None
    if frame is None:
        raise ApplicationGone("the application ended")
    return frame


def send(connection: socket.socket, frame: Frame) -> None:
    """Send a frame. Raises ApplicationGone."""
    try:
        connection.settimeout(SEND_TIMEOUT)
        connection.sendall(frame.encode())
    except OSError:
        raise ApplicationGone("the application ended") from None


def _parts(payload: bytes) -> list[bytes]:
    if payload and not payload.endswith(b"\0"):
        raise FrameError("a text is not ended by a NUL")
    return payload.split(b"\0")[:-1]


def _expect(frame: Frame, wanted: FrameType) -> None:
    if frame.type is not wanted:
        raise FrameError(f"a frame {frame.type.name} where {wanted.name} was expected")


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _for_a_person(text: str) -> bytes:
    return text.replace("\0", "").encode("utf-8", "replace")

"""One try of one call: what it sends, by when, and what has happened to it so far.

A thread runs one exchange at a time. The sockets find it through a context variable, so a connection that
is kept alive obeys whichever call is using it now, and threads that share a transport do not meet.
"""

from __future__ import annotations

import contextvars
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import Callable, TypeVar

from .deadline import Deadline
from .errors import IampassError, ProtocolError, TLSFailure, Unavailable

BODY_LIMIT = 64 * 1024
# Head, chunk sizes and trailers get as much again.
WIRE_LIMIT = 2 * BODY_LIMIT
# How often a call that hangs asks whether anybody still waits for it, in seconds.
SLICE = 0.5

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """A request before it is signed."""

    name: str
    """What messages call it: start, poll, end, add users, …"""
    method: str
    url: str = field(repr=False)
    """Signed and sent byte for byte as it stands."""
    client_id: str = field(repr=False)
    secret: str = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    content_type: str | None = "application/json"
    """Session calls have one although they have no body; a management call without a body has none."""
    harmless_to_repeat: bool = False
    """May it be sent again although it may have been carried out?"""


class Exchange:
    """What is sent by when, over which connection, and what has happened so far."""

    def __init__(
        self,
        call: Call,
        deadline: Deadline,
        connect: Callable[[Exchange], ssl.SSLSocket],
        idle_limit: float,
        pause: Callable[[float], None] | None = None,
    ) -> None:
        """`pause(0)` raises something where the call is to be given up."""
        self.call = call
        self.deadline = deadline
        self.connect = connect
        self.idle_limit = idle_limit
        self._pause = pause
        self._asked = time.monotonic()
        self.request_sent = False
        """A byte of the request may have left."""
        self.ended = False
        """The other side has closed the connection."""
        self.failure: OSError | None = None
        """What the socket failed with."""
        self._received = 0

    def time_left(self) -> float:
        """Seconds for the next operation on a socket; raises socket.timeout where none are left."""
        left = self.deadline.remaining()
        if left <= 0.0:
            raise socket.timeout("the deadline has passed")
        return left

    def in_slices(self, attempt: Callable[[float], T], allowance: Deadline | None = None) -> T:
        """What `attempt` gives, which may take as long as it is told (in seconds) and then raises socket.timeout.

        In between it is asked whether the call is to be given up: unless it may have reached the server and is one
        that must not be lost, since only its answer tells what has begun there.
        """
        while True:
            left = self.time_left() if allowance is None else allowance.remaining()
            careful = self.call.harmless_to_repeat or not self.request_sent
            if careful:
                self._ask_whether_wanted()
            try:
                return attempt(min(left, SLICE) if careful else left)
            except socket.timeout:
                if not careful or left <= SLICE:
                    raise

    def _ask_whether_wanted(self) -> None:
        now = time.monotonic()
        if self._pause is not None and now - self._asked >= SLICE:
            self._asked = now
            self._pause(0.0)

    def note_received(self, count: int) -> None:
        self._received += count
        if count == 0:
            self.ended = True
        if self._received > WIRE_LIMIT:
            raise ProtocolError(
                f"{self.call.name}: the answer is larger than {BODY_LIMIT // 1024} KiB",
                may_have_started=self.request_sent,
            )

    def unavailable(self, what: str, *, timed_out: bool = False, remedy: str | None = None) -> Unavailable:
        return Unavailable(
            f"{self.call.name}: {what}",
            may_have_started=self.request_sent,
            timed_out=timed_out,
            remedy=remedy,
        )

    def explain(self, error: BaseException) -> IampassError:
        """What a failure below HTTP, or in the reading of the answer, means to the caller."""
        failure = self.failure
        if isinstance(failure, socket.timeout):
            return self.unavailable("no complete answer in time", timed_out=True)
        if isinstance(failure, ssl.SSLError) and not is_end_of_stream(failure):
            return TLSFailure(
                f"{self.call.name}: the encrypted connection broke: {failure.reason or 'TLS error'}",
                may_have_started=self.request_sent,
            )
        if failure is not None or self.ended:
            return self.unavailable("the connection was closed before the answer was complete")
        return ProtocolError(
            f"{self.call.name}: the answer is not HTTP ({type(error).__name__})",
            may_have_started=self.request_sent,
        )


_current: contextvars.ContextVar[Exchange] = contextvars.ContextVar("iampass_exchange")
current = _current.get
begin = _current.set
finish = _current.reset


def is_end_of_stream(error: ssl.SSLError) -> bool:
    """Did the other side just go away, rather than break TLS?"""
    # Python 3.9 with OpenSSL 3 has no class of its own for an end without farewell.
    return isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)) or (
        error.reason == "UNEXPECTED_EOF_WHILE_READING"
    )

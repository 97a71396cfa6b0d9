"""One attempt at a request, and the sockets that keep its deadline at every byte.

A socket's own timeout starts afresh with each operation, so a server that sends one byte now and then could hold a
call for as long as it likes. These sockets set it, before each operation, to what the attempt has left.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from typing import Any, Callable, TypeVar

from .deadline import Deadline
from .errors import Cause, IampassError, LocalFailure, ProtocolError, TLSFailure, Unavailable
from .origin import split_for_wire
from .outage import cause_of
from .request import SignedRequest

# Some versions of requests make a TLS context when imported, and open the file that SSLKEYLOGFILE names.
_key_log = os.environ.pop("SSLKEYLOGFILE", None)
try:
    import requests as requests  # for the other files here, too
finally:
    if _key_log is not None:
        os.environ["SSLKEYLOGFILE"] = _key_log

BODY_LIMIT = 64 * 1024
# Status line, headers, chunk sizes and trailers get as much again.
_RECEIVE_LIMIT = 2 * BODY_LIMIT
# How often a call that hangs asks whether it is still wanted, in seconds.
_SLICE = 0.5

T = TypeVar("T")


class HttpAttempt(requests.PreparedRequest):  # type: ignore[misc, unused-ignore]
    """A request with its signature, by when it must be over, and how far it has come.

    Not made by `prepare`, which would change the URL: it is sent byte for byte as it was signed.
    """

    def __init__(
        self,
        request: SignedRequest,
        headers: dict[str, str],
        deadline: Deadline,
        pause: Callable[[float], None] | None = None,
    ) -> None:
        """`pause(0)` raises an exception if the call is no longer wanted."""
        super().__init__()
        host, self.target = split_for_wire(request.url)
        self.method, self.url, self.body = request.method, request.url, request.body
        self.headers: Any = {"Host": host, **headers}
        self.call = request.name
        self.deadline = deadline
        self.request_sent = False
        """Whether a byte of the request may have been sent."""
        self.ended = False
        """Whether the other side has closed the connection."""
        self._idempotent = request.idempotent
        self._pause = pause
        self._asked = time.monotonic()
        self._received = 0

    def encoded(self) -> bytes:
        """The request as it is sent. Raises ProtocolError for a character that could end a header."""
        lines = [
            f"{self.method} {self.target} HTTP/1.1",
            *(f"{key}: {text}" for key, text in self.headers.items()),
        ]
        if self.method == "POST":
            lines.append(f"Content-Length: {len(self.body or b'')}")
        text = "".join(lines)
        if not (text.isascii() and text.isprintable()):
            raise self.invalid("the request has characters that no header can have")
        return "\r\n".join([*lines, "", ""]).encode("ascii") + (self.body or b"")

    def time_left(self) -> float:
        """Seconds for the next operation on a socket. Raises socket.timeout if none are left."""
        left = self.deadline.remaining()
        if left <= 0.0:
            raise socket.timeout("the deadline has passed")
        return left

    def in_slices(self, operation: Callable[[float], T], allowance: Deadline | None = None) -> T:
        """The result of `operation`, which gets the seconds that it may take and raises socket.timeout after them.

        In between, `pause` is asked whether the call is still wanted. Not once a request that must not be lost may
        have reached the server: only the response tells what has begun there.
        """
        while True:
            left = self.time_left() if allowance is None else allowance.remaining()
            interruptible = self._idempotent or not self.request_sent
            now = time.monotonic()
            if interruptible and self._pause is not None and now - self._asked >= _SLICE:
                self._asked = now
                self._pause(0.0)
            try:
                return operation(min(left, _SLICE) if interruptible else left)
            except socket.timeout:
                if not interruptible or left <= _SLICE:
                    raise

    def receive(self, sock: socket.socket, receive_into: Callable[..., int], *arguments: Any) -> int:
        """The number of bytes that `receive_into` received from `sock`."""

        def operation(seconds: float) -> int:
            sock.settimeout(seconds)
            return receive_into(*arguments)

        count = self.in_slices(operation)
        self._received += count
        if count == 0:
            self.ended = True
        if self._received > _RECEIVE_LIMIT:
            raise self.too_large()
        return count

    def too_large(self) -> ProtocolError:
        return self.invalid(f"the response is larger than {BODY_LIMIT // 1024} KiB")

    def invalid(self, what: str, **details: Any) -> ProtocolError:
        return ProtocolError(f"{self.call}: {what}", may_have_started=self.request_sent, **details)

    def unavailable(self, what: str, cause: Cause | None = None, **details: Any) -> Unavailable:
        sent = self.request_sent
        return Unavailable(
            f"{self.call}: {what}", may_have_started=sent, cause=None if sent else cause, **details
        )

    def local_failure(self, reason: object) -> LocalFailure:
        return LocalFailure(
            f"{self.call}: this machine cannot connect: {reason}", may_have_started=self.request_sent
        )

    def explain(self, error: Exception, peer: str, **details: Any) -> IampassError:
        """What an error in the exchange with the server or the proxy (`peer`) means to the caller."""
        if isinstance(error, ssl.SSLCertVerificationError):
            what = f"{self.call}: the certificate of {peer} is not trusted: {error.verify_message}"
            return TLSFailure(what)
        cause = Cause.FAR_SIDE if self.ended else cause_of(error)
        if cause is Cause.ANY_USER:
            return self.unavailable(f"{peer} did not respond in time", cause, timed_out=True, **details)
        if cause is not None:
            what = f"{peer} closed the connection without a complete response"
            return self.unavailable(what, cause, **details)
        if isinstance(error, ssl.SSLError):
            what = f"{self.call}: TLS 1.2 or newer with {peer} failed: {error.reason or 'TLS error'}"
            return TLSFailure(what, may_have_started=self.request_sent)
        if isinstance(error, OSError):
            return self.local_failure(error.strerror or error)
        return self.invalid(f"{peer} sent an invalid response ({type(error).__name__})", **details)


class PlainSocket(socket.socket):
    """A TCP connection before TLS begins. Only the CONNECT request to a proxy is sent unencrypted."""

    attempt: HttpAttempt

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        return self.attempt.receive(self, super().recv_into, buffer, nbytes, flags)

    def sendall(self, data: Any, flags: int = 0) -> None:
        self.settimeout(self.attempt.time_left())
        super().sendall(data, flags)


class TLSSocket(ssl.SSLSocket):
    """A TLS connection. `sendall` of the base class uses `send`, `makefile` uses `recv_into`."""

    attempt: HttpAttempt

    def recv_into(self, buffer: Any, nbytes: Any = None, flags: int = 0) -> int:
        return self.attempt.receive(self, super().recv_into, buffer, nbytes, flags)

    def send(self, data: Any, flags: int = 0) -> int:
        self.settimeout(self.attempt.time_left())
        # Before the operation: one that fails may have sent a part.
        self.attempt.request_sent = True
        return super().send(data, flags)

    def __del__(self) -> None:
        # If the connection is reset before `wrap_socket`, that raises and leaves its new socket open.
        self.close()

"""Sends calls to one server, each with a deadline, over connections that are kept alive."""

from __future__ import annotations

import contextlib
import os
import random
import re
import secrets
import select
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Callable, TypeVar

from .attempts import DEFAULT_SECONDS, IDLE_SECONDS, Attempts, Sender
from .call import ATTEMPTS, Call
from .connection import (
    LIMIT,
    TIMED_OUT,
    USUAL,
    Attempt,
    Deadline,
    Network,
    TlsSocket,
    has_body,
    open_tcp,
    tls_context,
)
from .errors import IampassError, Refused, Unavailable
from .origin import Origin, split_for_wire

T = TypeVar("T")

_TLS_RECORD, _LONGEST_HEAD, _MOST_HEADERS = 16 * 1024, 64 * 1024, 100
#: How long a certificate that was verified stands for further connections, if the server goes on with the TLS session.
VERIFIED_SECONDS = 3600.0
_BEGINNING, _END_OF_HEAD = b"HTTP/1.", b"\r\n\r\n"
_STATUS = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\x00-\x08\x0a-\x1f\x7f]*)?")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?")

Observer = Callable[[str, str, float, "IampassError | None"], None]
"""Is told of an attempt: server, name of the call, seconds, and how it has failed, if it has."""


@dataclass(frozen=True)
class Response:
    """A complete response."""

    status: int
    headers: Headers
    body: bytes = b""
    keeps: bool = False
    """Whether the server keeps the connection, and has sent nothing else."""


class Headers:
    """The headers of a response."""

    def __init__(self, lines: Iterable[str]) -> None:
        """Raises ValueError for a line that is none; one that goes on with the line before is none (RFC 9112, 5.2)."""
        self._values: dict[str, list[str]] = {}
        for line in lines:
            found = _HEADER.fullmatch(line)
            if found is None:
                raise ValueError("a header")
            self._values.setdefault(found[1].lower(), []).append(found[2].strip(" \t"))

    def get_all(self, name: str) -> list[str]:
        """The values of a header, whose name is in lower case."""
        return self._values.get(name, [])

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of a header."""
        return self._values.get(name.lower(), [default])[0]


class Exchange(Attempt):
    """An attempt on its connection: sends a request and reads the response, strictly (RFC 9112).

    A socket's own time-out starts afresh with each operation, so a server that sends one byte now and then could hold a
    call for as long as it likes. Here it is set, before each operation, to what the call has left.
    """

    def __init__(self, name: str, deadline: Deadline, peer: str, sock: TlsSocket | None = None) -> None:
        super().__init__(name, deadline, peer)
        self.sock: Any = sock
        """None until there is a connection."""
        self._ended = False
        self._received = 0
        self._unread = bytearray()

    def ask(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Response:
        """Sends a request; returns the response, whose body is read of a 2xx, 4xx or 5xx only. Raises IampassError, and
        what `failed` takes."""
        lines = [f"{method} {target} HTTP/1.1", "Accept-Encoding: identity"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None or method == "POST":
            lines.append(f"Content-Length: {len(body or b'')}")
        self.limit_time()
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode("ascii") + (body or b""))
        self._unread.clear()  # what a proxy has sent in plain text after its response is none of the server's
        version, status, found = self._head()
        while status == 100:
            version, status, found = self._head()
        if method == "CONNECT" or not has_body(status):
            return Response(status, found)
        lengths, codings = set(found.get_all("content-length")), found.get_all("transfer-encoding")
        if len(lengths) > 1:
            raise self.invalid("the response has two lengths")
        if codings:
            if lengths or [coding.lower() for coding in codings] != ["chunked"]:
                raise ValueError("a transfer coding")
            content = self._chunks()
        elif lengths or status == 204:
            content = self._exactly(_length(lengths.pop()) if lengths else 0)
        else:
            return Response(status, found, self._rest())
        closes = version == "0" or "close" in ",".join(found.get_all("connection")).lower()
        return Response(status, found, content, keeps=not (closes or self._unread))

    def limit_time(self) -> None:
        """The next operation on the socket ends when the call must."""
        self.sock.settimeout(self.deadline.remaining() or 1e-6)

    def failed(self, error: Exception) -> IampassError:
        over = self._ended and not isinstance(error, (ssl.SSLCertVerificationError, *TIMED_OUT))
        return self.cut_short() if over else super().failed(error)

    def _head(self) -> tuple[str, int, Headers]:
        """The minor version, the status and the headers of a response."""
        seen = 0
        while (end := self._unread.find(_END_OF_HEAD, max(seen - len(_END_OF_HEAD), 0))) < 0:
            seen = len(self._unread)
            if seen > _LONGEST_HEAD or not self._unread.startswith(_BEGINNING[:seen]):
                raise ValueError("a head")
            self._receive()
        first, *others = self._unread[:end].decode("latin-1").split("\r\n")
        del self._unread[: end + len(_END_OF_HEAD)]
        status = _STATUS.fullmatch(first)
        if status is None or end > _LONGEST_HEAD or len(others) > _MOST_HEADERS:
            raise ValueError("a head")
        return status[1], int(status[2]), Headers(others)

    def _chunks(self) -> bytes:
        """A body in chunks (RFC 9112, 7.1)."""
        content = bytearray()
        while True:
            found = _CHUNK.fullmatch(self._line())
            if found is None:
                raise ValueError("a chunk without a size")
            size = int(found[1], 16)
            if size == 0:
                break
            content += self._exactly(size)
            if self._line():
                raise ValueError("a chunk without an end")
        while self._line():  # trailers
            pass
        return bytes(content)

    def _line(self) -> bytes:
        seen = 0
        while (end := self._unread.find(b"\r\n", max(seen - 2, 0))) < 0:
            seen = len(self._unread)
            self._receive()
        line = bytes(self._unread[:end])
        del self._unread[: end + 2]
        return line

    def _exactly(self, size: int) -> bytes:
        if size > LIMIT:
            raise self.too_large()
        while len(self._unread) < size:
            self._receive()
        content = bytes(self._unread[:size])
        del self._unread[:size]
        return content

    def _rest(self) -> bytes:
        """All until the server ends the connection."""
        with contextlib.suppress(EOFError):
            while True:
                self._receive()
        return bytes(self._unread)

    def _receive(self) -> None:
        """Reads something. Raises EOFError at the end of the stream, and what the socket raises."""
        self.limit_time()
        data = self.sock.recv(_TLS_RECORD)
        if not data:
            self._ended = True
            raise EOFError
        self._received += len(data)
        if self._received > LIMIT:
            raise self.too_large()
        self._unread += data


def _length(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError("a length")
    return int(text)


class Transport(Sender):
    """Connections to one server, kept alive. Threads may share it."""

    def __init__(
        self,
        server: str,
        ca_file: str | os.PathLike[str] | None = None,
        proxy: str | None = None,
        *,
        connections: int = 1,
        connect_seconds: float = 5.0,
        idle_seconds: float = IDLE_SECONDS,
        kept_seconds: float = 0.0,
        wall_clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
        nonce: Callable[[], int] = lambda: secrets.randbits(64),
        clock: Callable[[], float] = time.monotonic,
        context: ssl.SSLContext | None = None,
        network: Network = USUAL,
        observe: Observer = lambda *_attempt: None,
    ) -> None:
        """`server` is `https://HOST[:PORT]`, `proxy` `http://HOST:PORT`; `ca_file` replaces the system's
        certificates, and `context` both. `connections` is the number of idle connections that are kept open, and used
        again for `idle_seconds`; for `kept_seconds`, if that is longer, by calls that may be repeated: the server must
        keep them for longer. `pause` waits between two attempts, for the seconds that it is given; an exception that it
        raises ends the call. `clock` is in seconds. `observe` is called after each attempt. Raises ValueError for an
        invalid argument, and TLSFailure for a `ca_file` without certificates."""
        # Connections, and when a response was last read from them. No thread waits for another.
        self._idle: list[tuple[TlsSocket, float]] = []
        self._session: tuple[ssl.SSLSession, float] | None = None
        """The newest TLS session, and when the server's certificate was verified for it."""
        super().__init__(server, wall_clock, jitter, nonce)
        self._proxy = Origin.of_proxy(proxy) if proxy is not None else None
        self._context = context or tls_context(ca_file)
        self._network = network
        self._connect_seconds = connect_seconds
        self._most_idle = connections
        self._idle_seconds = idle_seconds
        self._kept_seconds = max(kept_seconds, idle_seconds)
        self._pause = pause
        self._clock = clock
        self._observe = observe

    def close(self) -> None:
        """Closes the idle connections."""
        while self._idle:
            self._idle.pop()[0].close()

    __del__ = close

    def call(
        self,
        call: Call[T],
        deadline: Deadline | None = None,
        *,
        attempts: int = ATTEMPTS,
        pause: Callable[[float], None] | None = None,
    ) -> T:
        """Makes the call, within 30 s if no deadline is given. Raises IampassError.

        The request is sent up to `attempts` times: again only if it is idempotent, if nothing was sent, or after a
        complete 429 to a request that rings no phone. With `attempts=1` there is no wait. Apart from that, a 401 by a
        server whose clock differs much from ours is answered by one more attempt with the server's time.
        `pause` replaces that of the transport.
        """
        deadline = deadline or Deadline.after(DEFAULT_SECONDS)
        following = Attempts(self, call, deadline, attempts)
        while True:
            try:
                return self._observed(call, deadline)
            except (Refused, Unavailable) as error:
                wait = following.wait_after(error)
            if wait is not None:
                (pause or self._pause)(wait)

    def _observed(self, call: Call[T], deadline: Deadline) -> T:
        began = time.monotonic()
        try:
            result = self._attempt(call, deadline)
        except IampassError as error:
            self._observe(self.origin.authority, call.name, time.monotonic() - began, error)
            raise
        self._observe(self.origin.authority, call.name, time.monotonic() - began, None)
        return result

    def _attempt(self, call: Call[T], deadline: Deadline) -> T:
        if deadline.expired:
            raise Unavailable(f"{call.name}: no time is left for it", timed_out=True)
        nonce, headers = self.signed(call)
        exchange = Exchange(call.name, deadline, self.origin.authority, self._kept_alive(call))
        is_new, reusable = exchange.sock is None, False
        try:
            if is_new:
                self._connect(exchange)
            if call.held:
                exchange.sock.until_readable = call.until_readable
            exchange.sent = True  # before the request: one that fails may have left in part
            response = exchange.ask(call.method, split_for_wire(call.url)[1], headers, call.body)
            if is_new and exchange.sock.session is not None:
                self._session = exchange.sock.session, exchange.sock.verified
            reusable = response.keeps and len(self._idle) < self._most_idle
        except (OSError, EOFError, ValueError) as error:
            raise exchange.failed(error) from None
        finally:
            if reusable:
                exchange.sock.until_readable = None
                self._idle.append((exchange.sock, self._clock()))
            elif exchange.sock is not None:
                exchange.sock.close()
        return self.read(call, nonce, response.status, response.headers, response.body)

    def _kept_alive(self, call: Call[T]) -> TlsSocket | None:
        """An idle connection that the server has neither closed, nor may be about to close, nor sent more to."""
        longest = self._kept_seconds if call.idempotent else self._idle_seconds
        while self._idle:
            with contextlib.suppress(IndexError):  # another thread may have taken the last one
                sock, used = self._idle.pop()
                poller = select.poll()
                poller.register(sock, select.POLLIN)
                young = self._clock() - used < longest
                if young and not sock.pending() and not poller.poll(0):
                    return sock
                sock.close()
        return None

    def _connect(self, exchange: Exchange) -> None:
        """Opens the socket of an exchange. Raises IampassError, and what `Exchange.failed` takes."""
        server = self.origin.authority
        if self._proxy is not None:
            exchange.peer = f"the proxy {self._proxy.authority}"
        exchange.sock = open_tcp(exchange, self._proxy or self.origin, self._network, self._connect_seconds)
        if self._proxy is not None:
            exchange.check_tunnel(exchange.ask("CONNECT", server, {"Host": server}).status)
        exchange.peer = server
        session, verified = self._session or (None, 0.0)
        if self._clock() - verified >= VERIFIED_SECONDS:
            session = None
        exchange.sock = TlsSocket(exchange.sock, self._context, self.origin.host, session)
        exchange.limit_time()
        try:
            goes_on = exchange.sock.do_handshake()
        except OSError:
            self._session = None
            raise
        exchange.sock.verified = verified if goes_on else self._clock()
        if self._kept_seconds > self._idle_seconds:
            exchange.sock.notice_silence()

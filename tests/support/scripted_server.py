"""A TLS server that plays a script over real sockets, for tests of network and protocol failures.

    with scripted_server(answer(200, {"a": 1}), reset(REQUEST)) as server:
        ...                             # talk to server.url, trusting server.ca_file
        assert [request.method for request in server.requests] == ["POST", "GET"]

Each request takes the next step of the script, which may be a function of the request. A step that happens before a
request can arrive (at ACCEPT or HANDSHAKE) is taken by the next connection instead. After the last step the server
answers 500, so a test that counts requests sees one too many. All waiting is on an event that closing the server sets.
"""

from __future__ import annotations

import atexit
import dataclasses
import datetime
import errno
import json
import shutil
import socket
import ssl
import struct
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Callable, Union

import trustme

#: How long is waited for what a thread does at once. Seconds.
PATIENCE = 60.0

ACCEPT, HANDSHAKE, REQUEST, ANSWER = "accept", "handshake", "request", "answer"
"""When the failure occurs: at once; after the client's first TLS bytes; when a request is complete; in
the middle of the answer (half of its bytes are sent)."""


@dataclasses.dataclass(frozen=True)
class Request:
    """A received request, as on the wire."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    connection: int
    """The number of its connection, from 0."""
    at: float
    """The time when it was complete, on the monotonic clock."""

    def header(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) < 2, f"{name} stands {len(values)} times"
        return values[0] if values else None


@dataclasses.dataclass(frozen=True)
class Step:
    """The response to one request (or connection): the bytes, and how they are sent."""

    head: bytes = b""
    body: bytes = b""
    stage: str = ANSWER
    ending: str = "keep"
    """After the bytes: keep, close (with close_notify), cut (without it), reset, hang, garble
    (bytes that are not TLS)."""
    drip: tuple[float, float] = (0.0, 0.0)
    """Seconds before each byte of head and of body; the first at HANDSHAKE: for the handshake's bytes."""

    def dripping(self, head: float = 0.0, body: float = 0.0) -> Step:
        """Sends byte by byte, with these seconds before each."""
        return dataclasses.replace(self, drip=(head, body))

    def then(self, ending: str) -> Step:
        return dataclasses.replace(self, ending=ending)

    def cut_at(self, length: int, ending: str = "cut") -> Step:
        """Only the first `length` bytes of head and body together; a negative number omits the last bytes."""
        data = (self.head + self.body)[:length]
        return dataclasses.replace(
            self, head=data[: len(self.head)], body=data[len(self.head) :], ending=ending
        )


#: A step, also one that depends on the request.
Scripted = Union[Step, Callable[[Request], Step]]


def answer(
    status: int = 200,
    document: Any = None,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    length: bool = True,
) -> Step:
    """A well-formed answer; `document` becomes JSON. Without `length` the end of the connection ends it."""
    content = body if body is not None else b"" if document is None else json.dumps(document).encode()
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    if length:
        lines.append(f"Content-Length: {len(content)}")
    step = Step("\r\n".join([*lines, "", ""]).encode("latin-1"), content)
    return step if length else step.then("close")


def raw(data: bytes, ending: str = "keep") -> Step:
    """Exactly these bytes."""
    return Step(body=data, ending=ending)


def reset(stage: str, within: Step | None = None) -> Step:
    """A TCP reset; at ANSWER, after half of the answer `within`."""
    return _interrupted(stage, "reset", within)


def hang(stage: str, within: Step | None = None) -> Step:
    """Silence; at ANSWER, after half of the answer `within`."""
    return _interrupted(stage, "hang", within)


def close(stage: str, within: Step | None = None) -> Step:
    """An end without close_notify; at ANSWER, after half of the answer `within`."""
    return _interrupted(stage, "cut", within)


def garble(stage: str, within: Step | None = None) -> Step:
    """Bytes that are not TLS; at ANSWER, after half of the answer `within`."""
    return _interrupted(stage, "garble", within)


def slow_handshake(seconds: float) -> Step:
    """A TLS handshake with this wait before each byte that the server sends."""
    return Step(stage=HANDSHAKE, ending="keep", drip=(seconds, 0.0))


def _interrupted(stage: str, ending: str, within: Step | None) -> Step:
    if stage != ANSWER:
        return Step(stage=stage, ending=ending)
    whole = within or answer(200, {"status": True})
    half = len(whole.head + whole.body) // 2
    return whole.cut_at(half, ending)


class Authority:
    """A certificate authority of the tests, with good and bad certificates for localhost."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.ca_file))

    @cache  # noqa: B019 - one authority a process
    def certificate(self, kind: str = "good") -> str:
        """A file with key and chain. Kinds: good, wrong_name, expired, untrusted."""
        path = self._folder / f"{kind}.pem"
        path.write_bytes(self._issued(kind))
        return str(path)

    def _issued(self, kind: str) -> bytes:
        authority = trustme.CA() if kind == "untrusted" else self._authority
        names = (
            ["elsewhere.example"]
            if kind == "wrong_name"
            else ["localhost", "six.example", "127.0.0.1", "::1"]
        )
        day = datetime.timedelta(days=1)
        now = datetime.datetime.now(datetime.timezone.utc)
        dates: dict[str, Any] = (
            {"not_before": now - 9 * day, "not_after": now - day} if kind == "expired" else {}
        )
        return authority.issue_cert(*names, **dates).private_key_and_cert_chain_pem.bytes()


@cache
def authority() -> Authority:
    """The authority that all tests of this process share."""
    folder = tempfile.mkdtemp(prefix="scripted-ca-")
    atexit.register(shutil.rmtree, folder)
    return Authority(Path(folder))


class ScriptedServer:
    """See the module's docstring. `certificate` is a kind of `Authority.certificate`; with `tls_1_0` it
    speaks nothing newer than that. `port` is 0 for any that is free; `name` is what its URLs call it."""

    def __init__(
        self,
        *steps: Scripted,
        certificate: str = "good",
        tls_1_0: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        name: str = "localhost",
        always: Mapping[str, Scripted] | None = None,
    ):
        self._steps = list(steps)
        self._always = always or {}
        self._name = name
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._context = _server_context(authority().certificate(certificate), tls_1_0)
        self._listener, self._reserved = _listening(host, port)
        self.address = self._listener.getsockname()
        self.requests: list[Request] = []
        """All complete requests, in order."""
        self.connections = 0
        """The number of accepted connections."""
        self.resumed: list[bool] = []
        """Of each handshake, whether it went on with the TLS session of an earlier connection."""
        self.endings = 0
        """The number of connections that this side has closed."""
        self._arrived = threading.Condition()

    @property
    def port(self) -> int:
        return int(self.address[1])

    @property
    def url(self) -> str:
        return f"https://{self._name}:{self.port}"

    @property
    def ca_file(self) -> str:
        return str(authority().ca_file)

    def add(self, *steps: Scripted) -> None:
        """More steps at the end of the script; answers often need the server's own URL."""
        with self._lock:
            self._steps.extend(steps)

    def wait_for_requests(self, count: int, seconds: float = PATIENCE) -> bool:
        """Waits until this number of requests has arrived."""
        with self._arrived:
            return self._arrived.wait_for(lambda: len(self.requests) >= count, seconds)

    def wait_for_endings(self, count: int, seconds: float = PATIENCE) -> bool:
        """Waits until this side has closed this number of connections."""
        with self._arrived:
            return self._arrived.wait_for(lambda: self.endings >= count, seconds)

    def start(self) -> None:
        self._spawn(self._accept)

    def close(self) -> None:
        self._closing.set()
        # A thread in accept() wakes on shutdown, not on close.
        _ignoring_errors(self._listener.shutdown, socket.SHUT_RDWR)
        self._threads[0].join(PATIENCE)
        self._listener.close()
        self._reserved.close()
        for sock in self._sockets:
            _ignoring_errors(sock.shutdown, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive(), "a thread of the scripted server hangs"
        for sock in self._sockets:
            sock.close()

    def _spawn(self, work: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            number = self.connections
            self.connections += 1
            self._sockets.append(sock)
            self._spawn(self._serve, sock, number)

    def _take(self, *stages: str) -> Scripted | None:
        with self._lock:
            if self._steps and (not stages or getattr(self._steps[0], "stage", ANSWER) in stages):
                return self._steps.pop(0)
        return None

    def _serve(self, sock: socket.socket, number: int) -> None:
        # The client may be gone at any point.
        with suppress(OSError, EOFError):
            self._play(sock, number)
        sock.close()
        with self._arrived:
            self.endings += 1
            self._arrived.notify_all()

    def _play(self, sock: socket.socket, number: int) -> None:
        early = self._take(ACCEPT, HANDSHAKE)
        if isinstance(early, Step) and early.ending != "keep":
            if early.stage == HANDSHAKE:
                sock.recv(1)
            self._finish(sock, early.ending)
            return
        stream = _TLSStream(sock, self._context, self._closing)
        stream.shake_hands(early.drip[0] if isinstance(early, Step) else 0.0)
        self.resumed.append(stream.resumed)
        while self._serve_request(stream, number):
            pass

    def _serve_request(self, stream: _TLSStream, number: int) -> bool:
        request = _read_request(stream, number)
        # First: a test that has waited for the request may send another one.
        step = self._always.get(request.method) or self._take() or answer(500)
        if not isinstance(step, Step):
            step = step(request)
        with self._arrived:
            self.requests.append(request)
            self._arrived.notify_all()
        if step.stage == ANSWER:
            stream.send(step.head, step.drip[0])
            stream.send(step.body, step.drip[1])
        if step.ending == "keep":
            return True
        if step.ending == "close":
            stream.farewell()
        self._finish(stream.sock, step.ending)
        return False

    def _finish(self, sock: socket.socket, ending: str) -> None:
        if ending == "hang":
            self._closing.wait()
        elif ending == "garble":
            sock.sendall(b"this is no TLS record" * 10)
            self._closing.wait()
        elif ending == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


class _TLSStream:
    """The server's side of TLS, with control over every byte that is sent."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, closing: threading.Event) -> None:
        self.sock = sock
        self._closing = closing
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def shake_hands(self, drip: float) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush(drip)
                self._fill()
            except ssl.SSLError:
                self._flush(drip)  # the alert
                raise
            else:
                self._flush(drip)
                return

    @property
    def resumed(self) -> bool:
        return bool(self._tls.session_reused)

    def read(self, count: int) -> bytes:
        while True:
            try:
                data = self._tls.read(count)
            except ssl.SSLWantReadError:
                self._fill()
            else:
                if not data:
                    raise EOFError
                return data

    def send(self, data: bytes, drip: float = 0.0) -> None:
        for piece in [data[i : i + 1] for i in range(len(data))] if drip else [data] if data else []:
            if drip and self._closing.wait(drip):
                raise EOFError
            self._tls.write(piece)
            self._flush()

    def farewell(self) -> None:
        with suppress(ssl.SSLError):
            self._tls.unwrap()
        self._flush()

    def _fill(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            raise EOFError
        self._incoming.write(data)

    def _flush(self, drip: float = 0.0) -> None:
        data = self._outgoing.read()
        if not drip:
            self.sock.sendall(data)
            return
        for i in range(len(data)):
            if self._closing.wait(drip):
                raise EOFError
            self.sock.sendall(data[i : i + 1])


def _read_request(stream: _TLSStream, number: int) -> Request:
    data = b""
    while b"\r\n\r\n" not in data:
        data += stream.read(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    length = int(next((value for name, value in headers if name.lower() == "content-length"), "0"))
    while len(body) < length:
        body += stream.read(length - len(body))
    return Request(method, target, headers, body, number, time.monotonic())


def _listening(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A listening socket, and one that reserves its port at the loopback address of the other family.

    Names such as localhost lead to both, and no client may come to another server than its own.
    """
    other = "127.0.0.1" if ":" in host else "::1"
    while True:
        listener = socket.create_server((host, port), family=_family(host))
        reserved = socket.socket(_family(other), socket.SOCK_STREAM)
        try:
            reserved.bind((other, listener.getsockname()[1]))
        except OSError as error:
            reserved.close()
            if error.errno == errno.EADDRNOTAVAIL:  # a machine without IPv6
                return listener, reserved
            listener.close()
        else:
            return listener, reserved


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _server_context(certificate: str, tls_1_0: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    if tls_1_0:
        import warnings

        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1
    return context


def _ignoring_errors(action: Any, *arguments: Any) -> None:
    with suppress(OSError):
        action(*arguments)


@contextmanager
def scripted_server(*steps: Scripted, **options: Any) -> Iterator[ScriptedServer]:
    """A running ScriptedServer, closed at the end."""
    server = ScriptedServer(*steps, **options)
    server.start()
    try:
        yield server
    finally:
        server.close()

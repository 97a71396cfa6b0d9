"""The https server in the event loop of whoever uses it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import http.client
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import AsyncGenerator
from typing import Any, Callable

import pytest
import trustme

from pam_iampass.server.http import Bounds, Dispatcher, Route, find_handler, owner_of, serve
from pam_iampass.server.messages import IncomingRequest, RefusedRequest, Reply

Answer = tuple[int, bytes]


class Service:
    """What the handlers are given."""

    def __init__(self) -> None:
        self.threads: set[int] = set()


async def ping(service: Service, request: IncomingRequest) -> Reply:
    service.threads.add(threading.get_ident())
    return Reply.of({"target": request.target})


async def count(service: Service, request: IncomingRequest) -> Reply:
    async def pieces(stopping: asyncio.Event) -> AsyncGenerator[bytes, None]:
        for number in (1, 2):
            yield b"%d\n" % number
        await stopping.wait()

    return Reply(content_type="text/plain", stream=pieces)


async def busy(service: Service, request: IncomingRequest) -> Reply:
    time.sleep(1.5)  # an event loop that is held up
    return Reply()


ROUTES = (
    Route("GET", "/ping/*", ping),
    Route("POST", "/ping/*", ping),
    Route("GET", "/count", count),
    Route("GET", "/busy", busy),
)


def served(
    ask: Callable[[Callable[[], http.client.HTTPSConnection]], Answer],
    bounds: Bounds = Bounds(),  # noqa: B008
    backlog: int = 128,
) -> tuple[Answer, Service, list[str]]:
    """What `ask`, called in another thread with a function that connects, has received."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
    port, service, refused = listener.getsockname()[1], Service(), list[str]()

    connections: list[http.client.HTTPSConnection] = []

    def connect() -> http.client.HTTPSConnection:
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=trusting, timeout=20)
        connections.append(connection)
        return connection

    async def run() -> Answer:
        dispatcher = Dispatcher(
            ROUTES,
            service,
            frozenset({"127.0.0.1"}),
            time.time,
            lambda request, refusal: refused.append(f"{request.target}: {refusal.reason}"),
        )
        stopping, ready = asyncio.Event(), asyncio.Event()
        server = asyncio.ensure_future(
            serve(dispatcher.handle, listener, context, stopping, ready.set, bounds)
        )
        await ready.wait()
        try:
            return await asyncio.get_running_loop().run_in_executor(None, ask, connect)
        finally:
            for connection in connections:
                connection.close()
            stopping.set()
            await server

    return asyncio.run(run()), service, refused


def one(
    method: str, target: str, headers: dict[str, str] | None = None
) -> Callable[[Callable[[], http.client.HTTPSConnection]], Answer]:
    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        connection = connect()
        connection.request(method, target, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read()

    return ask


def test_it_serves_in_the_loop_that_it_is_given() -> None:
    answer, service, refused = served(one("GET", "/ping/%2e%2e"))
    assert answer == (200, b'{"target": "/ping/%2e%2e"}')
    assert service.threads == {threading.get_ident()}
    assert refused == []


@pytest.mark.parametrize(
    ("method", "target", "headers", "status", "reason"),
    [
        ("GET", "/nowhere", {}, 404, "UNKNOWN_CALL"),
        ("PUT", "/ping/x", {}, 405, "WRONG_METHOD"),
        ("GET", "/ping/x", {"Host": "elsewhere"}, 421, "WRONG_HOST"),
    ],
)
def test_what_is_refused_is_answered_and_reported(
    method: str, target: str, headers: dict[str, str], status: int, reason: str
) -> None:
    answer, service, refused = served(one(method, target, headers))
    assert answer[0] == status
    assert refused == [f"{target}: {reason}"]
    assert service.threads == set()


def test_a_stream_is_sent_as_it_comes_and_ends_with_the_server() -> None:
    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        connection = connect()
        connection.request("GET", "/count")
        response = connection.getresponse()
        lines = response.readline() + response.readline()
        response.close()
        return response.status, lines

    assert served(ask)[0] == (200, b"1\n2\n")


def test_methods_of_one_path_are_named_where_another_is_used() -> None:
    request = IncomingRequest("DELETE", "/ping/x", [], b"")
    with pytest.raises(RefusedRequest) as refused:
        find_handler(ROUTES, request)
    assert refused.value.headers == (("Allow", "GET, POST"),)


# Clients that can connect, and have no credential yet


def _ended(sock: socket.socket) -> bool:
    """Whether the server ends this connection, whatever it has sent before."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionError:
        return True
    except (socket.timeout, TimeoutError):  # two classes until Python 3.10
        return False
    return True


def test_a_client_that_reads_no_answers_is_cut_off() -> None:
    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        connection = connect()
        connection.connect()
        sent, request = 0, b"GET /ping/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 100
        try:
            while sent < 20_000_000:
                connection.sock.sendall(request)
                sent += len(request)
        except OSError:
            pass
        return sent, b""

    assert served(ask)[0][0] < 10_000_000


def test_a_few_requests_can_be_sent_at_once() -> None:
    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        connection = connect()
        connection.connect()
        connection.sock.sendall(b"GET /ping/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 5)
        answers = b""
        while answers.count(b"target") < 5:
            answers += connection.sock.recv(65536)
        return 5, b""

    assert served(ask)[0][0] == 5


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /ping/x HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        b"POST /ping/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n123",
        b"GET /ping/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET /ping/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /ping/x HTTP/1.1\r\n",
    ],
)
def test_nobody_holds_a_connection_without_asking_anything(sent: bytes) -> None:
    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        connection = connect()
        connection.connect()
        connection.sock.sendall(sent)
        return int(_ended(connection.sock)), b""

    assert served(ask, Bounds(seconds=0.3, idle_seconds=0.3))[0][0]


@pytest.mark.parametrize(
    "begin",
    [
        b"GET /ping/x HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        b"GET /ping/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /ping/x HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        b"POST /ping/x HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    ],
)
def test_nobody_sends_headers_without_end(begin: bytes) -> None:
    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        connection = connect()
        connection.connect()
        sent, headers = 0, b"a: b\r\n" * 1000
        try:
            connection.sock.sendall(begin)
            while sent < 20_000_000:
                connection.sock.sendall(headers)
                sent += len(headers)
        except OSError:
            pass
        return sent, b""

    assert served(ask, Bounds(body=2000))[0][0] < 10_000_000


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /ping/x HTTP/1.1\r\nno header\xff\r\n\r\n", b"400"),
        (b"POST /ping/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\nZZ\r\n", b"400"),
        (b"\x16\x03\x01\r\n\r\n", b"400"),
    ],
)
def test_what_is_no_http_leaves_no_traceback(
    sent: bytes, status: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        connection = connect()
        connection.connect()
        connection.sock.sendall(b"GET /ping/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        while b"target" not in connection.sock.recv(65536):
            pass
        connection.sock.sendall(sent)
        return 0, connection.sock.recv(65536).split()[1]

    assert served(ask)[0][1] == status
    assert caplog.records == []


def test_a_request_that_breaks_off_leaves_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        connection = connect()
        connection.connect()
        head = b"POST /ping/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n123"
        connection.sock.sendall(head)
        time.sleep(0.1)  # until it waits for the rest
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        return one("GET", "/ping/x")(connect)

    assert served(ask)[0][0] == 200
    assert caplog.records == []


def test_who_does_not_speak_tls_is_cut_off() -> None:
    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        with socket.create_connection(("127.0.0.1", connect().port), 20) as sock:
            return int(_ended(sock)), b""

    assert served(ask, Bounds(seconds=0.3))[0][0]


def _soon(
    ask: Callable[[Callable[[], http.client.HTTPSConnection]], Answer],
    connect: Callable[[], http.client.HTTPSConnection],
) -> int:
    """The status of an answer, once the server has noticed which connections are gone."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            return ask(connect)[0]
    return 0


def test_there_are_no_more_connections_than_the_server_can_serve() -> None:
    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        connections, refused = [connect() for _ in range(3)], 0
        for connection in connections:
            try:
                connection.connect()
            except OSError:
                refused += 1
        connections[0].close()
        return _soon(one("GET", "/ping/x"), connect), b"%d" % refused

    assert served(ask, Bounds(connections=2))[0] == (200, b"1")


def test_a_server_that_is_busy_answers_tcp() -> None:
    """Otherwise a client who can hold it up makes an outage, in which a host may let people in without the phone."""
    took = []

    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        holding = connect()
        holding.request("GET", "/busy")
        time.sleep(0.2)
        to = "127.0.0.1", holding.port
        with contextlib.ExitStack() as held:
            for _ in range(50):  # far more than the kernel's queue takes in all
                began = time.monotonic()
                held.enter_context(socket.create_connection(to, 5))
                took.append(time.monotonic() - began)
                time.sleep(0.01)  # less than the queue takes at once
        return holding.getresponse().status, b""

    assert served(ask, backlog=16)[0][0] == 200
    assert max(took) < 0.9


def test_one_address_leaves_connections_for_others_also_without_a_handshake() -> None:
    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        to = "127.0.0.1", connect().port
        with contextlib.ExitStack() as held:
            first = [held.enter_context(socket.create_connection(to, 0.3)) for _ in range(3)]
            ends = b"%d" % sum(_ended(sock) for sock in first)
            other: Any = connect()
            other.source_address = ("127.0.0.2", 0)
            other.request("GET", "/ping/x")
            assert other.getresponse().status == 200
        return _soon(one("GET", "/ping/x"), connect), ends

    assert served(ask, Bounds(of_one_address=2))[0] == (200, b"1")


def test_a_host_has_one_share_whatever_address_of_its_own_it_takes() -> None:
    assert owner_of("2001:db8::1") == owner_of("2001:db8::ffff:0:1") != owner_of("2001:db8:0:1::1")
    assert owner_of("fe80::1%lo") == owner_of("fe80::2")
    assert len({owner_of(each) for each in ("192.0.2.1", "192.0.2.2", "::ffff:192.0.2.1", "::1")}) == 4


def test_a_server_without_a_descriptor_goes_on_once_it_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pam_iampass.server.http._ACCEPT_AGAIN_SECONDS", 0.1)
    accept, failures = socket.socket.accept, [OSError(errno.EMFILE, "Too many open files")]

    def fails_once(self: socket.socket) -> tuple[socket.socket, Any]:
        if failures:
            raise failures.pop()
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", fails_once)
    assert served(one("GET", "/ping/x"))[0][0] == 200


def test_a_body_is_no_larger_than_what_was_sent() -> None:
    bomb = zlib.compress(bytes(1000_000))

    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        connection = connect()
        connection.request("POST", "/ping/x", bomb, {"Content-Encoding": "deflate"})
        status = connection.getresponse().status
        connection = connect()
        connection.request("POST", "/ping/x", bytes(2001))
        return status, b"%d" % connection.getresponse().status

    assert served(ask, Bounds(body=2000))[0] == (200, b"413")

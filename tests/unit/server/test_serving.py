"""What a gateway takes from those who can connect to it."""

from __future__ import annotations

import contextlib
import errno
import gc
import http.client
import socket
import struct
import time
import zlib
from functools import partial
from pathlib import Path
from typing import Any, Callable

import pytest

from pam_iampass.server.serving import Bounds, _Connection, owner_of, serve
from tests.support.deadline import PATIENCE
from tests.support.served import Answer, Service, one, served
from tests.support.world import wait_until

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

    assert served(ask, partial(serve, bounds=Bounds(lines=10**9)))[0][0] < 10_000_000


def test_a_few_requests_can_be_sent_at_once() -> None:
    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        connection = connect()
        connection.connect()
        connection.sock.sendall(b"GET /ping/x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 5)
        answers = b""
        while answers.count(b"target") < 5:
            answers += connection.sock.recv(65536)
        return 5, b""

    assert served(ask, serve)[0][0] == 5


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

    assert served(ask, partial(serve, bounds=Bounds(seconds=0.3, idle_seconds=0.3)))[0][0]


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
        sent, headers = 0, (b"a: " + b"b" * 4000 + b"\r\n") * 10
        try:
            connection.sock.sendall(begin)
            while sent < 20_000_000:
                connection.sock.sendall(headers)
                sent += len(headers)
        except OSError:
            pass
        return sent, b""

    assert served(ask, partial(serve, bounds=Bounds(body=2000, lines=10**9)))[0][0] < 10_000_000


@pytest.mark.parametrize("begin", [b"", b"Transfer-Encoding: chunked\r\n\r\n0\r\n"])
def test_nobody_sends_many_short_headers(begin: bytes) -> None:
    """Each takes 300 bytes of memory."""

    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        connection = connect()
        connection.connect()
        head = b"POST /ping/x HTTP/1.1\r\nHost: 127.0.0.1\r\n" + begin
        connection.sock.sendall(head + b"a: b\r\n" * 300)
        return int(_ended(connection.sock)), b""

    assert served(ask, partial(serve, bounds=Bounds(seconds=60.0)))[0][0]


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

    assert served(ask, serve)[0][1] == status
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

    assert served(ask, serve)[0][0] == 200
    assert caplog.records == []


def test_who_does_not_speak_tls_is_cut_off() -> None:
    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        with socket.create_connection(("127.0.0.1", connect().port), 20) as sock:
            return int(_ended(sock)), b""

    assert served(ask, partial(serve, bounds=Bounds(seconds=0.3)))[0][0]


def _soon(
    ask: Callable[[Callable[[], http.client.HTTPSConnection]], Answer],
    connect: Callable[[], http.client.HTTPSConnection],
) -> int:
    """The status of an answer, once the server has noticed which connections are gone."""
    deadline = time.monotonic() + PATIENCE
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

    assert served(ask, partial(serve, bounds=Bounds(connections=2)))[0] == (200, b"1")


def test_a_server_that_is_busy_answers_tcp() -> None:
    """Otherwise a client who can hold it up makes an outage, in which a host may let people in without the phone."""
    service = Service()

    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        holding = connect()
        holding.request("GET", "/busy")
        service.began.wait(PATIENCE)
        with contextlib.ExitStack() as held:
            held.callback(service.go_on.set)
            for _ in range(50):  # far more than the kernel's queue takes in all
                held.enter_context(socket.create_connection(("127.0.0.1", holding.port), PATIENCE))
                wait_until(lambda: _in_queue(holding.port) == 0, "it accepts no connection")
        return holding.getresponse().status, b""

    assert served(ask, serve, backlog=16, service=service)[0][0] == 200


def _in_queue(port: int) -> int:
    """The connections to a port that nobody has accepted yet: proc_pid_net(5)."""
    sockets = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    (queue,) = (fields[4] for fields in sockets if fields[1].endswith(f":{port:04X}") and fields[3] == "0A")
    return int(queue.partition(":")[2], 16)


def test_one_address_leaves_connections_for_others_also_without_a_handshake() -> None:
    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        to = "127.0.0.1", connect().port
        with contextlib.ExitStack() as held:
            first = [held.enter_context(socket.create_connection(to, PATIENCE)) for _ in range(3)]
            ends = b"%d" % _ended(first.pop())
            for sock in first:
                sock.settimeout(0.0)
                with pytest.raises(BlockingIOError):
                    sock.recv(1)
            other: Any = connect()
            other.source_address = ("127.0.0.2", 0)
            other.request("GET", "/ping/x")
            assert other.getresponse().status == 200
        return _soon(one("GET", "/ping/x"), connect), ends

    assert served(ask, partial(serve, bounds=Bounds(of_one_address=2)))[0] == (200, b"1")


def test_a_host_has_one_share_whatever_address_of_its_own_it_takes() -> None:
    assert owner_of("2001:db8::1") == owner_of("2001:db8::ffff:0:1") != owner_of("2001:db8:0:1::1")
    assert owner_of("fe80::1%lo") == owner_of("fe80::2")
    assert len({owner_of(each) for each in ("192.0.2.1", "192.0.2.2", "::ffff:192.0.2.1", "::1")}) == 4


def test_a_server_without_a_descriptor_goes_on_once_it_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pam_iampass.server.serving._ACCEPT_AGAIN_SECONDS", 0.1)
    accept, failures = socket.socket.accept, [OSError(errno.EMFILE, "Too many open files")]

    def fails_once(self: socket.socket) -> tuple[socket.socket, Any]:
        if failures:
            raise failures.pop()
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", fails_once)
    assert served(one("GET", "/ping/x"), serve)[0][0] == 200


def test_a_body_is_no_larger_than_what_was_sent() -> None:
    bomb = zlib.compress(bytes(1000_000))

    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        connection = connect()
        connection.request("POST", "/ping/x", bomb, {"Content-Encoding": "deflate"})
        status = connection.getresponse().status
        connection = connect()
        connection.request("POST", "/ping/x", bytes(2001))
        return status, b"%d" % connection.getresponse().status

    assert served(ask, partial(serve, bounds=Bounds(body=2000)))[0] == (200, b"413")


def test_a_connection_counts_until_nothing_is_done_for_it_any_more() -> None:
    """Otherwise there are as many requests under way as a client can send and hang up."""
    service, answered = Service(), []

    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        hangs_up = connect()
        hangs_up.request("GET", "/waits")
        service.began.wait(PATIENCE)
        hangs_up.close()
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                answered.append(one("GET", "/ping/x")(connect))
        service.go_on.set()
        return _soon(one("GET", "/ping/x"), connect), b""

    assert served(ask, partial(serve, bounds=Bounds(connections=1)), service=service)[0][0] == 200
    assert answered == []


def _refused_body(connect: Callable[[], http.client.HTTPSConnection]) -> None:
    """The server ends the connection before it has read all of it."""
    connection = connect()
    connection.connect()
    head = b"POST /ping/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9000000\r\n\r\n"
    with contextlib.suppress(OSError):
        connection.sock.sendall(head + bytes(1_000_000))
        _ended(connection.sock)
    connection.close()


def _no_tls(connect: Callable[[], http.client.HTTPSConnection]) -> None:
    with socket.create_connection(("127.0.0.1", connect().port), 20) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        _ended(sock)


@pytest.mark.parametrize("break_off", [_refused_body, _no_tls])
def test_a_connection_that_has_ended_is_not_kept_in_memory(
    break_off: Callable[[Callable[[], http.client.HTTPSConnection]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pam_iampass.server.serving._UNFREED", 10)

    def ask(connect: Callable[[], http.client.HTTPSConnection]) -> Answer:
        for _ in range(50):
            break_off(connect)
        until = time.monotonic() + PATIENCE
        while (kept := _kept()) > before + 15 and time.monotonic() < until:
            time.sleep(0.1)
        return kept, b""

    before = _kept()
    gc.disable()  # Python's own look for them may be as late as if it never came
    try:
        assert served(ask, partial(serve, bounds=Bounds(body=1000, seconds=60.0)))[0][0] <= before + 15
    finally:
        gc.enable()


def _kept() -> int:
    return sum(isinstance(each, _Connection) for each in gc.get_objects())

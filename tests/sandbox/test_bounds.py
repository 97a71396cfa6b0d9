"""What a client can send, and how slowly, before the sandbox knows who it is."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator

import pytest

from pam_iampass.sandbox import Sandbox, bounded_handler, faults
from tests.sandbox.signer import Caller

PATH = "/authentication/authenticate_user/demo/alice"


@pytest.fixture
def wire(sandbox: Sandbox, caller: Caller) -> Iterator[ssl.SSLSocket]:
    """A TLS connection to the sandbox."""
    plain = socket.create_connection(("127.0.0.1", sandbox.port), 60)
    with caller.context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        yield connection


def until_broken(connection: socket.socket, piece: bytes, most: int) -> int:
    """How many bytes the sandbox takes; `most` at least where it takes all of them."""
    sent = 0
    with contextlib.suppress(OSError):
        while sent < most:
            connection.sendall(piece)
            sent += len(piece)
        assert connection.recv(1) == b""
        return 0
    return sent


def test_a_large_body_is_refused_before_it_is_read(caller: Caller) -> None:
    body = b"x" * (bounded_handler.MOST_BODY_BYTES + 1)
    assert caller.send("POST", PATH, {}, body).status == 413


@pytest.mark.parametrize("kind", ["headers", "chunks"])
def test_an_endless_request_is_broken_off(wire: ssl.SSLSocket, kind: str) -> None:
    wire.sendall(f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n".encode())
    if kind == "chunks":
        wire.sendall(b"\r\n")
    piece = b"X-More: " + b"x" * 4000 + b"\r\n" if kind == "headers" else b"1000\r\n" + b"x" * 4096 + b"\r\n"
    assert until_broken(wire, piece, 64 * 1024 * 1024) < 32 * 1024 * 1024


def test_many_headers_are_refused_before_the_signature_is_looked_at(caller: Caller) -> None:
    reply = caller.send("POST", PATH, [(f"X-{number}", "x") for number in range(100)])
    assert (reply.status, reply.reason) == (431, "TOO_MANY_HEADERS")


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\n{",
    ],
    ids=["nothing", "half of the headers", "half of the body"],
)
def test_a_request_that_does_not_arrive_in_time_is_broken_off(
    sandbox: Sandbox, caller: Caller, sent: bytes
) -> None:
    sandbox.receive_timeout = 0.2
    plain = socket.create_connection(("127.0.0.1", sandbox.port), 60)
    with caller.context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        wait_for_end(connection, sent)


def test_so_is_a_further_request_on_the_same_connection(sandbox: Sandbox, wire: ssl.SSLSocket) -> None:
    sandbox.receive_timeout = 0.2
    wire.sendall(b"GET /phone HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert wire.recv(65536).startswith(b"HTTP/1.1 200")
    wait_for_end(wire, b"GET")


def wait_for_end(connection: ssl.SSLSocket, sent: bytes) -> None:
    """Send this. Raises TimeoutError if the sandbox does not close the connection."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        connection.sendall(sent)
        while connection.recv(65536):
            pass


def test_an_answer_may_take_longer_than_a_request(sandbox: Sandbox, caller: Caller) -> None:
    sandbox.receive_timeout = 3.0
    sandbox.misbehave("start", faults.Hang(seconds=4.0, sent=30))
    assert caller.start("alice").status == 202

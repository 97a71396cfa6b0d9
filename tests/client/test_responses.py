"""How a response is read: the same however it is cut, as http.client reads it, or not at all."""

from __future__ import annotations

import http.client
import io
from typing import Any

import pytest

from pam_iampass.client import Deadline, Unavailable
from pam_iampass.client.connection import Attempt
from pam_iampass.client.http import Exchange, Response
from tests.client.connect_proxy import ESTABLISHED, connect_proxy
from tests.client.talk import polled, session_on
from tests.support.scripted_server import answer, scripted_server

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
FINE = {
    "a length": OK + b"Content-Length: 5\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\nhello",
    "the same length twice": OK + b"Content-Length: 5\r\ncontent-length: 5\r\n\r\nhello",
    "no phrase": b"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n",
    "chunks": CHUNKED + b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nTrailer: x\r\n\r\n",
    "after a 100": b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 5\r\n\r\nhello",
    "it closes": OK + b"Connection: foo, Close\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "no length": OK + b"\r\nhello",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "bytes that are not ASCII": OK + "X: Büro\r\nContent-Length: 0\r\n\r\n".encode("latin-1"),
    "empty values": OK + b"X:\r\nContent-Length: \t0 \r\n\r\n",
}
KEEPS = {"a length", "the same length twice", "no phrase", "chunks", "after a 100", "no content"}
KEEPS |= {"bytes that are not ASCII", "empty values"}
INVALID = {
    "a line that goes on": OK + b"X: y\r\n Content-Length: 5\r\n\r\nhello",
    "no colon": OK + b"Content-Length 5\r\n\r\nhello",
    "no name": OK + b": x\r\n\r\n",
    "a space before the colon": OK + b"Content-Length : 5\r\n\r\nhello",
    "a bare LF in a header": OK + b"X: y\nContent-Length: 5\r\n\r\nhello",
    "a NUL in a header": OK + b"X: \x00\r\nContent-Length: 5\r\n\r\nhello",
    "another coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a coding twice": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and a length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "a signed length": OK + b"Content-Length: +5\r\n\r\nhello",
    "a length with an underscore": OK + b"Content-Length: 0_5\r\n\r\nhello",
    "a length in other digits": OK + "Content-Length: ²\r\n\r\nhello".encode("latin-1"),
    "a list of lengths": OK + b"Content-Length: 5, 5\r\n\r\nhello",
    "a chunk of 0x5": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "a chunk of -5": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "a chunk that goes on": CHUNKED + b"3\r\nhello\r\n0\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "HTTP/2": b"HTTP/2.0 200 OK\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n\r\n",
}


class Wire:
    """A socket from which at most so many bytes are read at once."""

    def __init__(self, data: bytes, most: int) -> None:
        self.sent, self._data, self._most = b"", io.BytesIO(data), most

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def recv(self, size: int) -> bytes:
        return self._data.read(min(size, self._most))


def read(data: bytes, most: int = 1 << 16) -> Response:
    wire: Any = Wire(data, most)
    return Exchange("poll", Deadline.after(60.0), "server", wire).ask("GET", "/", {})


def of_http_client(data: bytes) -> tuple[int, bytes, bool]:
    class Sock:
        def makefile(self, _mode: str) -> io.BytesIO:
            return io.BytesIO(data)

    sock: Any = Sock()
    response = http.client.HTTPResponse(sock)
    response.begin()
    content = response.read()
    return response.status, content, not response.will_close


@pytest.mark.parametrize("most", [1, 2, 3, 7, 1 << 16])
@pytest.mark.parametrize("name", FINE)
def test_a_response_is_read_as_http_client_does_however_it_is_cut(name: str, most: int) -> None:
    found = read(FINE[name], most)
    assert (found.status, found.body, found.keeps) == of_http_client(FINE[name])
    assert found.keeps == (name in KEEPS)


@pytest.mark.parametrize("most", [1, 1 << 16])
@pytest.mark.parametrize("name", INVALID)
def test_what_can_be_read_in_two_ways_is_refused(name: str, most: int) -> None:
    with pytest.raises(ValueError, match="a "):
        read(INVALID[name], most)


@pytest.mark.parametrize("name", sorted(FINE.keys() - {"no length"}))
def test_a_response_that_is_cut_short_is_none(name: str) -> None:
    for length in range(len(FINE[name])):
        exchange = Exchange("poll", Deadline.after(60.0), "server", Wire(FINE[name][:length], 1 << 16))  # type: ignore[arg-type]
        with pytest.raises(EOFError) as caught:
            exchange.ask("GET", "/", {})
        assert isinstance(exchange.failed(caught.value), Unavailable)


def test_a_connection_on_which_more_has_come_is_not_kept() -> None:
    assert not read(FINE["a length"] + b"H").keeps
    assert not read(FINE["chunks"] + b"\r\n").keeps


def test_names_of_headers_have_no_case_and_the_first_value_counts() -> None:
    headers = read(OK + b"RETRY-AFTER: 1\r\nretry-after: 2\r\nContent-Length: 0\r\n\r\n").headers
    assert (headers.get("Retry-After"), headers.get("Date"), headers.get("x", "y")) == ("1", None, "y")


def test_the_end_of_a_connection_is_no_invalid_response() -> None:
    error = Attempt("poll", Deadline.after(60.0), "server").failed(EOFError())
    assert isinstance(error, Unavailable)


def test_a_proxy_that_answers_for_the_server_is_not_read() -> None:
    approved = answer(200, {"authentication_status": {"session_status": "active"}})
    with (
        scripted_server(polled("pending")) as server,
        connect_proxy(("127.0.0.1", server.port), ESTABLISHED + approved.head + approved.body) as proxy,
        session_on(server, proxy=proxy.url) as session,
    ):
        assert session.get_status(attempts=1).name == "pending"
        assert len(server.requests) == 1

"""What each fault on the way means: its error, whether the call may have started, how long it takes."""

from __future__ import annotations

import gzip
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from pam_iampass.client import IampassError, NotFound, ProtocolError, Refused, Unavailable
from tests.client.talk import CONFIDENTIAL, DEADLINE, USER, api_to, seconds, session_on
from tests.support.in_time import BUSY
from tests.support.scripted_server import (
    ACCEPT,
    ANSWER,
    HANDSHAKE,
    REQUEST,
    Step,
    answer,
    authority,
    close,
    hang,
    raw,
    reset,
    scripted_server,
    slow_handshake,
)

FINE: Any = {"authentication_status": {"authenticated": False, "reason": "NO_MOBILE_DEVICE"}, "status": True}
WHOLE = answer(200, FINE)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ELSEWHERE = {"Location": "https://elsewhere.example/"}

BEFORE_THE_REQUEST = {
    "reset when accepted": reset(ACCEPT),
    "closed when accepted": close(ACCEPT),
    "silent when accepted": hang(ACCEPT),
    "reset in the handshake": reset(HANDSHAKE),
    "closed in the handshake": close(HANDSHAKE),
    "silent in the handshake": hang(HANDSHAKE),
    "dripping in the handshake": slow_handshake(0.05),
}
AFTER_THE_REQUEST = {
    "reset after the request": reset(REQUEST),
    "closed after the request": close(REQUEST),
    "silent after the request": hang(REQUEST),
    "reset in the answer": reset(ANSWER, WHOLE),
    "closed in the answer": close(ANSWER, WHOLE),
    "silent in the answer": hang(ANSWER, WHOLE),
    "dripping head": WHOLE.dripping(head=0.2),
    "dripping body": WHOLE.dripping(body=0.2),
    "dripping chunks": raw(CHUNKED + b"1\r\n \r\n" * 50).dripping(body=0.05),
    "head cut in its first line": WHOLE.cut_at(12, "close"),
    "body cut": WHOLE.cut_at(-3, "close"),
    "body without length and farewell": answer(200, FINE, length=False).then("cut"),
    "chunks cut": raw(CHUNKED + b"5\r\n{}", "close"),
    "cut 503": answer(503, {"a": 1}).cut_at(-3, "close"),
}
NONSENSE = {
    "another protocol": raw(b"SSH-2.0-OpenSSH_10.0\r\n", "close"),
    "a chunk size that is no number": raw(CHUNKED + b"zz\r\n{}\r\n"),
    "a header line without end": raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"),
    "too many headers": raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n"),
    "a head without end": raw(b"HTTP/1.1 200 OK\r\n" + (b"X: " + b"y" * 3000 + b"\r\n") * 99),
    "interim answers without end": raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000),
    "two lengths": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 4\r\n\r\n{}{}"),
    "two lengths, one of which fits": raw(
        b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\nContent-Length: 4\r\n\r\n{"status":true}'
    ),
    "a large body": answer(200, body=b" " * 131_072 + b"{}"),
    "a large body in chunks": raw(CHUNKED + b"21000\r\n" + b" " * 0x21000 + b"\r\n0\r\n\r\n"),
    "a large body without length": answer(200, body=b" " * 1_000_000, length=False),
    "compressed": answer(200, body=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"}),
    "a gzip bomb": answer(200, body=gzip.compress(b" " * 10_000_000), headers={"Content-Encoding": "gzip"}),
    "301": answer(301, FINE, headers=ELSEWHERE),
    "307": answer(307, FINE, headers=ELSEWHERE),
    "304": raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    "103": raw(b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "101": raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
    "a status beyond 599": answer(700, FINE),
    "204": raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "wrong types": answer(200, {"authentication_status": [], "status": "true"}),
}
if sys.version_info >= (3, 12):  # before, http.client reads on until the deadline
    NONSENSE["a negative chunk size"] = raw(CHUNKED + b"-5\r\n{}\r\n")
COMPLETE_REFUSALS = {
    **{f"{status}": (answer(status, {"reason": USER}), Refused) for status in (401, 403)},
    **{f"{status}": (answer(status, FINE), ProtocolError) for status in (400, 409, 418, 451, 499)},
    "404": (answer(404, FINE), NotFound),
}
CANNOT_SERVE = {
    **{f"{status}": answer(status, FINE) for status in (500, 502, 503, 504, 599)},
    "503 compressed": answer(503, body=b"\x1f", headers={"Content-Encoding": "gzip"}),
    "503 without length": answer(503, body=b"sorry", length=False),
}
TABLE = [
    *[(name, step, Unavailable, False, 0) for name, step in BEFORE_THE_REQUEST.items()],
    *[(name, step, Unavailable, True, 1) for name, step in {**AFTER_THE_REQUEST, **CANNOT_SERVE}.items()],
    *[(name, step, ProtocolError, True, 1) for name, step in NONSENSE.items()],
    *[(name, step, kind, False, 1) for name, (step, kind) in COMPLETE_REFUSALS.items()],
]
CALLS = ["start", "poll", "end"]
#: One fault of each kind, which is tried in every call; what the others mean does not depend on the call.
OF_EACH_KIND = {
    *("reset when accepted", "dripping in the handshake", "reset after the request", "dripping body"),
    *("another protocol", "301", "401", "404", "503"),
}
CASES = [(row, call) for row in TABLE for call in (CALLS if row[0] in OF_EACH_KIND else ["poll"])]


@dataclass(frozen=True)
class Result:
    """The error of one call, and what the server saw of it."""

    error: IampassError
    elapsed: float
    requests: int
    connections: int


def lasts(step: Step) -> bool:
    """Whether the fault lasts until the deadline of the call."""
    return step.ending == "hang" or step.drip != (0.0, 0.0)


def make_call(server: Any, call: str, time: float = 60.0) -> None:
    if call == "start":
        with api_to(server) as api:
            api.authenticate_user(USER, deadline=seconds(time), attempts=1)
        return
    with session_on(server) as session:
        action = session.get_status if call == "poll" else session.destroy
        action(seconds(time), attempts=1)


def result_of(step: Step, call: str) -> Result:
    with scripted_server(step) as server:
        before = time.monotonic()
        with pytest.raises(IampassError) as caught:
            make_call(server, call, DEADLINE if lasts(step) else 60.0)
        return Result(caught.value, time.monotonic() - before, len(server.requests), server.connections)


@pytest.fixture(scope="module")
def lasting() -> Iterator[dict[tuple[Step, str], Future[Result]]]:
    """The calls that last until their deadline, made all at the same time."""
    made = [(row[1], call) for row, call in CASES if lasts(row[1])]
    authority().certificate("good")  # made once, not by each thread
    with ThreadPoolExecutor(len(made)) as pool:
        yield {each: pool.submit(result_of, *each) for each in made}


@pytest.mark.parametrize(
    ("step", "kind", "may_have_started", "requests", "call"),
    [pytest.param(*row[1:], call, id=f"{row[0]}-{call}") for row, call in CASES],
)
def test_each_fault_is_its_error_in_time_after_one_try(
    step: Step,
    kind: type[IampassError],
    may_have_started: bool,
    requests: int,
    call: str,
    lasting: dict[tuple[Step, str], Future[Result]],
) -> None:
    made = lasting.get((step, call))
    result = result_of(step, call) if made is None else made.result()
    assert type(result.error) is kind, result.error
    assert result.error.may_have_started is may_have_started
    if isinstance(result.error, Unavailable):
        assert not result.error.outage
    assert result.elapsed < (DEADLINE if lasts(step) else 0.0) + BUSY
    assert (result.requests, result.connections) == (requests, 1)
    assert_nothing_confidential_in(result.error)
    assert str(result.error).startswith(f"{call}: ")


@pytest.mark.parametrize("call", CALLS)
def test_a_429_proves_that_nothing_was_carried_out_unless_a_phone_would_ring(call: str) -> None:
    with scripted_server(answer(429, FINE)) as server:
        with pytest.raises(Unavailable, match="429") as caught:
            make_call(server, call)
        assert caught.value.may_have_started is (call == "start")
        assert not caught.value.outage
        assert len(server.requests) == 1


def assert_nothing_confidential_in(error: IampassError) -> None:
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    text += error.diagnostics() + repr(error) + repr(vars(error))
    for secret in CONFIDENTIAL:
        assert secret not in text
    assert text.isprintable() or "\x1b" not in text


def test_nothing_listens_where_the_server_should_be() -> None:
    with scripted_server() as server:
        pass
    for call in CALLS:
        with pytest.raises(Unavailable, match=r"connecting to localhost:.* refused") as caught:
            make_call(server, call)
        assert caught.value.may_have_started is False
        assert caught.value.outage
        assert_nothing_confidential_in(caught.value)


def test_a_call_without_time_left_touches_no_network() -> None:
    with scripted_server(WHOLE) as server, api_to(server) as api:
        with pytest.raises(Unavailable, match="no time") as caught:
            api.authenticate_user(USER, deadline=seconds(0.0))
        assert caught.value.may_have_started is False
        assert caught.value.timed_out
        assert not caught.value.outage
        assert server.connections == 0


@pytest.mark.parametrize(
    "step",
    [
        answer(200, {"status": True}, length=False),
        answer(201, {"status": True}),
        answer(200, {"status": True}, headers={"Content-Encoding": "identity"}),
        raw(
            CHUNKED
            + b'2\r\n{"\r\n d;x=y\r\nstatus": true\r\n1\r\n}\r\n0\r\nTrailer: x\r\n\r\n'.replace(b" d", b"d")
        ),
        raw(b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"status":true}'),
        raw(b'HTTP/1.0 200 OK\r\n\r\n{"status":true}', "close"),
        answer(200, body=b'{"status": true}' + b" " * (65_536 - 16)),
    ],
    ids=["no length", "201", "identity", "chunked", "after a 100", "HTTP/1.0", "just 64 KiB"],
)
def test_unusual_but_complete_answers_are_taken(step: Step) -> None:
    with scripted_server(step) as server, session_on(server) as session:
        assert session.destroy(seconds(20.0), attempts=1) is True


def test_no_redirect_is_followed_and_no_cookie_kept() -> None:
    with scripted_server() as server, session_on(server) as session:
        server.add(
            answer(302, headers={"Location": f"{server.url}/other", "Set-Cookie": "a=b; Path=/"}),
            answer(200, {"status": True}, headers={"Set-Cookie": "a=b; Path=/"}),
            answer(200, {"status": True}),
        )
        with pytest.raises(ProtocolError, match="redirects"):
            session.destroy()
        session.destroy()
        session.destroy()
        assert len(server.requests) == 3
        assert [request.header("Cookie") for request in server.requests] == [None] * 3


def test_bytes_left_over_after_an_answer_are_never_the_next_answer() -> None:
    approved = answer(200, {"authentication_status": {"session_status": "active"}})
    pending = answer(200, {"authentication_status": {"session_status": "pending"}})
    # More than the reader takes at once, so that a part of it stays within TLS.
    padded = raw(pending.head + pending.body + b"\r\n" * 5000 + approved.head + approved.body)
    for first in (raw(pending.head + pending.body + approved.head + approved.body), padded):
        with scripted_server(first, pending) as server, session_on(server) as session:
            assert session.get_status().name == "pending"
            assert session.get_status().name == "pending"


def test_an_answer_after_an_early_hint_is_never_the_next_answer() -> None:
    approved = answer(200, {"authentication_status": {"session_status": "active"}})
    pending = answer(200, {"authentication_status": {"session_status": "pending"}})
    hint = raw(b"HTTP/1.1 103 Early Hints\r\n\r\n" + approved.head + approved.body)
    with scripted_server(hint, pending) as server, session_on(server) as session:
        with pytest.raises(ProtocolError):
            session.get_status()
        assert session.get_status().name == "pending"
        assert server.connections == 2

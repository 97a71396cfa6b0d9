"""Responses of IAMPASS to the start, to a poll and to the end: each server misbehaves in one call.

The settings of these rows tolerate an outage, unless the row says otherwise.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import replace

from tests.client.talk import polled
from tests.support.deadline import DEADLINE
from tests.support.faults.case import ABORT, Case, Expected, Requests
from tests.support.faults.expected import (
    APPROVED,
    ASKED,
    AT_ONCE,
    DENIED,
    MISCONFIGURED,
    NO_DEVICE,
    NONSENSE,
    OUTAGE,
    STARTED,
    UNKNOWN,
    timed_out,
)
from tests.support.faults.server import (
    ACTIVE,
    ENDED,
    PENDING,
    Part,
    scripted,
    start_on,
    start_with,
)
from tests.support.scripted_server import ANSWER, REQUEST, Step, answer, close, garble, hang, raw, reset

TOLERANT = {"unavailable": "ignore"}
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ELSEWHERE = {"Location": "https://elsewhere.example/"}
#: A valid response, to be cut or slowed down.
WHOLE = answer(200, {"authentication_status": {"session_status": "active"}, "status": True})
#: The members of a valid response, to be surrounded by something invalid.
WRONG_ENOUGH = b'"authentication_status": {"session_status": "active"}, "status": true'

UNEXPECTED_STATUSES = {str(status): answer(status, {"reason": "x"}) for status in (400, 408, 409, 418)}
NOT_FOUND = answer(404, body=b"Client Application x or User y not found")
REFUSALS = {str(status): answer(status, {"reason": "x"}) for status in (401, 403)}
OUTAGES = {
    **{str(status): answer(status, body=b"<html>sorry</html>") for status in (429, 500, 501, 502, 503, 504)},
    "429 and a Retry-After of one second": answer(429, headers={"Retry-After": "1"}),
}
"""Complete, but the request may have begun: never tolerated."""

INVALID: dict[str, Step] = {
    "HTML": answer(200, body=b"<html>It works!</html>"),
    "an empty body": answer(200),
    "204": raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "a JSON list": answer(200, []),
    "a JSON string": answer(200, "active"),
    "a duplicate key": answer(200, body=b"{" + WRONG_ENOUGH + b", " + WRONG_ENOUGH + b"}"),
    "20,000 nested lists": answer(200, body=b'{"a": ' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
    "NaN": answer(200, body=b"{" + WRONG_ENOUGH + b', "x": NaN}'),
    "a number of 5,000 digits": answer(200, body=b"{" + WRONG_ENOUGH + b', "x": ' + b"9" * 5000 + b"}"),
    "invalid UTF-8": answer(200, body=b"{" + WRONG_ENOUGH + b', "x": "\xff\xfe"}'),
    "wrong types": answer(200, {"authentication_status": [True], "status": "true"}),
    "none of the expected keys": answer(200, {"welcome": True}),
    "a body of 100 KB": answer(200, body=b"{" + WRONG_ENOUGH + b"}" + b" " * 100_000),
    "1 MB without a Content-Length": answer(200, body=b" " * 1_000_000, length=False),
    "a header of 100 KB": raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"),
    "a compression bomb": answer(
        200, body=gzip.compress(b" " * 10_000_000), headers={"Content-Encoding": "gzip"}
    ),
    "an invalid chunk size": raw(CHUNKED + b"zz\r\n{}\r\n"),
    "two Content-Length headers": raw(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 4\r\n\r\n{}{}"
    ),
    "another protocol": raw(b"SSH-2.0-OpenSSH_10.0\r\n", "close"),
    "a redirect to another host": answer(302, headers=ELSEWHERE),
    "a permanent redirect": answer(308, headers=ELSEWHERE),
    "304": raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    "a protocol upgrade": raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
}
"""Complete and invalid: never an outage, never tolerated."""

LOST_AT_ONCE: dict[str, Step] = {
    "a connection reset": reset(REQUEST),
    "a closed connection": close(REQUEST),
    "half a response and a connection reset": reset(ANSWER, WHOLE),
    "half a response and a closed connection": WHOLE.cut_at(-20, "close"),
    "a truncated 503": answer(503, {"a": 1}).cut_at(-3, "close"),
    "a half-closed connection": Step(stage=REQUEST, ending="half_close"),
}
LOST_IN_TIME: dict[str, Step] = {
    "no response": hang(REQUEST),
    "half a response and nothing more": hang(ANSWER, WHOLE),
    "a header sent byte by byte": WHOLE.dripping(head=0.4),
    "a body sent byte by byte": WHOLE.dripping(body=0.2),
    "chunks sent byte by byte": raw(CHUNKED + b"1\r\n \r\n" * 50).dripping(body=0.1),
}
"""Incomplete: the server may have carried out the request."""

#: Sent in response to every call.
EVERYWHERE = (
    *(
        "HTML",
        "an empty body",
        "wrong types",
        "none of the expected keys",
        "a duplicate key",
        "20,000 nested lists",
        "NaN",
    ),
    *(
        "invalid UTF-8",
        "a body of 100 KB",
        "a compression bomb",
        "an invalid chunk size",
        "a redirect to another host",
    ),
)
STARTS: dict[str, Part] = {
    "`authenticated` as a string": start_with(authenticated="true"),
    "`authenticated` as a number": start_with(authenticated=1),
    "no `authenticated`": start_with(authenticated=...),
    "no `session_token`": start_with(session_token=...),
    "no `session_secret`": start_with(session_secret=...),
    "no `status_url`": start_with(status_url=...),
    "a `session_token` that is null": start_with(session_token=None),
    "a `session_token` with a line break": start_with(session_token="a\r\nX-Evil: 1"),
    "an unknown status": start_with(session_status="levitating"),
    "a status as a list": start_with(session_status=["active"]),
    "a `status_url` on another host": start_on("https://elsewhere.example", "status_url"),
    "a `logout_url` on another host": start_on("https://elsewhere.example", "logout_url"),
    "URLs without TLS": start_on("http://localhost", "status_url", "logout_url"),
    "neither a session nor a reason": answer(200, {"authentication_status": {"authenticated": False}}),
}


def table() -> Iterator[Case]:
    """All rows."""
    yield from _at_the_start()
    yield from _at_a_poll()
    yield from _at_the_end()


def _case(
    stage: str, what: str, expected: Expected, *parts: Part, timeout: int = 20, **options: object
) -> Case:
    settings = {**TOLERANT, "timeout": f"{timeout}s"}
    name = f"{stage} is answered with {what}"
    return Case(name, expected, scripted(*parts, **options), settings, stage=stage)


def _at_the_start() -> Iterator[Case]:
    def row(what: str, expected: Expected, *parts: Part, timeout: int = 20) -> Case:
        return _case("the start", what, expected, *parts, timeout=timeout)

    for what, step in UNEXPECTED_STATUSES.items():
        yield row(what, NONSENSE, step)
    yield row("404", UNKNOWN, NOT_FOUND)
    for what, step in REFUSALS.items():
        yield row(what, MISCONFIGURED.but(requests=STARTED), step)
    for what, step in OUTAGES.items():
        yield row(what, OUTAGE.but(requests=STARTED), step)
    for what, part in {**INVALID, **STARTS}.items():
        yield row(what, NONSENSE, part)
    for what, step in LOST_AT_ONCE.items():
        yield row(what, OUTAGE.but(requests=STARTED), step)
    for what, step in LOST_IN_TIME.items():
        yield row(what, OUTAGE.but(requests=STARTED, within=DEADLINE + 1.0), step, timeout=DEADLINE)
    yield row("bytes that are not TLS", MISCONFIGURED.but(requests=STARTED), garble(ANSWER, WHOLE))
    yield row("the reason NO_MOBILE_DEVICE", NO_DEVICE, _not_begun("NO_MOBILE_DEVICE"))
    yield row(
        "a reason with control characters",
        Expected(
            ABORT,
            "denied",
            "denied",
            "IAMPASS did not ask your phone: \\x1b[2J\\x0a\\u202eok\\x85. Please ask your administrator.",
            STARTED,
            record='reason="\\x1b[2J\\x0a\\u202eok\\x85"',
        ),
        _not_begun("\x1b[2J\n\u202eok\x85"),
    )
    yield row(
        "an approval before anyone was asked",
        NONSENSE.but(requests=AT_ONCE),
        start_with(session_status="active"),
        ENDED,
    )
    yield row("a pending session", APPROVED, PENDING, ACTIVE, ENDED)


def _not_begun(reason: str) -> Step:
    return answer(200, {"authentication_status": {"authenticated": False, "reason": reason}})


def _at_a_poll() -> Iterator[Case]:
    def row(what: str, expected: Expected, *parts: Part, timeout: int = 20) -> Case:
        return _case("a poll", what, expected, PENDING, *parts, timeout=timeout)

    once = Requests(1, 1, 1)
    everywhere = {what: INVALID[what] for what in EVERYWHERE}
    then_denied: dict[str, tuple[dict[str, Step], Expected]] = {
        "nonsense": (
            {**everywhere, "400": answer(400), "an unknown status": polled("levitating")},
            NONSENSE,
        ),
        "refusal": (REFUSALS, MISCONFIGURED),
    }
    for steps, expected in then_denied.values():
        for what, step in steps.items():
            yield row(what, expected.but(requests=once, within=4.0), step, ENDED)
    ended = "The request was ended before it was approved."
    ends = {
        "the status cancelled": (polled("cancelled"), "Denied on your phone."),
        "the status failed": (polled("failed"), "Your phone did not recognize you."),
        "the status closed": (polled("closed"), ended),
        "the status walkaway": (polled("walkaway"), "Your phone is not near you."),
        "404": (NOT_FOUND, ended),
    }
    for what, (step, message) in ends.items():
        yield row(what, DENIED.but(requests=once, message=message, within=4.0), step, ENDED)
    yield row("the status timeout", timed_out(20).but(requests=once, within=4.0), polled("timeout"), ENDED)
    for what, step in {"503": answer(503), "429": answer(429), **LOST_AT_ONCE}.items():
        yield row(
            f"{what}, and the next one with an approval",
            APPROVED.but(requests=Requests(1, 2, 1)),
            step,
            ACTIVE,
            ENDED,
        )
    until_deadline = OUTAGE.but(requests=ASKED, within=DEADLINE + 1.0)
    for what, step in {"503": answer(503), **LOST_IN_TIME}.items():
        yield _case(
            "a poll",
            f"{what} until the deadline",
            until_deadline,
            *(PENDING, ENDED),
            timeout=DEADLINE,
            always={"GET": step},
        )
    yield row(
        "429 and a Retry-After of one day until the deadline",
        until_deadline.but(requests=once),
        *(answer(429, headers={"Retry-After": "86400"}), ENDED),
        timeout=DEADLINE,
    )


def _at_the_end() -> Iterator[Case]:
    """The user is already logged in, and does not wait for it."""

    def row(what: str, ends: int, *parts: Part) -> Case:
        expected = APPROVED.but(requests=Requests(1, 1, ends))
        return _case("the end", what, expected, PENDING, ACTIVE, *parts)

    repeated: dict[str, Step] = {
        "502": answer(502),
        "503": answer(503),
        "504": answer(504),
        "429": answer(429),
    }
    for what, step in {**repeated, **LOST_AT_ONCE}.items():
        yield row(f"{what} every time", 3, *[step] * 3)
    rejected = {"400": UNEXPECTED_STATUSES["400"], "404": NOT_FOUND}
    once = {"500": answer(500), **rejected, **REFUSALS, **{what: INVALID[what] for what in EVERYWHERE}}
    for what, step in once.items():
        yield row(what, 1, step)
    for what in ("no response", "a body sent byte by byte"):
        yield replace(row(what, 1, LOST_IN_TIME[what]), lingers=10.0)
    yield row("`status` false", 1, answer(200, {"status": False}))

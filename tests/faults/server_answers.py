"""Responses of IAMPASS to the start, to a poll and to the end: each server misbehaves in one call.

One row for each kind of error; tests/client/test_faults.py has every fault that leads to one. The settings of these
rows tolerate an outage.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.client.talk import polled
from tests.support import deadline
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
from tests.support.faults.server import ACTIVE, ENDED, PENDING, Part, scripted, start_on, start_with
from tests.support.scripted_server import ANSWER, REQUEST, Step, answer, close, garble, hang

WHOLE = answer(200, {"authentication_status": {"session_status": "active"}, "status": True})
HTML = answer(200, body=b"<html>It works!</html>")
NOT_FOUND = answer(404, body=b"Client Application x or User y not found")
REFUSED = answer(403, {"reason": "x"})


def table() -> Iterator[Case]:
    """All rows."""
    yield from _at_the_start()
    yield from _at_a_poll()
    yield from _at_the_end()


def _case(
    stage: str, what: str, expected: Expected, *parts: Part, timeout: int = 20, **options: object
) -> Case:
    settings = {"unavailable": "ignore", "timeout": f"{timeout}s"}
    return Case(f"{stage} is answered with {what}", expected, scripted(*parts, **options), settings)


def _at_the_start() -> Iterator[Case]:
    def row(what: str, expected: Expected, *parts: Part, timeout: int = 20) -> Case:
        return _case("the start", what, expected, *parts, timeout=timeout)

    sent = OUTAGE.but(requests=STARTED)
    yield row("400", NONSENSE, answer(400, {"reason": "x"}))
    yield row("404", UNKNOWN, NOT_FOUND)
    yield row("401", MISCONFIGURED.but(requests=STARTED), answer(401, {"reason": "x"}))
    yield row("503", sent, answer(503, body=b"<html>sorry</html>"))
    yield row("429", sent, answer(429))
    yield row("HTML", NONSENSE, HTML)
    yield row("a `status_url` on another host", NONSENSE, start_on("https://elsewhere.example", "status_url"))
    yield row("a closed connection", sent, close(REQUEST))
    yield row("no response", sent.but(within=DEADLINE + 1.0), hang(REQUEST), timeout=DEADLINE)
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


def _not_begun(reason: str) -> Step:
    return answer(200, {"authentication_status": {"authenticated": False, "reason": reason}})


def _at_a_poll() -> Iterator[Case]:
    def row(what: str, expected: Expected, *parts: Part, timeout: int = 20) -> Case:
        return _case("a poll", what, expected, PENDING, *parts, timeout=timeout)

    once = Requests(1, 1, 1)
    yield row("HTML", NONSENSE.but(requests=once, within=4.0), HTML, ENDED)
    yield row("an unknown status", NONSENSE.but(requests=once, within=4.0), polled("levitating"), ENDED)
    yield row("403", MISCONFIGURED.but(requests=once, within=4.0), REFUSED, ENDED)
    ended = "The request was ended before it was approved."
    ends = {
        "the status cancelled": (polled("cancelled"), deadline.DENIED),
        "the status failed": (polled("failed"), "Your phone did not recognize you."),
        "the status closed": (polled("closed"), ended),
        "the status walkaway": (polled("walkaway"), "Your phone is not near you."),
        "404": (NOT_FOUND, ended),
    }
    for what, (step, message) in ends.items():
        yield row(what, DENIED.but(requests=once, message=message, within=4.0), step, ENDED)
    yield row("the status timeout", timed_out(20).but(requests=once, within=4.0), polled("timeout"), ENDED)
    yield row(
        "503, and the next one with an approval",
        APPROVED.but(requests=Requests(1, 2, 1)),
        *(answer(503), ACTIVE, ENDED),
    )
    until_deadline = OUTAGE.but(requests=ASKED, within=DEADLINE + 1.0)
    for what, step in {"503": answer(503), "no response": hang(REQUEST)}.items():
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
    for what, ends, step in (("503 every time", 3, answer(503)), ("404", 1, NOT_FOUND), ("HTML", 1, HTML)):
        expected = APPROVED.but(requests=Requests(1, 1, ends))
        yield _case("the end", what, expected, PENDING, ACTIVE, *[step] * ends)

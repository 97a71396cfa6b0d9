"""What users do on the phone and when."""

from __future__ import annotations

from collections.abc import Iterator

from tests.client.talk import polled
from tests.support.deadline import DEADLINE
from tests.support.faults.case import KILLED, Case, Expected, Requests
from tests.support.faults.expected import (
    APPROVED,
    DENIED,
    NO_DEVICE,
    timed_out,
)
from tests.support.faults.place import at_once, killed_meanwhile
from tests.support.faults.server import ACTIVE, ENDED, PENDING, sandbox, scripted

AT_DEADLINE = {"timeout": f"{DEADLINE}s"}


def table() -> Iterator[Case]:
    """All rows."""
    once = Requests(1, 1, 1)
    yield Case("the user approves", APPROVED, sandbox("approve", delay=0.5))
    yield Case("the user denies", DENIED, sandbox("deny", delay=0.5))
    yield Case("the user does not respond", timed_out(), sandbox("ignore"), AT_DEADLINE)
    yield Case("the user has no phone", NO_DEVICE, sandbox(device=False))
    yield Case(
        "the user approves after the deadline", timed_out(), sandbox(delay=DEADLINE + 0.1), AT_DEADLINE
    )
    yield Case(
        "the user denies, then approves",
        DENIED.but(requests=once),
        scripted(PENDING, polled("cancelled"), ENDED, ACTIVE),
    )
    yield Case(
        "the user approves, then denies",
        APPROVED.but(requests=once),
        scripted(PENDING, ACTIVE, ENDED, polled("cancelled")),
    )
    yield Case(
        "the user is in the status `identifying`, then approves",
        APPROVED.but(requests=Requests(1, 2, 1), also="Your phone is checking that it is you."),
        scripted(PENDING, polled("identifying"), ACTIVE, ENDED),
    )
    yield Case(
        "the application is killed while the request is pending",
        Expected(KILLED, "cancelled", "denied", "", Requests(1, None, 1, least=0)),
        sandbox("ask"),
        {"timeout": "30s"},
        play=killed_meanwhile,
    )
    late = APPROVED.but(requests=Requests(10, None, 10), within=8.0)
    yield Case(
        "ten users log in at the same time",
        late,
        sandbox(delay=0.5),
        play=at_once,
        people=10,
    )

"""The state kept between logins: the throttle, the recovery codes, and their files."""

from __future__ import annotations

from collections.abc import Iterator

from pam_iampass.login.throttle_store import OTHER_LOGIN as OTHERS
from tests.faults.conversations import SSHD
from tests.support.faults.case import ABORT, MAXTRIES, NONE, SUCCESS, Case, Expected, Requests
from tests.support.faults.expected import (
    APPROVED,
    BYPASSED,
    DENIED,
    OUTAGE,
)
from tests.support.faults.place import both_approved, in_turn, with_code
from tests.support.faults.server import ACTIVE, ENDED, PENDING, nobody, sandbox, scripted

FINE = scripted(PENDING, ACTIVE, ENDED)
TEN = {"timeout": "10s"}
BACKOFF = Expected(
    ABORT,
    "throttled",
    "denied",
    "Too many requests: none was sent. Wait …, or use a recovery code.",
)
RECOVERED = Expected(
    SUCCESS,
    "recovered",
    "success",
    "The recovery code was accepted: 9 recovery codes are left.",
    record='reason="9 recovery codes are left',
    within=2.0,
)
WRONG_CODE = Expected(
    MAXTRIES,
    "denied",
    "denied",
    "This recovery code is wrong or was already used.",
    record='reason="wrong recovery code"',
    within=2.0,
)


def table() -> Iterator[Case]:
    """All rows."""
    yield Case("the user is bypassed", BYPASSED, FINE, prepare=lambda place: place.bypass())
    yield from _requests()
    yield from _codes()


def _requests() -> Iterator[Case]:
    yield Case(
        "the hourly limit of the user is reached",
        DENIED.but(requests=Requests(1, None, 1)),
        sandbox("deny"),
        {"throttle": "{requests_per_hour: 1}"},
        play=in_turn({}, {"rhost": "192.0.2.9"}),
        others=(BACKOFF,),
    )
    twice = Requests(2, None, 2)
    yield Case(
        "two logins from the same origin: the user approves both",
        APPROVED.but(requests=twice, within=10.0),
        sandbox("ask"),
        TEN,
        play=both_approved,
        others=(APPROVED.but(also=OTHERS, within=10.0),),
    )
    yield Case(
        "the user logs in again after two denials",
        DENIED.but(requests=Requests(2, None, 2)),
        sandbox("deny"),
        play=in_turn({}, {}, {}),
        others=(DENIED, BACKOFF),
    )


def _codes() -> Iterator[Case]:
    code = {"typed": "CODE", **SSHD}
    yield Case(
        "the user types the same recovery code twice",
        RECOVERED,
        FINE,
        play=with_code(code, code),
        others=(WRONG_CODE,),
    )
    yield Case(
        "the user types a recovery code during backoff",
        DENIED.but(code=MAXTRIES, requests=Requests(2, None, 2)),
        sandbox("deny"),
        play=with_code(SSHD, SSHD, SSHD, code),
        others=(DENIED.but(code=MAXTRIES), BACKOFF.but(code=MAXTRIES), RECOVERED),
    )
    yield Case(
        "IAMPASS is unreachable outside sshd, and the user types a recovery code",
        RECOVERED.but(also=OUTAGE.message),
        nobody("https://127.0.0.1:1"),
        play=with_code({"typed": "CODE"}),
    )
    yield Case(
        "IAMPASS is unreachable outside sshd, and the user types nothing",
        OUTAGE.but(requests=NONE),
        nobody("https://127.0.0.1:1"),
        play=with_code({"typed": ""}),
    )

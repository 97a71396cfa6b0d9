"""The state kept between logins: the rate limit, the recovery codes, and their files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

from pam_iampass.login.rate_limit_json import encoded
from pam_iampass.login.rate_limit_state import RateLimitState, SentRequest
from pam_iampass.login.turn import OTHER_LOGIN as OTHERS
from pam_iampass.system.boot import since_boot
from tests.faults.conversations import SSHD
from tests.support.faults.case import ABORT, MAXTRIES, NONE, SUCCESS, Case, Expected, Requests
from tests.support.faults.circumstances import STATE_BY_LINK, STATE_FOLDER
from tests.support.faults.expected import (
    APPROVED,
    BYPASSED,
    DENIED,
    EXEMPT,
    MISCONFIGURED,
    OUTAGE,
)
from tests.support.faults.place import Place, both_approved, from_two_origins, in_turn, with_code
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
    for circumstance in STATE_FOLDER:
        expected = APPROVED if circumstance is STATE_BY_LINK else MISCONFIGURED
        yield Case(str(circumstance), expected, FINE, circumstance=circumstance)
        exempt = {"exempt": "{users: ['{user}']}"}
        name = f"{circumstance}, and the user is exempt"
        yield Case(name, EXEMPT, FINE, exempt, circumstance=circumstance)
    for what, damage in DAMAGE.items():
        yield Case(f"the user's rate limit state {what}", MISCONFIGURED, FINE, prepare=_done(damage))
    yield Case("the user is bypassed", BYPASSED, FINE, prepare=lambda place: place.bypass())
    yield from _requests()
    yield from _codes()


def _write(file: Path, data: bytes, owner: str = "iampass") -> None:
    file.write_bytes(data)
    file.chmod(0o600)
    shutil.chown(file, owner)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "is empty": lambda file: _write(file, b""),
    "is truncated": lambda file: _write(file, b'{"version": 1, "sal'),
    "is binary": lambda file: _write(file, bytes(range(256))),
    "is owned by another user": lambda file: _write(file, b"{}", "nobody"),
    "is a directory": lambda file: file.mkdir(),
    "is a FIFO": lambda file: os.mkfifo(file),
    "is 2 MiB": lambda file: _write(file, b" " * 2 * 1024 * 1024),
}


def _done(damage: Callable[[Path], object]) -> Callable[[Place], object]:
    return lambda place: damage(place.state_file())


def _one_request() -> bytes:
    return encoded(RateLimitState("00", requests=[SentRequest("00", since_boot())]))


def _requests() -> Iterator[Case]:
    yield Case(
        "the hourly limit of the user is reached",
        BACKOFF,
        FINE,
        {"throttle": "{requests_per_hour: 1}"},
        prepare=lambda place: _write(place.state_file(), _one_request()),
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
        "two logins from different origins: the user denies the first and approves the second",
        DENIED.but(requests=twice, within=10.0),
        sandbox("ask"),
        TEN,
        play=from_two_origins,
        others=(APPROVED.but(also=OTHERS, within=10.0),),
    )
    yield Case(
        "the user logs in again after two denials",
        DENIED.but(requests=Requests(2, None, 2)),
        sandbox("deny"),
        play=in_turn({}, {}, {}),
        others=(DENIED, BACKOFF),
    )
    yield Case(
        "the user logs in from another origin after two denials",
        DENIED.but(requests=Requests(3, None, 3)),
        sandbox("deny"),
        play=in_turn({}, {}, {"rhost": "192.0.2.9"}),
        others=(DENIED, DENIED),
    )


def _codes() -> Iterator[Case]:
    code = {"typed": "CODE", **SSHD}
    yield Case("the user types a recovery code in sshd", RECOVERED, FINE, play=with_code(code))
    yield Case(
        "the user types the same recovery code twice",
        RECOVERED,
        FINE,
        play=with_code(code, code),
        others=(WRONG_CODE,),
    )
    yield Case(
        "three logins use the same recovery code at the same time",
        RECOVERED.but(within=4.0),
        FINE,
        play=with_code(code, code, code, at_once=True),
        others=(WRONG_CODE.but(within=4.0),) * 2,
    )
    yield Case(
        "the user types a recovery code during backoff",
        DENIED.but(code=MAXTRIES, requests=Requests(2, None, 2)),
        sandbox("deny"),
        play=with_code(SSHD, SSHD, SSHD, code),
        others=(DENIED.but(code=MAXTRIES), BACKOFF.but(code=MAXTRIES), RECOVERED),
    )
    wrong = {"typed": "0123-4567-89ab-cdef", **SSHD}
    yield Case("the user types a wrong recovery code", WRONG_CODE, FINE, play=with_code(wrong))
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
    yield Case(
        "the user's recovery codes are corrupt, and the user approves on the phone",
        APPROVED,
        FINE,
        prepare=lambda place: _write(place.codes_file(), b"{"),
    )
    yield Case(
        "the user's recovery codes are corrupt, and the user types one",
        MISCONFIGURED.but(code=MAXTRIES),
        FINE,
        prepare=lambda place: _write(place.codes_file(), b"{"),
        application=wrong,
    )

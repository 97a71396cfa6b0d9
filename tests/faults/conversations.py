"""Applications with unusual conversation functions; tests/pam/native/test_conversation.py has all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.support.faults.case import (
    ABORT,
    AUTHINFO_UNAVAIL,
    MAXTRIES,
    Case,
    Expected,
    Option,
)
from tests.support.faults.expected import APPROVED, BY_THE_DOOR
from tests.support.faults.server import ACTIVE, ENDED, PENDING, scripted

#: What makes an application look like sshd, where the user presses Enter before the request is sent.
SSHD: dict[str, Option] = {"env": "SSH_AUTH_INFO_0="}
CANCELLED = Expected(ABORT, "cancelled", "denied")
SHOWN_NOTHING = APPROVED.but(message="")

APPROVES = scripted(PENDING, ACTIVE, ENDED)


def table() -> Iterator[Case]:
    """All rows."""
    yield _row(
        "the user types bytes that are not UTF-8, in sshd", SHOWN_NOTHING, {}, **SSHD, typed=b"\xff\xfe"
    )
    yield _row(
        "sshd answers the prompt itself because root may not log in",
        CANCELLED.but(code=MAXTRIES),
        {},
        **SSHD,
        typed=b"\b\n\r\x7fINCORRECT",
    )
    yield _row(
        "there is no conversation function, and prompt is always",
        CANCELLED,
        {"prompt": "always"},
        conversation="none",
    )
    yield _row("there is no conversation function", SHOWN_NOTHING, conversation="none")
    yield _row(
        "there is neither a conversation function nor a user",
        BY_THE_DOOR.but(record="reason=the application names no user"),
        conversation="none",
        user=False,
    )
    yield _row(
        "the application is not root",
        Expected(
            AUTHINFO_UNAVAIL, "unavailable", "denied", record="reason=the application does not run as root"
        ),
        real_uid=65534,
        effective_uid=65534,
    )


def _row(
    what: str,
    expected: Expected,
    settings: Mapping[str, str] | None = None,
    **application: Option,
) -> Case:
    return Case(
        what,
        expected,
        APPROVES,
        settings or {},
        application=application,
    )

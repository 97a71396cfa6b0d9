"""Applications with unusual conversation functions."""

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
    yield from _in_sshd()
    yield from _elsewhere()
    yield _row(
        "the application is not root",
        Expected(
            AUTHINFO_UNAVAIL, "unavailable", "denied", record="reason=the application does not run as root"
        ),
        real_uid=65534,
        effective_uid=65534,
    )


def _in_sshd() -> Iterator[Case]:
    """The request is sent without the prompt if the prompt fails. An approval is not displayed."""

    def row(what: str, expected: Expected, **application: Option) -> Case:
        return _row(what + ", in sshd", expected, **SSHD, **application)  # type: ignore[arg-type]

    yield row("the conversation function fails at prompts", SHOWN_NOTHING, conversation="error")
    yield row("the conversation function always fails", SHOWN_NOTHING, conversation="error-always")
    yield row("there is no conversation function", SHOWN_NOTHING, conversation="none")
    yield row("the user types bytes that are not UTF-8", SHOWN_NOTHING, typed=b"\xff\xfe")
    refused = Expected(MAXTRIES, "cancelled", "denied")
    yield row(
        "sshd answers the prompt itself because root may not log in",
        refused,
        typed=b"\b\n\r\x7fINCORRECT",
    )


def _elsewhere() -> Iterator[Case]:
    asked = {"prompt": "always"}
    yield _row("the conversation function fails at prompts", CANCELLED, asked, conversation="error")
    yield _row("the application answers the prompt with NULL", APPROVED, asked, conversation="null")
    yield _row(
        "there is no conversation function, and prompt is always",
        CANCELLED,
        asked,
        conversation="none",
    )
    yield _row(
        "there is no conversation function",
        SHOWN_NOTHING,
        conversation="none",
    )
    yield _row(
        "the conversation function always fails",
        APPROVED,
        conversation="error-always",
    )
    yield _row("the application answers a message that is not a prompt", APPROVED, conversation="echo")
    yield _row(
        "there is neither a conversation function nor a user",
        BY_THE_DOOR.but(record="reason=the application names no user"),
        conversation="none",
        user=False,
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

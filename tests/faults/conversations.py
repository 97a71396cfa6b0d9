"""Applications with ways of their own at the conversation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.support.faults.case import (
    ABORT,
    AUTHINFO_UNAVAIL,
    CRASHED,
    MAXTRIES,
    WITH_PAM_PYTHON,
    Case,
    Difference,
    Expected,
    Option,
)
from tests.support.faults.expected import APPROVED_AT_ONCE, BY_THE_DOOR
from tests.support.faults.server import ACTIVE_AT_ONCE, ENDED, scripted

#: What makes an application look like sshd, where the person is asked before the phone rings.
SSHD: dict[str, Option] = {"env": "SSH_AUTH_INFO_0="}
CANCELLED = Expected(ABORT, "cancelled", "denied")
SHOWN_NOTHING = APPROVED_AT_ONCE.but(message="")
_CRASH = "pam_python.so itself crashes at such a conversation, and takes the application with it"
#: The application dies of SIGSEGV at the prompt, and the module learns that it is gone.
CRASHED_AT_THE_PROMPT = Expected(CRASHED, "cancelled", "denied")


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
    """Where nobody can be asked to press Enter first, the request goes out without that. An approval is not told of."""

    def row(what: str, expected: Expected, crashes: bool, **application: Option) -> Case:
        crash = CRASHED_AT_THE_PROMPT if crashes else None
        return _row(what + ", in sshd", expected, crash, **SSHD, **application)  # type: ignore[arg-type]

    yield row("the conversation fails at prompts", SHOWN_NOTHING, True, conversation="error")
    yield row("the prompt is answered with NULL", SHOWN_NOTHING, False, conversation="null")
    yield row("the conversation gives no answers at all", SHOWN_NOTHING, True, conversation="no-array")
    yield row("the conversation always fails", SHOWN_NOTHING, True, conversation="error-always")
    yield row("there is no conversation", SHOWN_NOTHING, True, conversation="none")
    yield row("100,000 characters are typed", SHOWN_NOTHING, False, conversation="long", typed=100_000)
    yield row("what is typed is no UTF-8", SHOWN_NOTHING, False, typed=b"\xff\xfe")
    refused = Expected(MAXTRIES, "cancelled", "denied")
    yield row("sshd answers for a root whom it has refused", refused, False, typed=b"\b\n\r\x7fINCORRECT")


def _elsewhere() -> Iterator[Case]:
    asked = {"prompt": "always"}
    crash = CRASHED_AT_THE_PROMPT
    while_told = APPROVED_AT_ONCE.but(code=CRASHED)
    yield _row("the conversation fails at prompts", CANCELLED, crash, asked, conversation="error")
    yield _row("the prompt is answered with NULL", APPROVED_AT_ONCE, None, asked, conversation="null")
    yield _row(
        "there is no conversation, and it is to be asked", CANCELLED, crash, asked, conversation="none"
    )
    yield _row("there is no conversation", SHOWN_NOTHING, while_told.but(message=""), conversation="none")
    yield _row("the conversation always fails", APPROVED_AT_ONCE, while_told, conversation="error-always")
    yield _row("the application answers what was no question", APPROVED_AT_ONCE, None, conversation="echo")
    yield _row(
        "there is no conversation and no user",
        BY_THE_DOOR.but(record="reason=the application names no user"),
        Expected(CRASHED, "", ""),
        why="libpam itself crashes when it is asked for a name there, and Python cannot know before",
        conversation="none",
        user=False,
    )


def _row(
    what: str,
    expected: Expected,
    crash: Expected | None = None,
    settings: Mapping[str, str] | None = None,
    *,
    why: str = _CRASH,
    **application: Option,
) -> Case:
    return Case(
        what,
        expected,
        scripted(ACTIVE_AT_ONCE, ENDED),
        settings or {},
        application=application,
        about_pam=True,
        differs={WITH_PAM_PYTHON: Difference(why, crash)} if crash else {},
    )

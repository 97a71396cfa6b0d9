"""Applications with unusual conversation functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager

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
    Requests,
)
from tests.support.faults.expected import APPROVED, BY_THE_DOOR
from tests.support.faults.place import Place
from tests.support.faults.server import ACTIVE, ENDED, PENDING, sandbox, scripted

#: What makes an application look like sshd, where the user presses Enter before the request is sent.
SSHD: dict[str, Option] = {"env": "SSH_AUTH_INFO_0="}
CANCELLED = Expected(ABORT, "cancelled", "denied")
SHOWN_NOTHING = APPROVED.but(message="")
_CRASH = "pam_python.so crashes in this conversation, and the application with it"
#: The application dies of SIGSEGV at the prompt or at the first message, and the module notices that.
CRASHED_AT_THE_PROMPT = Expected(CRASHED, "cancelled", "denied")
CRASHED_AT_A_MESSAGE = CRASHED_AT_THE_PROMPT.but(requests=Requests(1, None, 1, least=0))


APPROVES = scripted(PENDING, ACTIVE, ENDED)


def _unanswered_after_a_crash(place: Place) -> AbstractContextManager[object]:
    """However late the module notices the crash, nobody has approved before."""
    return (sandbox("ask") if place.way == WITH_PAM_PYTHON else APPROVES)(place)


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

    def row(what: str, expected: Expected, crashes: bool, **application: Option) -> Case:
        crash = CRASHED_AT_THE_PROMPT if crashes else None
        return _row(what + ", in sshd", expected, crash, **SSHD, **application)  # type: ignore[arg-type]

    yield row("the conversation function fails at prompts", SHOWN_NOTHING, True, conversation="error")
    yield row("the application answers the prompt with NULL", SHOWN_NOTHING, False, conversation="null")
    yield row("the conversation function returns no responses", SHOWN_NOTHING, True, conversation="no-array")
    yield row("the conversation function always fails", SHOWN_NOTHING, True, conversation="error-always")
    yield row("there is no conversation function", SHOWN_NOTHING, True, conversation="none")
    yield row("the user types 100,000 characters", SHOWN_NOTHING, False, conversation="long", typed=100_000)
    yield row("the user types bytes that are not UTF-8", SHOWN_NOTHING, False, typed=b"\xff\xfe")
    refused = Expected(MAXTRIES, "cancelled", "denied")
    yield row(
        "sshd answers the prompt itself because root may not log in",
        refused,
        False,
        typed=b"\b\n\r\x7fINCORRECT",
    )


def _elsewhere() -> Iterator[Case]:
    asked = {"prompt": "always"}
    crash = CRASHED_AT_THE_PROMPT
    yield _row("the conversation function fails at prompts", CANCELLED, crash, asked, conversation="error")
    yield _row("the application answers the prompt with NULL", APPROVED, None, asked, conversation="null")
    yield _row(
        "there is no conversation function, and prompt is always",
        CANCELLED,
        crash,
        asked,
        conversation="none",
    )
    yield _row(
        "there is no conversation function",
        SHOWN_NOTHING,
        CRASHED_AT_A_MESSAGE,
        conversation="none",
    )
    yield _row(
        "the conversation function always fails",
        APPROVED,
        CRASHED_AT_A_MESSAGE,
        conversation="error-always",
    )
    yield _row("the application answers a message that is not a prompt", APPROVED, None, conversation="echo")
    yield _row(
        "there is neither a conversation function nor a user",
        BY_THE_DOOR.but(record="reason=the application names no user"),
        Expected(CRASHED, "", ""),
        why="libpam crashes when it prompts for the user name, and Python cannot detect this in advance",
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
        _unanswered_after_a_crash if crash is CRASHED_AT_A_MESSAGE else APPROVES,
        settings or {},
        application=application,
        about_pam=True,
        differs={WITH_PAM_PYTHON: Difference(why, crash)} if crash else {},
    )

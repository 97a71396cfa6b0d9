"""What a login of a user would result in, and whether the user has a phone, in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from pam_iampass.cli.bypass import bypass_words
from pam_iampass.cli.output import Part, count, line, progress
from pam_iampass.client import IampassError
from pam_iampass.doctor.iampass import PhoneState, phones_of
from pam_iampass.doctor.user_status import UserState, UserStatus, UserStatusReport, user_status

STATES = {
    UserState.ASKED: ("needs the phone", "green", "needs the phone", "need the phone"),
    UserState.EXEMPT: ("exempt", "yellow", "is exempt", "are exempt"),
    UserState.DENIED: ("denied", "yellow", "has no token and is denied", "have no token and are denied"),
    UserState.IGNORED: (
        "passes without a second factor",
        "bold red",
        "passes without a token",
        "pass without a token",
    ),
    UserState.BROKEN: ("denied", "bold red", "is denied because of an error", "are denied because of errors"),
    UserState.NO_ACCOUNT: ("never looked up", "yellow", "has no account", "have no account"),
}
"""Each state in words, with its style, and as the end of a sentence about one user and about several."""


def login_words(status: UserStatus, phone: PhoneState | None = None) -> tuple[str, str]:
    """The result of a login, in a few words."""
    words, style, *_ = STATES[status.state]
    if phone in WITHOUT:
        words, style = "needs a phone, and has none", "bold red"
    if status.reason:
        words += f": {status.reason}"
    services = "; ".join(f"{name}: {STATES[state][0]}" for name, state in status.services.items())
    for bypass in status.bypasses:
        words, style = f"{words}; {bypass_words(bypass)}", "bold red"
    return f"{words} ({services})" if services else words, style


def summary(users: Sequence[UserStatus]) -> str:
    """How many users there are in each state."""
    parts = []
    for state, (_, _, one, many) in STATES.items():
        number = sum(user.state is state for user in users)
        if number:
            parts.append(f"{number:,} {one if number == 1 else many}")
    return f"{count(len(users), 'user')}: {', '.join(parts)}."


def show_login(config: Path, name: str) -> None:
    """Say what a login of the user would result in."""
    (status,) = user_status(config, [name]).users
    if status.state is not UserState.NO_ACCOUNT:
        words, style = login_words(status)
        line((f"A login of {name}: {words}.", style))


WITHOUT = (PhoneState.NONE, PhoneState.UNKNOWN)
"""Who cannot be asked."""
PHONES: dict[str, Part] = {
    "registered": ("registered", "green"),
    "none": ("none", "bold red"),
    "unknown": ("unknown at IAMPASS", "bold red"),
    "not_asked": ("no answer", "yellow"),
}
"""Each `PhoneState` in words, with its style."""


def ask_phones(found: UserStatusReport, config: Path, quiet: bool) -> dict[str, PhoneState]:
    """What IAMPASS says about each user of the report who is asked on the phone. Raises ClickException."""
    try:
        with progress(quiet) as show:
            return phones_of(found, config, show)
    except IampassError as error:
        raise click.ClickException(error.diagnostics()) from None

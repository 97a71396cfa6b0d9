"""Whether users have a phone, according to IAMPASS."""

from __future__ import annotations

from pathlib import Path

import click

from pam_iampass.cli.output import Part, progress
from pam_iampass.client import IampassError
from pam_iampass.doctor.phones import PhoneState, phones_of
from pam_iampass.doctor.user_status import UserStatusReport

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

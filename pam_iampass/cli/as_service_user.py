"""What the module remembers of an account, for the verbs that show and change it."""

from __future__ import annotations

import pwd
from typing import Any, Callable

import click

from pam_iampass.errors import shown
from pam_iampass.system.as_service_user import CannotBecome
from pam_iampass.system.as_service_user import as_service_user as run_as_service_user


def as_service_user(work: Callable[[], Any]) -> Any:
    """What `work` returns, done as the user that the module runs as. Raises StateError and ClickException."""
    try:
        return run_as_service_user(work)
    except CannotBecome as error:
        raise click.ClickException(str(error)) from None


def account_name(name: str) -> str:
    """The name of an account as NSS has it. Raises ClickException where NSS knows none."""
    try:
        return pwd.getpwnam(name).pw_name
    except (KeyError, ValueError):
        raise click.ClickException(f"{shown(name)} is no account on this machine") from None

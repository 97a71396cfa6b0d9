"""`pam-iampass leave`: takes `pam-iampass join` back."""

from __future__ import annotations

import os

import click

from pam_iampass.audit.journal import Act
from pam_iampass.cli import output
from pam_iampass.setup import join


@click.command()
@click.option(
    "--force",
    is_flag=True,
    help="Leave although the gateway cannot be told, or although every login will be denied afterwards.",
)
def command(force: bool) -> None:
    """Leave the gateway that this machine has joined, and restore the settings and the secret from before.

    The gateway forgets this host and ends its sessions. If the settings were edited since it has joined, only the keys
    that led to the gateway change back.

    The exit status is 0, or 1 if nothing was changed.
    """
    if os.geteuid() != 0:
        raise click.ClickException("this changes root's files: run it as root")
    url = join.leave(force=force)
    output.record(Act.LEAVE, "", url)
    output.line(("Left", "green"), f" {url}. {join.SETTINGS} is as before. Next: pam-iampass check")

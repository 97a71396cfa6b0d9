"""`pam-iampass leave`: takes `pam-iampass join` back."""

from __future__ import annotations

import os

import click

from pam_iampass.audit.journal import Act
from pam_iampass.cli import output
from pam_iampass.setup import join
from pam_iampass.setup.sandbox_use import SETTINGS, services_denied_by


@click.command()
@click.option(
    "--force",
    is_flag=True,
    help="Leave although the gateway cannot be told, or although every login will be denied afterwards.",
)
def command(force: bool) -> None:
    """Leave the gateway that this machine has joined: it asks IAMPASS itself again, as iampass.yaml says.

    The gateway forgets this host and ends its sessions. Logins that this machine keeps go on, without a question to
    anybody, for as long as they may.

    The exit status is 0, or 1 if nothing was changed.
    """
    if os.geteuid() != 0:
        raise click.ClickException("this changes root's files: run it as root")
    url, untold = join.leave(force=force)
    output.record(Act.LEAVE, "", url)
    output.line(("Left", "green"), f" {url}. Next: pam-iampass check --settings")
    if untold:
        output.line("The gateway was not told, and may have this host still: ", untold)
        output.line("There: pam-iampass-gateway host list; pam-iampass-gateway host remove NAME")
    denied = services_denied_by(SETTINGS)
    if denied:
        output.line((f"From now on every login is denied, root's too: {', '.join(denied)}.", "bold red"))
        output.line("Join again before you close this terminal, or: pam-iampass setup undo")

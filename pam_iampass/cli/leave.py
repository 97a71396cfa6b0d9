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
    help="Leave even if the gateway does not answer, or if every login will then be denied.",
)
def command(force: bool) -> None:
    """Leave the gateway that this machine has joined. The machine then asks IAMPASS itself again (iampass.yaml).

    The gateway forgets this host and ends its sessions. Kept logins on this machine stay open until they expire.

    The exit status is 0, or 1 if nothing was changed.
    """
    if os.geteuid() != 0:
        raise click.ClickException("this changes root's files: run it as root")
    url, untold = join.leave(force=force)
    output.record(Act.LEAVE, "", url)
    output.line(("Left", "green"), f" {url}. Next: pam-iampass check --settings")
    if untold:
        output.line("The gateway was not told, and may still list this host: ", untold)
        output.line("On the gateway: pam-iampass-gateway host list; pam-iampass-gateway host remove NAME")
    denied = services_denied_by(SETTINGS)
    if denied:
        output.line((f"From now on every login is denied, also for root: {', '.join(denied)}.", "bold red"))
        output.line("Before you close this terminal, join again, or: pam-iampass setup undo")

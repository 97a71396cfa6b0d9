"""`pam-iampass-gateway backup`: a dump of the database."""

from __future__ import annotations

import os
from pathlib import Path

import click

from pam_iampass.audit.journal import BACKUP_FAILED, ERROR, Journal
from pam_iampass.cli import output
from pam_iampass.cli.parameters import json_option
from pam_iampass.errors import PamIampassError
from pam_iampass.gateway.base import settings as gateway_settings
from pam_iampass.gateway.base.places import ACCOUNT
from pam_iampass.gateway.check import backup
from pam_iampass.gateway.check.backup import BackupFailed
from pam_iampass.gateway.cli import config_option, in_loop
from pam_iampass.system.service_user import reading_as


@click.command("backup")
@config_option
@json_option
def command(config: Path, as_json: bool) -> None:
    """Dump the database into the folder of the setting `backup`, and delete old dumps.

    To do this each night, switch on the timer: systemctl enable --now pam-iampass-gateway-backup.timer. Only root may
    have access to the folder, and the key must be elsewhere: with a dump and the key, an attacker has the fleet. The
    command needs free disk space for two dumps of the last size.

    The exit status is 0, or 1 if there is no new dump, or an old dump could not be deleted. The journal has the error,
    too.
    """
    if os.geteuid() != 0:
        raise click.ClickException("this makes root's files: run it as root")
    try:
        settings = gateway_settings.load(config)
        if settings.backup is None:
            remedy = "write for example backup: {folder: /var/backups/iampass-gateway}"
            raise BackupFailed(f"{config} names no folder for dumps", remedy)
        server = in_loop(backup.find_server(settings.database))
        made, deleted = backup.make(settings.backup, server)
        with reading_as(ACCOUNT):
            backup.note()
    except (click.ClickException, PamIampassError, OSError) as error:
        Journal().write(BACKUP_FAILED, ERROR, {"event": "backup_failed"}, str(error))
        raise
    file = settings.backup.folder / made.name
    if as_json:
        output.show_json({"file": str(file), "bytes": made.size, "deleted": deleted})
        return
    output.line(("Done.", "green"), f" {file}: {made.size:,} bytes.")
    for name in deleted:
        output.line(f"Deleted: {name}")

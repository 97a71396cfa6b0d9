"""`pam-iampass-gateway migrate`: make or update the tables."""

from __future__ import annotations

from pathlib import Path

import click

from pam_iampass.cli import output
from pam_iampass.gateway.base import settings as gateway_settings
from pam_iampass.gateway.base.database import Database, migrate
from pam_iampass.gateway.cli import config_option, in_loop


@click.command("migrate")
@config_option
@click.option("--check", is_flag=True, help="Change nothing; fail if tables need an update.")
def command(config: Path, check: bool) -> None:
    """Make or update the tables of the database.

    After an upgrade of the package, run it on one gateway before you restart the gateways. Gateways of the previous
    release keep working: migrate only adds tables and columns.
    """
    conninfo = gateway_settings.load(config).database

    async def go() -> tuple[int, int]:
        async with Database(conninfo, connections=1) as database:
            if check:
                version = await database.require_schema()
                return version, version
            return await migrate(database)

    before, now = in_loop(go())
    if before == now:
        output.line(f"The tables have version {now} already.")
    else:
        output.line(
            ("Done.", "green"), f" The tables have version {now}" + (f"; before {before}." if before else ".")
        )

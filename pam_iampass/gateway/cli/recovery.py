"""`pam-iampass-gateway recovery`: makes, lists and revokes the recovery codes of the fleet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pam_iampass.cli import Verbs
from pam_iampass.cli.enrollment import read_requests
from pam_iampass.cli.output import confirm
from pam_iampass.cli.parameters import file_option, json_option, yes_option
from pam_iampass.cli.recovery import show_left, show_new, show_revoked
from pam_iampass.errors import shown
from pam_iampass.gateway.acts.names import known
from pam_iampass.gateway.acts.people import NewCodes, RevokeCodes
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.calls import codes
from pam_iampass.gateway.cli import command_gateway, config_option, if_exists_option
from pam_iampass.gateway.cli.people import COLUMNS, NAME
from pam_iampass.gateway.cli.sheets import make_sheets

_EPILOG = """\b
Examples:
  pam-iampass-gateway recovery new alice          ten codes, shown once: print them
  pam-iampass-gateway recovery new --from team.csv --sheets sheets.pdf
                                                  a page to print for each person
  pam-iampass-gateway recovery list alice         how many are left, and when others were used
  pam-iampass-gateway recovery revoke alice       make all codes invalid
"""


@click.group(cls=Verbs, epilog=_EPILOG)
def command() -> None:
    """Create, list or revoke recovery codes. Each replaces the phone for one login, on one host.

    Users can type codes at a prompt on hosts whose group allows codes (`codes` in gateway.yaml). The password or the
    key is still required. Each used code leaves an alert.

    The exit status is 0, or 1 if it failed.
    """


@command.command(epilog=_EPILOG, short_help="Create ten new codes for USER, or for all people in a file.")
@click.argument("user", type=NAME, required=False)
@file_option("Create codes for all people in this CSV file, as `enroll` reads it.")
@click.option(
    "--sheets",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PDF",
    help="With --from: the new file for the sheets. Only root can read it.",
)
@click.option("--replace", is_flag=True, help="With --from: also for people who have unused codes.")
@yes_option("Replace the existing codes of USER without asking.")
@config_option
@json_option
@click.pass_context
def new(
    ctx: click.Context,
    user: str | None,
    file: Path | None,
    sheets: Path | None,
    replace: bool,
    yes: bool,
    config: Path,
    as_json: bool,
) -> None:
    """Create and show ten new codes for USER. They replace all existing codes.

    The codes are shown only once: only their digests, made with the gateway's key, are stored. Hand them over on paper,
    or in another way that only the user can read.

    With --from, each person in the file without unused codes gets a page in a PDF, and no code is shown. Print the PDF,
    and delete it. If the command was interrupted, run it again: nobody gets codes twice. --sheets needs the package
    python3-reportlab. The exit status is 1 if a person without codes got no sheet.
    """
    if (user is None) == (file is None):
        raise click.UsageError("Give a USER, or a file with --from.")
    if (file is None) != (sheets is None):
        raise click.UsageError("--from and --sheets require each other.")
    if replace and file is None:
        raise click.UsageError("--replace requires --from.")
    if yes and user is None:
        raise click.UsageError("--yes requires a USER. With --from, give --replace.")
    requests = [] if file is None else read_requests(file, columns=COLUMNS)
    with command_gateway(config) as gateway:
        if user is None:
            assert sheets is not None  # noqa: S101 - see above
            ctx.exit(make_sheets(gateway, requests, sheets.absolute(), replace=replace, as_json=as_json))
        left = gateway.reading(lambda g, c: _left(g, c, user))["left"]
        if left and not yes:
            confirm(f"{shown(user)} has {left} unused codes. Replace them?")
        made = gateway.perform(NewCodes(user))
    show_new(user, made, as_json)


@command.command("list", epilog=_EPILOG, short_help="Show how many codes USER has left.")
@click.argument("user", type=NAME)
@config_option
@json_option
def list_(user: str, config: Path, as_json: bool) -> None:
    """Show how many codes USER has left, and when the others were used. The codes cannot be shown."""
    with command_gateway(config) as gateway:
        show_left(gateway.reading(lambda g, c: _left(g, c, user)), "pam-iampass-gateway", as_json)


@command.command(epilog=_EPILOG, short_help="Revoke all codes of USER.")
@click.argument("user", type=NAME)
@if_exists_option
@config_option
@json_option
def revoke(user: str, if_exists: bool, config: Path, as_json: bool) -> None:
    """Revoke all codes of USER, also codes in a row that no gateway wrote.

    The exit status is 0, also if there were no codes, or 1 if USER is unknown.
    """
    with command_gateway(config) as gateway:
        revoked = gateway.perform(RevokeCodes(user), unknown=False if if_exists else None)
    show_revoked(user, revoked, as_json)


async def _left(gateway: Gateway, connection: Connection, user: str) -> dict[str, Any]:
    """A person's codes as they are shown. Raises ActRefused and Tampered."""
    await known(gateway, connection, user)
    found = await codes.stored(gateway, connection, user)
    used = () if found is None else found.used_at
    return {
        "user": user,
        "codes": len(used),
        "left": used.count(None),
        "made_at": None if found is None else found.made_at.timestamp(),
        "used_at": sorted(each.timestamp() for each in used if each is not None),
    }

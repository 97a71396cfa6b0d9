"""`pam-iampass-gateway phone`: which people have a phone, and what to do when one is lost."""

from __future__ import annotations

from pathlib import Path

import click

from pam_iampass.cli import Verbs
from pam_iampass.cli.parameters import json_option
from pam_iampass.cli.phone import show_phones
from pam_iampass.gateway.cli import command_gateway, config_option
from pam_iampass.gateway.cli.user import NAME, known_to, phones_of

_EPILOG = """\b
Examples:
  pam-iampass-gateway phone show alice bob         who has a phone, according to IAMPASS
"""


@click.group(cls=Verbs, epilog=_EPILOG)
def command() -> None:
    """Show which people have a phone.

    The exit status is 0, or 1 if it failed.
    """


@command.command(epilog=_EPILOG, short_help="Show whether people have a phone.")
@click.argument("users", type=NAME, nargs=-1, required=True, metavar="USER...")
@config_option
@json_option
@click.pass_context
def show(ctx: click.Context, users: tuple[str, ...], config: Path, as_json: bool) -> None:
    """Ask IAMPASS whether each USER has a phone. No phone rings. IAMPASS does not say which phone it is.

    The exit status is 0, or 1 if a user cannot log in or is not known, or IAMPASS did not answer.
    """
    with command_gateway(config) as gateway:
        everybody = [known_to(gateway, name) for name in users]
        phones = phones_of(gateway.manager(), everybody, as_json)
    ctx.exit(show_phones({name: phones.get(name) for name in users}, as_json))

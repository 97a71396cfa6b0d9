"""`pam-iampass phone`: which users have a phone, and what to do when one is lost."""

from __future__ import annotations

from pathlib import Path

import click

from pam_iampass.cli.output import show_json, table
from pam_iampass.cli.parameters import USER, account, config_option, json_option
from pam_iampass.cli.phone_lost import lost
from pam_iampass.cli.user_states import PHONES, ask_phones
from pam_iampass.doctor.user_status import user_status

_EPILOG = """\b
Examples:
  pam-iampass phone show alice bob                 who has a phone, according to IAMPASS
  pam-iampass phone lost alice                     takes the phone away, shows a link for the next one
  pam-iampass phone lost alice --sms "+1 555 123 4567"
"""


@click.group(epilog=_EPILOG)
def command() -> None:
    """Show which users have a phone, and replace a lost one.

    The exit status is 0, or 1 if it failed.
    """


@command.command(epilog=_EPILOG, short_help="Show whether users have a phone.")
@click.argument("users", type=USER, nargs=-1, required=True, metavar="USER...")
@config_option
@json_option
@click.pass_context
def show(ctx: click.Context, users: tuple[str, ...], config: Path, as_json: bool) -> None:
    """Ask IAMPASS whether each USER has a phone. No phone rings. IAMPASS does not say which phone it is.

    The exit status is 0, or 1 if a user has no token, or IAMPASS did not answer.
    """
    found = user_status(config, {account(user) or user for user in users})
    phones = ask_phones(found, config, as_json)
    states = {user.name: phones.get(user.name) for user in found.users}
    ok = not any(state is None or state.value == "not_asked" for state in states.values())
    if as_json:
        values = {name: None if state is None else state.value for name, state in states.items()}
        show_json({"ok": ok, "phones": values})
    else:
        rows = [
            ((name, "bold"), ("has no token", "yellow") if state is None else PHONES[state.value])
            for name, state in states.items()
        ]
        table(("USER", "PHONE"), rows)
    ctx.exit(0 if ok else 1)


command.add_command(lost)

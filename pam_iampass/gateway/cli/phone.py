"""`pam-iampass-gateway phone`: which people have a phone, and what to do when one is lost."""

from __future__ import annotations

from pathlib import Path

import click

from pam_iampass.cli import Verbs
from pam_iampass.cli.output import confirm, count, line, show_json
from pam_iampass.cli.parameters import json_option, yes_option
from pam_iampass.cli.phone import say_what_is_left, show_phones
from pam_iampass.errors import shown
from pam_iampass.gateway.acts.phones import ReportLostPhone
from pam_iampass.gateway.cli import command_gateway, config_option
from pam_iampass.gateway.cli.people import NAME, known_to, phones_of
from pam_iampass.text import clean

_EPILOG = """\b
Examples:
  pam-iampass-gateway phone show alice bob         who has a phone, according to IAMPASS
  pam-iampass-gateway phone lost alice             denies logins that need it, and disables it
  pam-iampass-gateway enroll alice                 registers the next one
"""


@click.group(cls=Verbs, epilog=_EPILOG)
def command() -> None:
    """Show which people have a phone, and report a lost one.

    The exit status is 0, or 1 if it failed.
    """


@command.command(epilog=_EPILOG, short_help="Show whether people have a phone.")
@click.argument("users", type=NAME, nargs=-1, required=True, metavar="USER...")
@config_option
@json_option
@click.pass_context
def show(ctx: click.Context, users: tuple[str, ...], config: Path, as_json: bool) -> None:
    """Ask IAMPASS whether each USER has a phone. No phone rings. IAMPASS does not say which phone it is.

    The exit status is 0, or 1 if a user is not known here, or IAMPASS did not answer.
    """
    with command_gateway(config) as gateway:
        tokens = {name: known_to(gateway, name).token for name in users}
        phones = phones_of(gateway, tokens, as_json)
    ctx.exit(show_phones({name: phones.get(name) for name in users}, as_json))


@command.command(short_help="Report a lost phone, and disable it.")
@click.argument("user", type=NAME)
@click.option("--end-codes", is_flag=True, help="Also revoke the recovery codes of USER.")
@yes_option()
@config_option
@json_option
@click.pass_context
def lost(ctx: click.Context, user: str, end_codes: bool, yes: bool, config: Path, as_json: bool) -> None:
    """Deny logins that the phone of USER approves, and disable the phone at IAMPASS.

    On all hosts, logins that wait for an approval are denied at once, and sessions and bypasses of USER end. New logins
    that need the phone are denied. If IAMPASS cannot be reached, gateways try again until it has disabled the phone.
    Recovery codes stay valid unless you give --end-codes.

    For a new phone, verify who the person is, then run: pam-iampass-gateway enroll USER

    \b
    Exit status:
      0    IAMPASS has disabled the phone and ended the sessions
      1    something failed, or IAMPASS has not disabled the phone yet
    """
    if not yes:
        confirm(f"Disable the phone of {shown(user)} at IAMPASS? It can then approve no login on any host.")
    with command_gateway(config) as gateway:
        done = gateway.perform(ReportLostPhone(user, end_codes))
    ended, failed = len(done.ended.were_open), done.ended.errors
    if as_json:
        show_json(
            {
                "ok": not (failed or done.error),
                "user": user,
                "at_iampass": done.error is None,
                "sessions": ended,
                "bypasses": done.bypasses,
                "codes_left": done.codes,
            }
        )
    else:
        line("Logins that need the phone of ", (user, "bold"), " are denied on all hosts.")
        for number, *words in ((ended, "session"), (done.bypasses, "bypass", "bypasses")):
            if number:
                line(f"{count(number, *words)} of {user} ended.")
        if done.error is None:
            line((f"The phone of {user} is disabled at IAMPASS.", "green"))
        say_what_is_left("pam-iampass-gateway", user, done.codes)
    for error in failed:
        line((f"A session of {user} is not ended at IAMPASS: {clean(str(error))}", "bold red"), err=True)
    if done.error is not None:
        what = f"IAMPASS has not disabled the phone yet: {clean(str(done.error))}"
        line((f"{what}. Gateways try again until it has.", "bold red"), err=True)
    ctx.exit(1 if failed or done.error else 0)

"""`pam-iampass-gateway phone`: which people have a phone, and what to do when one is lost."""

from __future__ import annotations

from pathlib import Path

import click

from pam_iampass.cli import Verbs
from pam_iampass.cli.output import confirm, count
from pam_iampass.cli.parameters import (
    json_option,
    message_option,
    sms_option,
    timeout_option,
    wait_option,
    yes_option,
)
from pam_iampass.cli.phone import replace_phone, show_phones
from pam_iampass.client import IampassError, ManagementAPI
from pam_iampass.errors import shown
from pam_iampass.gateway import records, turns
from pam_iampass.gateway.cli import command_gateway, config_option
from pam_iampass.gateway.cli.enroll import invitation
from pam_iampass.gateway.cli.people import (
    NAME,
    cut_off,
    display_name_option,
    known_to,
    phones_of,
    wait_for_starts,
)
from pam_iampass.login.throttle import phone_lost

_EPILOG = """\b
Examples:
  pam-iampass-gateway phone show alice bob         who has a phone, according to IAMPASS
  pam-iampass-gateway phone lost alice             takes the phone away, shows a link for the next one
  pam-iampass-gateway phone lost alice --sms "+1 555 123 4567"
"""


@click.group(cls=Verbs, epilog=_EPILOG)
def command() -> None:
    """Show which people have a phone, and replace a lost one.

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
        everybody = [known_to(gateway, name) for name in users]
        phones = phones_of(gateway.manager(), everybody, as_json)
    ctx.exit(show_phones({name: phones.get(name) for name in users}, as_json))


@command.command(short_help="Take a lost phone away from a person.")
@click.argument("user", type=NAME)
@yes_option
@sms_option
@message_option
@display_name_option
@wait_option("Wait until the next phone is registered.", default=True)
@timeout_option
@config_option
@json_option
@click.pass_context
def lost(
    ctx: click.Context,
    user: str,
    yes: bool,
    number: str | None,
    message: str | None,
    display_name: str | None,
    waits: bool,
    timeout: float,
    config: Path,
    as_json: bool,
) -> None:
    """Disable the phone of USER at IAMPASS, and register another one.

    First, on all hosts, logins that wait for an approval are denied, and the sessions that the phone has approved are
    ended, also if IAMPASS cannot be reached. Then IAMPASS disables the phone. The command shows a link for the next
    phone or sends it (--sms), and waits until that phone is registered. Until then logins of USER are denied.

    Anyone who opens the link can approve the user's logins: verify the person first.

    \b
    Exit status:
      0    the lost phone is disabled, and the next one is registered or was not waited for
      1    something failed, or no phone was registered in time
      130  interrupted; the lost phone may be disabled already
    """
    if message is not None and number is None:
        raise click.UsageError("--message requires --sms.")
    if not yes:
        confirm(f"Disable the phone of {shown(user)} at IAMPASS? It then approves no login on any host.")
    with command_gateway(config) as gateway:
        person, manager = known_to(gateway, user), gateway.manager()
        invited = invitation(gateway, user, display_name, number, message, as_json)

        def end_sessions() -> bool:
            # Logins that wait for their turn are denied then.
            gateway.transaction(lambda _, c: turns.change(c, user, phone_lost))
            ended, ok = cut_off(gateway, user)
            if ended:
                invited.say(f"{count(ended, 'session')} of {user} ended.")
            done = f"{count(ended, 'session')} ended"
            gateway.transaction(lambda _, c: records.act(c, "phone_lost", person=user, reason=done))
            return ok

        def disable() -> tuple[ManagementAPI, str, str]:
            link = manager.lost_mobile_device(person.token)
            done = "disabled at IAMPASS"
            gateway.transaction(lambda _, c: records.act(c, "phone_lost", person=user, reason=done))
            return manager, person.token, link

        def end_the_rest() -> bool:
            wait_for_starts(gateway, user)
            return end_sessions()

        try:
            seconds = timeout if waits else 0.0
            ctx.exit(replace_phone(invited, seconds, end_sessions, disable, end_the_rest))
        except IampassError as error:
            raise click.ClickException(error.diagnostics()) from None

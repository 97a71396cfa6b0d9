"""`pam-iampass phone`: which users have a phone, and what to do when one is lost."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Callable

import click

from pam_iampass.agent.control import ask
from pam_iampass.audit.journal import Act
from pam_iampass.cli import Verbs
from pam_iampass.cli.enrollment import Invitation, default_display_name, open_service, require_no_gateway
from pam_iampass.cli.output import confirm, count, record, show_json, table
from pam_iampass.cli.parameters import (
    USER,
    account,
    config_option,
    display_name_option,
    json_option,
    message_option,
    sms_option,
    timeout_option,
    wait_option,
    yes_option,
)
from pam_iampass.cli.session import wait_for_ends
from pam_iampass.cli.user import PHONES, ask_phones
from pam_iampass.client import IampassError, ManagementAPI
from pam_iampass.doctor.iampass import PhoneState
from pam_iampass.doctor.user_status import user_status
from pam_iampass.errors import EditRefused, PamIampassError, shown
from pam_iampass.text import clean

_EPILOG = """\b
Examples:
  pam-iampass phone show alice bob                 who has a phone, according to IAMPASS
  pam-iampass phone lost alice                     takes the phone away, shows a link for the next one
  pam-iampass phone lost alice --sms "+1 555 123 4567"
"""
_LOST_EPILOG = """\b
Examples:
  pam-iampass phone lost alice                              shows a link for the next phone
  pam-iampass phone lost alice --sms "+1 555 123 4567"      sends it
  pam-iampass phone lost alice --no-wait --yes --json
"""


@click.group(cls=Verbs, epilog=_EPILOG)
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
    ctx.exit(show_phones({user.name: phones.get(user.name) for user in found.users}, as_json))


def show_phones(states: Mapping[str, PhoneState | None], as_json: bool) -> int:
    """Show who has a phone; None: no token. Returns the exit status."""
    ok = not any(state in (None, PhoneState.NOT_ASKED) for state in states.values())
    if as_json:
        values = {name: None if state is None else state.value for name, state in states.items()}
        show_json({"ok": ok, "phones": values})
    else:
        rows = [
            ((name, "bold"), ("has no token", "yellow") if state is None else PHONES[state.value])
            for name, state in states.items()
        ]
        table(("USER", "PHONE"), rows)
    return 0 if ok else 1


@command.command(epilog=_LOST_EPILOG, short_help="Take a lost phone away from a user.")
@click.argument("user", type=USER)
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

    First, logins on this machine that wait for an approval are denied, and the sessions that the phone has approved are
    ended (pam-iampass session), also if IAMPASS cannot be reached. Then IAMPASS disables the phone, for all machines.
    The command waits until the sessions are over, shows a link for the next phone or sends it (--sms), and waits until
    that phone is registered. Until then logins of USER are denied, except with a recovery code: pam-iampass recovery
    new USER.

    Anyone who opens the link can approve the user's logins: verify the person first.

    \b
    Exit status:
      0    the lost phone is disabled, and the next one is registered or was not waited for
      1    something failed, or no phone was registered in time
      130  interrupted; the lost phone may be disabled already
    """
    if message is not None and number is None:
        raise click.UsageError("--message requires --sms.")

    require_no_gateway(config)
    name = account(user) or user
    if not yes:
        confirm(f"Disable the phone of {clean(name)} at IAMPASS? It then approves no login on any machine.")
    invitation = Invitation(name, display_name or default_display_name(name), number, message, as_json)
    try:
        ctx.exit(_replace(config, invitation, timeout if waits else 0.0))
    except IampassError as error:
        raise click.ClickException(error.diagnostics()) from None


def replace_phone(
    invitation: Invitation,
    seconds: float,
    cut_off: Callable[[], bool],
    disable: Callable[[], tuple[ManagementAPI, str, str]],
    end_the_rest: Callable[[], bool],
) -> int:
    """Disable the phone of the invited user, and register the next one; wait `seconds` for it.

    `cut_off` begins to end what the phone has approved, `disable` returns the token and the link for the next one, and
    `end_the_rest` waits until all has ended; both say whether it worked. Returns the exit status. Raises IampassError
    and PamIampassError.
    """
    user, quiet = invitation.user, invitation.quiet
    ok = cut_off()
    try:
        manager, token, link = disable()
    except (IampassError, PamIampassError):
        end_the_rest()
        click.echo("The phone is not disabled at IAMPASS, and can approve logins that begin now.", err=True)
        raise
    invitation.say(f"The phone of {user} is disabled at IAMPASS.", "green")
    # Again: a login that has begun since may have been approved before the phone was disabled.
    ok = end_the_rest() and ok
    shown_link, registered = invitation.send(manager, token, waits=bool(seconds), link=link), False
    if seconds:
        registered = invitation.wait(manager, token, seconds, "The next phone")
        ok = registered and ok
    else:
        invitation.say_how_to_continue()
    if quiet:
        result = {"ok": ok, "user": user, "registered": registered}
        show_json({**result, "link": shown_link, "message_to": invitation.number})
    return 0 if ok else 1


def _replace(config: Path, invitation: Invitation, seconds: float) -> int:
    """The same, on this machine."""
    user = invitation.user
    sessions: list[str] = []  # the ids of those that the agent has begun to end

    def cut_off() -> bool:
        found, ok = _end_what_it_approved(invitation)
        sessions.extend(found)
        return ok

    return replace_phone(
        invitation,
        seconds,
        cut_off,
        lambda: _disable(config, user),
        lambda: wait_for_ends([user], sessions, invitation.quiet),
    )


def _end_what_it_approved(invitation: Invitation) -> tuple[list[str], bool]:
    """Have the agent deny what waits for the phone and begin to end the sessions that it has approved.

    Returns these, and whether it worked: IAMPASS disables the phone either way.
    """
    try:
        found = ask("phone lost", user=invitation.user)
    except PamIampassError as error:
        click.echo(error.diagnostics(), err=True)
        return [], False
    if found["pending"]:
        invitation.say(f"{count(found['pending'], 'pending login')} denied.")
    if found["problem"]:
        click.echo(found["problem"], err=True)
    return found["sessions"], not found["problem"]


def _disable(config: Path, user: str) -> tuple[ManagementAPI, str, str]:
    """Have IAMPASS disable the phone; returns the link for the next one, with its token."""
    service = open_service(config)
    token = service.token_of(user)
    if token is None:
        raise EditRefused(f"{shown(user)} has no token", "see: pam-iampass user list")
    link = service.manager.lost_mobile_device(token)
    record(Act.PHONE_LOST, user, "disabled at IAMPASS")
    return service.manager, token, link

"""`pam-iampass phone`: which users have a phone, and what to do when one is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from pam_iampass.agent.control import ask
from pam_iampass.audit.journal import Act
from pam_iampass.check.iampass import PhoneState
from pam_iampass.check.user_status import user_status
from pam_iampass.cli import Verbs
from pam_iampass.cli.enrollment import EnrollmentService, open_service, require_no_gateway
from pam_iampass.cli.output import confirm, count, line, record, show_json, table
from pam_iampass.cli.parameters import USER, account, config_option, json_option, yes_option
from pam_iampass.cli.session import wait_for_ends
from pam_iampass.cli.user import PHONES, ask_phones, tell_disabled
from pam_iampass.client import IampassError, ManagementAPI
from pam_iampass.config.value_types import SecondPerson
from pam_iampass.errors import EditRefused, PamIampassError, shown
from pam_iampass.text import clean

_EPILOG = """\b
Examples:
  pam-iampass phone show alice bob                 who has a phone, according to IAMPASS
  pam-iampass phone lost alice                     denies what it approves, and disables it
  pam-iampass enroll alice                         registers the next one
"""


@click.group(cls=Verbs, epilog=_EPILOG)
def command() -> None:
    """Show which users have a phone, and report a lost one.

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


@command.command(epilog=_EPILOG, short_help="Report a lost phone, and disable it.")
@click.argument("user", type=USER)
@click.option("--end-codes", is_flag=True, help="Also revoke the recovery codes of USER.")
@click.option("--forget", is_flag=True, help="Withdraw the report: logins ask the phone again.")
@yes_option()
@config_option
@json_option
@click.pass_context
def lost(
    ctx: click.Context, user: str, end_codes: bool, forget: bool, yes: bool, config: Path, as_json: bool
) -> None:
    """Deny logins that the phone of USER approves on this machine, and disable the phone at IAMPASS.

    First, the command denies logins on this machine that wait for an approval. It ends the bypasses of USER and the
    sessions that the phone approved (pam-iampass session). Then IAMPASS disables the phone for all machines. If IAMPASS
    cannot be reached, the agent tries again; until then, logins on this machine that need the phone are denied.
    Recovery codes stay valid unless you give --end-codes.

    For a new phone, verify who the person is, then run: pam-iampass enroll USER

    With --forget, the agent stops asking IAMPASS to disable the phone. Logins on this machine ask it again, if it is
    still registered.

    \b
    Exit status:
      0    the lost phone is disabled, and the sessions that it approved have ended
      1    something failed
      130  interrupted; the lost phone may be disabled already
    """
    own_account = account(user)
    name = own_account or user
    if forget:
        _forget(name, yes, as_json)
        return
    require_no_gateway(config)
    if not yes:
        confirm(
            f"Disable the phone of {clean(name)} at IAMPASS? It can then approve no login on any machine."
        )
    error: IampassError | PamIampassError | None = None
    service: EnrollmentService | None = None
    is_nobody, is_known = False, True
    tokens: Sequence[str] = ()
    try:
        service = open_service(config)
        tokens = service.tokens_of(name)
        is_nobody = own_account is None and not _is_named(name, service)
    except (IampassError, PamIampassError) as failure:
        error = failure
    if is_nobody:
        raise EditRefused(f"{shown(name)} is not a user of this machine", "see: pam-iampass user list")
    begun = _cut_off(name, config, service, tokens, end_codes, as_json)
    try:
        if service is not None and error is None:
            is_known = _disable(service, name, tokens)
            if is_known and not as_json:
                line((f"The phone of {name} is disabled at IAMPASS.", "green"))
    except (IampassError, PamIampassError) as failure:
        error = failure
    done = error is None and is_known
    ok = wait_for_ends([name], begun.sessions, as_json) and not begun.problem and done
    if as_json:
        show_json(
            {
                "ok": ok,
                "user": name,
                "at_iampass": done,
                "bypasses": begun.bypasses,
                "codes_left": begun.codes,
            }
        )
    else:
        say_what_is_left("pam-iampass", name, begun.codes)
    if error is not None:
        then = "can approve new logins"
        if begun.denies:
            then = "approves nothing on this machine: "
            then += "the agent tries again" if tokens else "when this is fixed, report the phone again"
        click.echo(f"The phone is not disabled at IAMPASS yet, and {then}.", err=True)
        click.echo(error.diagnostics(), err=True)
    if not is_known:
        unknown = " or ".join(map(shown, tokens))
        click.echo(f"IAMPASS knows no user {unknown}, and so no phone of {clean(name)}.", err=True)
    ctx.exit(0 if ok else 1)


def say_what_is_left(program: str, user: str, codes: int) -> None:
    """Say how many recovery codes of a user with a lost phone are good, and how the next phone is registered."""
    if codes:
        what = f"{count(codes, 'recovery code')} of {user} can still be used"
        line(f"{what}. If the codes were lost, too: {program} recovery revoke {user}")
    line(f"For a new phone: {program} enroll {user}")


@dataclass(frozen=True)
class _Begun:
    """The effect of a report to the agent: what it has ended, or has begun to end."""

    problem: str = ""
    """Why it has not, or would forget it."""
    pending: int = 0
    """The number of logins that were denied."""
    sessions: Sequence[str] = ()
    bypasses: int = 0
    codes: int = 0
    """The number of recovery codes that are good."""
    denies: bool = True
    """Whether it denies logins that need the phone until IAMPASS has disabled it."""


def _forget(name: str, yes: bool, as_json: bool) -> None:
    """Have the agent forget that a phone is lost. Raises PamIampassError."""
    if not yes:
        confirm(f"Let the phone of {clean(name)} approve logins again, unless IAMPASS has disabled it?")
    if not ask("phone forget", user=name):
        raise EditRefused(f"no lost phone of {shown(name)} waits for IAMPASS", "see: pam-iampass phone show")
    if as_json:
        show_json({"ok": True, "user": name})
    else:
        line(f"The report of the lost phone of {name} is withdrawn.")


def _cut_off(
    name: str,
    config: Path,
    service: EnrollmentService | None,
    tokens: Sequence[str],
    end_codes: bool,
    quiet: bool,
) -> _Begun:
    """Have the agent deny what waits for the phone and begin to end what it has approved. Says what has ended, unless
    `quiet`, and what went wrong: IAMPASS disables the phone either way."""
    application = "" if service is None else service.manager.application_id
    try:
        answer = ask(
            "phone lost",
            user=name,
            config=str(config),
            application=application,
            tokens=list(tokens),
            end_codes=end_codes,
        )
        begun = _Begun(**answer)
    except PamIampassError as error:
        begun = _Begun(error.diagnostics(), denies=False)
    if begun.problem:
        click.echo(begun.problem, err=True)
    if begun.pending and not quiet:
        line(f"{count(begun.pending, 'pending login')} denied.")
    if begun.bypasses and not quiet:
        line(f"{count(begun.bypasses, 'bypass', 'bypasses')} ended.")
    return begun


def _is_named(name: str, service: EnrollmentService) -> bool:
    """Whether the user table or the settings name somebody. Raises ConfigurationError."""
    services = service.settings.service, *service.settings.services.values()
    approvers = [each.approver for each in services]
    named = [each.names for each in approvers if isinstance(each, SecondPerson)]
    return service.table.find(name) is not None or any(name in names for names in named)


def _disable(service: EnrollmentService, user: str, tokens: Sequence[str]) -> bool:
    """Have IAMPASS disable the phone, and tell the agent; returns whether IAMPASS knows the user. Raises IampassError
    and PamIampassError."""
    if not tokens:
        remedy = f"see: pam-iampass user list; to withdraw the report: pam-iampass phone lost {user} --forget"
        raise EditRefused(f"{shown(user)} has no token", remedy)
    for token in tokens:
        service.manager.disable_mobile_device(token)
    tell_disabled(service.manager, tokens)
    is_known = any(_may_be_known(service.manager, token) for token in tokens)
    record(Act.PHONE_LOST, user, "disabled at IAMPASS" if is_known else "IAMPASS knows no such user")
    return is_known


def _may_be_known(manager: ManagementAPI, token: str) -> bool:
    """Whether IAMPASS does not say for certain that it knows no such user."""
    try:
        return manager.knows_user(token)
    except IampassError:
        return True

"""`pam-iampass bypass`: lets a user in without the phone for a while."""

from __future__ import annotations

from typing import Any

import click

from pam_iampass.agent.control import ask
from pam_iampass.cli.output import duration, line, local, moment, show_json, table, timestamp
from pam_iampass.cli.parameters import (
    USER,
    CommandWithVerbs,
    OwnArgument,
    Parsed,
    account,
    json_option,
    person,
    seconds,
)
from pam_iampass.config.value_types import LONGEST_BYPASS, line_error
from pam_iampass.login.bypass import Bypass, Moment
from pam_iampass.pam.services import not_asking
from pam_iampass.pam.stack import PamFiles, dialect

_EPILOG = """\b
Examples:
  pam-iampass bypass alice --for 15m
  pam-iampass bypass alice --for 8h --reason 'phone broken, ticket 4711'
  pam-iampass bypass deploy --for 1h --service sshd
  pam-iampass bypass list                who can log in without the phone, why, and for how long
  pam-iampass bypass end alice           ask the phone of alice again
"""


def _time_of(text: str) -> float:
    """Raises ValueError."""
    found = seconds(text)
    if found > LONGEST_BYPASS:
        raise ValueError("is longer than a day (24h)")
    return found


def _reason_of(text: str) -> str:
    """Raises ValueError."""
    error = line_error(text)
    if error:
        raise ValueError(error)
    return text.strip()


def _complete_service(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in PamFiles().names() if name.startswith(incomplete)]


for_option = click.option(
    "--for",
    "time_left",
    type=Parsed("time", _time_of),
    required=True,
    help="How long: 90s, 15m, 8h; at most 24h.",
)
reason_option = click.option(
    "--reason", type=Parsed("text", _reason_of), help="For the records and the list."
)


@click.group(
    cls=CommandWithVerbs,
    is_argument=lambda word: account(word) is not None,
    invoke_without_command=True,
    epilog=_EPILOG,
    short_help="Let a user log in without the phone for a while.",
)
@click.argument("user", cls=OwnArgument, type=USER)
@for_option
@click.option(
    "--service",
    metavar="SERVICE",
    shell_complete=_complete_service,
    help="Only logins through this PAM service, such as sudo.  [default: all]",
)
@reason_option
@click.option("--survive-reboot", is_flag=True, help="Do not end the bypass if the machine is restarted.")
@json_option
def command(
    user: str, time_left: float, service: str | None, reason: str | None, survive_reboot: bool, as_json: bool
) -> None:
    """Let USER log in without the phone for a while. The password or the key is still required.

    USER is the person whose phone would be asked: in sudo, and in su to root, the caller. A new bypass replaces an
    earlier one of the same user and service.

    The journal records when a bypass begins and ends, and which logins use it (outcome bypassed). A restart of the
    machine ends the bypass unless you give --survive-reboot. Setting the clock does not prolong it.

    The exit status is 0, 1 if it failed, and 2 if the arguments are wrong.
    """
    fault = None if service is None else not_asking(service, PamFiles(dialect=dialect()))
    if fault is not None and fault.is_error:
        raise click.ClickException(f"{fault.what}; {fault.remedy}")
    name = person(user)
    answer = ask(
        "bypass add",
        user=name,
        service=service or "",
        seconds=time_left,
        reason=reason or "",
        survives_reboot=survive_reboot,
    )
    bypass = Bypass.of(answer)
    if as_json:
        show_json(as_object(bypass))
        return
    line(f"{name} can log in without the phone for {duration(time_left)}, {_through(bypass)}.")
    line("The password or the key is still required.")
    if fault is not None:
        line((f"{fault.what}: {fault.remedy}", "yellow"))
    line(f"To end it earlier: pam-iampass bypass end {name}")


@command.command("list", epilog=_EPILOG, short_help="Show who is bypassed.")
@json_option
def list_(as_json: bool) -> None:
    """Show who can log in without the phone, until when, by whom, and why.

    The exit status is 0, or 1 if the agent does not answer: then no bypass works.
    """
    found = [Bypass.of(members) for members in ask("bypass list")]
    if as_json:
        show_json({"bypasses": [as_object(bypass) for bypass in found]})
    elif not found:
        line("Nobody is bypassed.")
    else:
        rows = [
            (
                (bypass.user, "bold"),
                bypass.service or "all",
                _until(bypass),
                "survives" if bypass.survives_reboot else "ends it",
                bypass.made_by,
                bypass.reason or "-",
            )
            for bypass in found
        ]
        table(["USER", "SERVICE", local("UNTIL"), "REBOOT", "BY", "REASON"], rows)


@command.command(epilog=_EPILOG, short_help="End the bypasses of USER.")
@click.argument("user", type=USER)
@json_option
def end(user: str, as_json: bool) -> None:
    """End all bypasses of USER. The account need not exist any more.

    The exit status is 0, also if there was no bypass, or 1 if it failed.
    """
    name = account(user) or user
    number = ask("bypass end", user=name)
    if as_json:
        show_json({"user": name, "ended": number})
    else:
        line(f"The phone of {name} is asked again." if number else f"{name} is not bypassed.")


def as_object(bypass: Bypass) -> dict[str, Any]:
    """A bypass for JSON."""
    return {
        "user": bypass.user,
        "service": bypass.service,
        "seconds_left": round(bypass.left(Moment.now())),
        "until": timestamp(bypass.until(Moment.now())),
        "survives_reboot": bypass.survives_reboot,
        "made_by": bypass.made_by,
        "reason": bypass.reason,
    }


def bypass_words(bypass: Bypass) -> str:
    """Say what a bypass does, in a few words."""
    return f"without the phone until {_until(bypass)}, {_through(bypass)}, by {bypass.made_by}"


def _through(bypass: Bypass) -> str:
    return f"through the service {bypass.service}" if bypass.service else "through all services"


def _until(bypass: Bypass) -> str:
    return moment(bypass.until(Moment.now()))

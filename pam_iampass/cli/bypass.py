"""`pam-iampass bypass`: lets a user in without the phone for a while."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import click

from pam_iampass.audit.journal import BYPASS_ENDED, BYPASS_MADE, Journal
from pam_iampass.cli.command_with_verbs import CommandWithVerbs, OwnArgument
from pam_iampass.cli.output import duration, line, show_json, table
from pam_iampass.cli.parameters import USER, Parsed, account, existing_account, json_option, seconds
from pam_iampass.errors import shown
from pam_iampass.login.bypass import LONGEST, Bypass, Bypasses, Moment
from pam_iampass.login.bypass_editing import BypassEditor, Ended
from pam_iampass.pam.stack import PamFiles
from pam_iampass.system import programs
from pam_iampass.system.accounts import Accounts
from pam_iampass.system.programs import CommandUnavailable
from pam_iampass.text import quoted

_LONGEST_REASON = 200
_SYSTEMD = "/run/systemd/system"
_EPILOG = """\b
Examples:
  pam-iampass bypass alice --for 15m
  pam-iampass bypass alice --for 8h --reason 'phone broken, ticket 4711'
  pam-iampass bypass deploy --for 1h --service sshd
  pam-iampass bypass list                who is let in without the phone, why, and for how long
  pam-iampass bypass end alice           ask the phone of alice again, from now on
"""


def _time_of(text: str) -> float:
    """Raises ValueError."""
    found = seconds(text)
    if found > LONGEST:
        raise ValueError("is longer than a day (24h)")
    return found


def _reason_of(text: str) -> str:
    """Raises ValueError."""
    if not text.strip() or not text.isprintable() or len(text) > _LONGEST_REASON:
        raise ValueError(f"is not a text of one line and at most {_LONGEST_REASON} characters")
    return text.strip()


def _complete_service(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in PamFiles().names() if name.startswith(incomplete)]


@click.group(
    cls=CommandWithVerbs,
    invoke_without_command=True,
    epilog=_EPILOG,
    short_help="Let a user in without the phone for a while.",
)
@click.argument("user", cls=OwnArgument, type=USER)
@click.option(
    "--for",
    "time_left",
    type=Parsed("time", _time_of),
    required=True,
    help="How long: 90s, 15m, 8h; at most 24h.",
)
@click.option(
    "--service",
    metavar="SERVICE",
    shell_complete=_complete_service,
    help="Only logins through this PAM service, such as sudo.  [default: all]",
)
@click.option("--reason", type=Parsed("text", _reason_of), help="For the journal and the list.")
@click.option("--survive-reboot", is_flag=True, help="Do not end the bypass if the machine is restarted.")
@json_option
def command(
    user: str, time_left: float, service: str | None, reason: str | None, survive_reboot: bool, as_json: bool
) -> None:
    """Let USER in without the phone for a while. The password or the key is required all the same.

    USER is the person whose phone would be asked: in sudo the caller, in su to root the caller too if
    `approver: caller` is set. A bypass of the same user and service is replaced.

    The journal records when a bypass is made, each login that uses it (outcome bypassed) and when it is over. A restart
    of the machine ends it unless --survive-reboot is given. Setting the clock does not prolong it.

    The exit status is 0, 1 if it failed, and 2 if the arguments are wrong.
    """
    if service is not None and service not in PamFiles().names():
        raise click.ClickException(f"there is no PAM service {shown(service)}: /etc/pam.d has no such file")
    name, made_by = existing_account(user), _administrator()
    uid, now = Accounts().named(name).uid, Moment.now()
    bypass = Bypass(name, uid, service, time_left, now, made_by, reason or "", survive_reboot)
    _record_ends(BypassEditor(Bypasses()).add(bypass), f"replaced by {made_by}")
    text = f"{quoted(name)} is let in without the phone until {_until(bypass)}"
    _record(BYPASS_MADE, bypass, text, bypass.reason)
    _schedule_end(time_left)
    if as_json:
        show_json(as_object(bypass))
        return
    line(f"{name} is let in without the phone for {duration(time_left)}, {_through(bypass)}.")
    line("The password or the key is required all the same.")
    line(f"To end it earlier: pam-iampass bypass end {name}")


@command.command("list", epilog=_EPILOG, short_help="Show who is bypassed.")
@json_option
def list_(as_json: bool) -> None:
    """Show who is let in without the phone, until when, by whom, and why.

    Run by root, it also removes bypasses whose time is over, and writes that to the journal. systemd runs it when one
    ends.

    The exit status is 0, or 1 if a file of bypasses cannot be used. Its bypasses do not count then.
    """
    if os.geteuid() == 0:
        _record_ends(BypassEditor(Bypasses()).prune(), "")
    found = Bypasses().active()
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
        table(["USER", "SERVICE", "UNTIL", "REBOOT", "BY", "REASON"], rows)


@command.command(epilog=_EPILOG, short_help="End the bypasses of USER.")
@click.argument("user", type=USER)
@json_option
def end(user: str, as_json: bool) -> None:
    """End all bypasses of USER. The account need not exist any more. Also repairs a corrupt file.

    The exit status is 0, also if there was no bypass, or 1 if it failed.
    """
    name = account(user) or user
    number = end_bypasses(name)
    if as_json:
        show_json({"user": name, "ended": number})
    else:
        line(f"The phone of {name} is asked again." if number else f"{name} is not bypassed.")


def end_bypasses(name: str) -> int:
    """End all bypasses of a user, and record that; returns how many were in force. Raises PamIampassError."""
    ended = BypassEditor(Bypasses()).end(name)
    _record_ends(ended, f"ended by {_administrator()}")
    return sum(not one.expired for one in ended)


def as_object(bypass: Bypass) -> dict[str, Any]:
    """A bypass for JSON."""
    return {
        "user": bypass.user,
        "service": bypass.service,
        "seconds_left": round(bypass.left(Moment.now())),
        "until": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(bypass.until(Moment.now()))),
        "survives_reboot": bypass.survives_reboot,
        "made_by": bypass.made_by,
        "reason": bypass.reason,
    }


def bypass_words(bypass: Bypass) -> str:
    """What a bypass does, in a few words."""
    return f"without the phone until {_until(bypass)}, {_through(bypass)}, by {bypass.made_by}"


def _through(bypass: Bypass) -> str:
    return f"through the service {bypass.service}" if bypass.service else "through all services"


def _until(bypass: Bypass) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(bypass.until(Moment.now())))


def _administrator() -> str:
    """Who runs this command: the user who logged in, as the kernel's audit session has it, else the caller of sudo."""
    try:
        return os.getlogin()
    except OSError:
        return os.environ.get("SUDO_USER") or "root"


def _record_ends(ended: Iterable[Ended], why: str) -> None:
    for one in ended:
        reason = "its time is over" if one.expired else why
        _record(BYPASS_ENDED, one.bypass, f"the bypass of {quoted(one.bypass.user)} is over", reason)


def _record(message_id: str, bypass: Bypass, text: str, reason: str) -> None:
    fields = {
        "IAMPASS_APPROVER": bypass.user,
        "IAMPASS_SERVICE": bypass.service or "all",
        "IAMPASS_ADMINISTRATOR": bypass.made_by,
        "IAMPASS_UNTIL": _until(bypass),
        "IAMPASS_REASON": reason,
    }
    about = f"service={quoted(bypass.service or 'all')} by={quoted(bypass.made_by)} reason={quoted(reason)}"
    Journal().bypass(message_id, f"{text}: {about}", fields)


def _schedule_end(time_left: float) -> None:
    """Have systemd run `bypass list` when the time is over, so that the journal says so; else the next change does."""
    if os.path.isdir(_SYSTEMD):
        unit = [
            "--quiet",
            "--collect",
            f"--on-active={time_left + 1:.0f}s",
            "--timer-property=AccuracySec=1s",
        ]
        with suppress(CommandUnavailable):
            programs.run(["systemd-run", *unit, "/usr/bin/pam-iampass", "bypass", "list"])

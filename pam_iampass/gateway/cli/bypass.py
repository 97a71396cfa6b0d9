"""`pam-iampass-gateway bypass`: lets a person in without the phone for a while, on all hosts or on some."""

from __future__ import annotations

from pathlib import Path

import click

from pam_iampass.cli.bypass import for_option, reason_option
from pam_iampass.cli.output import count, duration, line, local, moment, show_json, table, timestamp
from pam_iampass.cli.parameters import CommandWithVerbs, OwnArgument, json_option
from pam_iampass.config.value_types import name_error
from pam_iampass.errors import EditRefused
from pam_iampass.gateway.acts.people import BypassPhone, EndBypasses
from pam_iampass.gateway.cli import command_gateway, config_option, if_exists_option, named
from pam_iampass.gateway.cli.agents import agent_of
from pam_iampass.gateway.cli.host import NAME as HOST
from pam_iampass.gateway.cli.people import NAME
from pam_iampass.gateway.requests import bypasses
from pam_iampass.gateway.requests.bypasses import Bypass

_EPILOG = """\b
Examples:
  pam-iampass-gateway bypass alice --for 15m
  pam-iampass-gateway bypass alice --for 8h --reason 'phone broken, ticket 4711'
  pam-iampass-gateway bypass deploy --for 1h --service sshd --host web1.example.com
  pam-iampass-gateway bypass list             who can log in without the phone, where, why, and until when
  pam-iampass-gateway bypass end alice        ask the phone of alice again
"""


@click.group(
    cls=CommandWithVerbs,
    is_argument=lambda word: True,
    invoke_without_command=True,
    epilog=_EPILOG,
    short_help="Let a person log in without the phone for a while.",
)
@click.argument("user", cls=OwnArgument, type=NAME)
@for_option
@click.option(
    "--service",
    "services",
    type=named("name", name_error),
    multiple=True,
    help="Only logins through this PAM service, such as sudo. Can be repeated.  [default: all]",
)
@click.option("--host", "names", type=HOST, multiple=True, help="Only on this host. Can be repeated.")
@click.option(
    "--group",
    "groups",
    type=named("name", name_error),
    multiple=True,
    help="Only on the hosts of this group. Can be repeated.",
)
@reason_option
@config_option
@json_option
def command(
    user: str,
    time_left: float,
    services: tuple[str, ...],
    names: tuple[str, ...],
    groups: tuple[str, ...],
    reason: str | None,
    config: Path,
    as_json: bool,
) -> None:
    """Let USER log in without the phone for a while. The password or the key is still required.

    The bypass works at once on all hosts, unless their group forbids bypasses (`bypasses` in gateway.yaml). In sudo,
    and in su to root, USER is the caller. A new bypass replaces an earlier one of the same user, services and hosts.
    Each login with a bypass leaves a record (outcome bypassed).

    The exit status is 0, 1 if it failed, and 2 if the arguments are wrong.
    """

    with command_gateway(config) as gateway:
        agent = agent_of(gateway, user)
        if agent is not None:
            what = f"{user} acts for {agent.person}: a gateway has no bypass for such an account"
            raise EditRefused(what, f"on a host, as root: pam-iampass bypass {user} --for 15m")
        bypass = gateway.perform(BypassPhone(user, time_left, services, names, groups, reason or ""))
    if as_json:
        show_json(_as_object(bypass))
        return
    line(f"{user} can log in without the phone for {duration(time_left)}, {bypass.through}, {bypass.where}.")
    line("The password or the key is still required.")
    line(f"To end it earlier: pam-iampass-gateway bypass end {user}")


@command.command("list", epilog=_EPILOG, short_help="Show who is bypassed.")
@config_option
@json_option
def list_(config: Path, as_json: bool) -> None:
    """Show who can log in without the phone, where, until when, by whom, and why."""
    with command_gateway(config) as gateway:
        found, tampered = gateway.reading(bypasses.listing)
    if as_json:
        show_json({"bypasses": [_as_object(bypass) for bypass in found]})
    elif not found:
        line("Nobody is bypassed.")
    else:
        rows = [
            (
                (bypass.person, "bold"),
                ", ".join(bypass.services) or "all",
                ", ".join((*bypass.hosts, *(f"group {group}" for group in bypass.host_groups))) or "all",
                moment(bypass.ends_at.timestamp()),
                bypass.made_by,
                bypass.reason or "-",
            )
            for bypass in found
        ]
        table(["USER", "SERVICE", "HOST", local("UNTIL"), "BY", "REASON"], rows)
    if tampered:
        what = f"{count(tampered, 'bypass')} not shown: no gateway wrote these rows, so they are not valid."
        line((what, "bold red"), err=True)


@command.command(epilog=_EPILOG, short_help="End the bypasses of USER.")
@click.argument("user", type=NAME)
@if_exists_option
@config_option
@json_option
def end(user: str, if_exists: bool, config: Path, as_json: bool) -> None:
    """End all bypasses of USER on all hosts. New logins need the phone again.

    The exit status is 0, also if there was no bypass, or 1 if USER is unknown.
    """

    with command_gateway(config) as gateway:
        number = gateway.perform(EndBypasses(user), unknown=0 if if_exists else None)
    if as_json:
        show_json({"user": user, "ended": number})
    else:
        line(f"The phone of {user} is asked again." if number else f"{user} is not bypassed.")


def _as_object(bypass: Bypass) -> dict[str, object]:
    return {
        "user": bypass.person,
        "services": list(bypass.services),
        "hosts": list(bypass.hosts),
        "groups": list(bypass.host_groups),
        "until": timestamp(bypass.ends_at.timestamp()),
        "made_by": bypass.made_by,
        "reason": bypass.reason,
    }

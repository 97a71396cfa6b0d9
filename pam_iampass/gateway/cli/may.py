"""`pam-iampass-gateway user may`: whether a person may log in to a host, and who may log in to which hosts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path

import click

from pam_iampass.cli.output import (
    Part,
    count,
    finding,
    for_programs,
    line,
    moment,
    show_csv,
    show_json,
    table,
)
from pam_iampass.cli.parameters import csv_option, json_option
from pam_iampass.errors import PamIampassError
from pam_iampass.fleet.denials import CAUSES, DenialRow
from pam_iampass.fleet.people import ACCESS_COLUMNS, ACCESS_NOT_INCLUDED, AccessRow, access_cells
from pam_iampass.gateway.acts import names
from pam_iampass.gateway.acts.access import LEFT, LOST, HostSet, by_group, review
from pam_iampass.gateway.acts.denials import show_denials
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.settings import GatewaySettings
from pam_iampass.gateway.cli import command_gateway, config_option
from pam_iampass.gateway.cli.agents import agent_of
from pam_iampass.gateway.cli.host import NAME as HOST
from pam_iampass.gateway.cli.people import NAME, groups_of, known_to
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import Host, HostStatus
from pam_iampass.gateway.people import agents, people
from pam_iampass.gateway.people.agents import Agent
from pam_iampass.gateway.people.people import Person, PersonStatus
from pam_iampass.gateway.sign_in.actors import Actor
from pam_iampass.text import names as first_names

STATUSES: dict[PersonStatus, tuple[str, str]] = {
    PersonStatus.ACTIVE: ("can log in", "green"),
    PersonStatus.LEAVING: (LEFT[PersonStatus.LEAVING], "yellow"),
    PersonStatus.REMOVING: (LEFT[PersonStatus.REMOVING], "bold red"),
}


@click.command("may", short_help="Say who may log in to which hosts, and why or why not.")
@click.argument("user", type=NAME, required=False)
@click.argument("host", type=HOST, required=False)
@click.option("--all", "everybody", is_flag=True, help="Show all people and hosts, by groups of hosts.")
@csv_option
@config_option
@json_option
@click.pass_context
def may(
    ctx: click.Context,
    user: str | None,
    host: str | None,
    everybody: bool,
    as_csv: bool,
    config: Path,
    as_json: bool,
) -> None:
    """Say whether the gateway asks the phone of USER for logins to HOST, or why not. HOST is a name of `host list`,
    which can end before a dot if only one host then matches. The command also shows which logins of USER to HOST were
    denied in the last hour, why, whether the cause is over, and what to do.

    With --all, for an access review: show for each person the groups of hosts that admit them, the reason, and what
    blocks them now. Hosts of one group and status are one row; `host list --csv` has their names. The list does not
    have accounts that need no phone by the settings of a host, such as exempt accounts.

    The host first decides who needs no phone, and sshd checks the key or the password. `phone show` says whether USER
    has a phone.

    The exit status is 0 for yes, 1 for no, and 2 if the answer or a name is not known. With --all it is 1 if no gateway
    wrote the row of a person or host: these names are shown, and cannot log in.
    """
    if everybody == (user is not None) or (host is None) != everybody or (as_csv and not everybody):
        raise click.UsageError("Give USER and HOST, or --all. --csv requires --all.")
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other.")
    try:
        if user is None or host is None:
            ctx.exit(_show_review(config, as_csv, as_json))
        with command_gateway(config) as gateway:
            agent = agent_of(gateway, user)
            person = known_to(gateway, user if agent is None else agent.person)
            there = gateway.reading(lambda inner, connection: names.find_host(inner, connection, host))
            denials = gateway.reading(
                lambda inner, connection: show_denials(inner, connection, Actor.root(), user, there.name)
            )
            is_owner = agent is None or agent.acts_for(gateway.gateway, person)
            settings = gateway.settings
    except click.ClickException as error:
        error.exit_code = 2
        raise
    except PamIampassError as error:
        click.echo(error.diagnostics(), err=True)
        ctx.exit(2)
    why = _why_not(settings, person, there)
    if person.phone_to_disable:
        why.append(f"the phone of {person.name} {LOST}")
    if not is_owner:
        why.append(
            f"{user} acts for another {person.name}, who was removed: pam-iampass-gateway user remove {user}"
        )
    if agent is not None and not settings.admits(there.group, agent.groups):
        why.append(f"{there.name} is of the group {there.group}; {user} has {groups_of(agent.groups)}")
    if as_json:
        shown = [{**for_programs(row), "command": _command(row, user, there.name)} for row in denials]
        show_json({"may": not why, "why": why, "denials": shown})
    else:
        line((f"no: {'; '.join(why)}", "bold red") if why else ("yes", "bold green"))
        for row in denials:
            _show_denial(row, _command(row, user, there.name))
    ctx.exit(1 if why else 0)


def _why_not(settings: GatewaySettings, person: Person, host: Host) -> list[str]:
    """All reasons why a person may not log in to a host; empty if they may."""
    why = []
    if not person.active:
        why.append(f"{person.name} {STATUSES[person.status][0]}")
    policy = settings.policy_of(host.group)
    of_host = f"{host.name} is of the group {host.group}"
    if policy is None:
        why.append(f"{of_host}, which is not in gateway.yaml")
    elif not policy.admits(person.groups):
        why.append(f"{of_host}, which {policy.whom}; {person.name} has {groups_of(person.groups)}")
    if host.status is HostStatus.SUSPENDED:
        why.append(f"{host.name} is suspended: pam-iampass-gateway host resume {host.name}")
    elif host.status is HostStatus.STOPPED:
        why.append(
            f"{host.name} is stopped, because people denied its requests:"
            f" pam-iampass-gateway host resume {host.name}"
        )
    elif host.status is HostStatus.WAITING:
        why.append(f"{host.name} waits to be admitted: pam-iampass-gateway host admit {host.name}")
    return why


def _command(row: DenialRow, person: str, host: str) -> str:
    """The command that mends a cause; empty if it is over, or if no command does."""
    command = "" if row["is_over"] else CAUSES[row["cause"]].command
    return command and f"pam-iampass-gateway {command.format(person=person, host=host)}"


def _show_denial(row: DenialRow, command: str) -> None:
    at = "" if row["time"] is None else moment(row["time"].timestamp())
    origin = f"{row['service']} from {row['remote']}" if row["remote"] else row["service"]
    head = ", ".join(filter(None, (at, origin)))
    said: list[Part] = [f"{head}: " if head else "", (row["says"], "yellow")]
    if row["is_over"]:
        finding([*said, " This is over."])
        return
    until = "" if row["until"] is None else f" It ends at {moment(row['until'].timestamp())}."
    finding([*said, until], *filter(None, (row["mend"], command)))


# All people and hosts


def _show_review(config: Path, as_csv: bool, as_json: bool) -> int:
    """Show who may log in to which hosts; the exit status."""

    async def read(
        gateway: Gateway, connection: Connection
    ) -> tuple[list[Person], list[str], list[Host], list[str], list[Agent], list[str]]:
        return (
            *await people.listing(gateway, connection),
            *await hosts.listing(gateway, connection),
            *await agents.listing(gateway, connection),
        )

    with command_gateway(config) as gateway:
        everybody, tampered, found, tampered_hosts, acting, tampered_agents = gateway.reading(read)
        tampered += tampered_agents
        everything = by_group(gateway.settings, found)
        owned = agents.with_owners(gateway.gateway, acting, everybody)
    rows = review(everybody, tampered, everything, owned)
    ok = not (tampered or tampered_hosts)
    for name in tampered_hosts:
        line((f"{name}: its row was not written by a gateway. It is not in this list.", "bold red"), err=True)
    if as_json:
        show_json(
            {
                "ok": ok,
                "not_included": ACCESS_NOT_INCLUDED,
                "hosts": [
                    {
                        "group": each.group,
                        "status": each.status.value,
                        "admits": each.admits,
                        "hosts": each.names,
                    }
                    for each in everything
                ],
                "users": list(rows),
            }
        )
    elif as_csv:
        show_csv(ACCESS_COLUMNS, chain.from_iterable(map(access_cells, rows)))
        line(ACCESS_NOT_INCLUDED, err=True)
    else:
        _show_tables(everything, rows)
        line(f"{count(len(everybody), 'user')}, {count(len(found), 'host')}.")
        line(ACCESS_NOT_INCLUDED)
    return 0 if ok else 1


def _show_tables(everything: Sequence[HostSet], rows: Iterable[AccessRow]) -> None:
    sets: list[list[Part]] = [
        [
            (each.group, "bold"),
            each.status.value,
            str(len(each.names)),
            each.admits if isinstance(each.admits, str) else ", ".join(each.admits) or "nobody",
            first_names(each.names),
        ]
        for each in everything
    ]
    if sets:
        table(("GROUP", "STATUS", "HOSTS", "ADMITS", "NAMES"), sets)
        line("")
    shown: list[list[Part]] = [
        [
            (user, "bold"),
            groups or ("?" if status == "tampered" else "-"),
            group or "-",
            number if group else "-",
            (may, "green" if may == "yes" else "yellow"),
            why,
        ]
        for row in rows
        for user, status, groups, group, _, number, may, why in access_cells(row)
    ]
    if shown:
        table(("USER", "GROUPS", "HOSTS OF", "HOSTS", "LOGIN", "WHY"), shown)
        line("")

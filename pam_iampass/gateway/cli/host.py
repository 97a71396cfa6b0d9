"""`pam-iampass-gateway host`: invites, and the hosts of the fleet."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import click

from pam_iampass.cli import Verbs, output
from pam_iampass.cli.parameters import DURATION, csv_option, json_option, yes_option
from pam_iampass.config.value_types import line_error
from pam_iampass.fleet.hosts import MOST_USES, HostRow, network_error
from pam_iampass.fleet.names import host_address_error, host_name_error
from pam_iampass.gateway.acts.act import Act
from pam_iampass.gateway.acts.hosts import (
    AdmitHost,
    InviteHost,
    RemoveHost,
    ResumeHost,
    RevokeInvite,
    SetHostAddresses,
    SetHostNote,
    SuspendHost,
)
from pam_iampass.gateway.acts.names import UnknownName, find_host
from pam_iampass.gateway.acts.views import host_row, show_hosts
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.settings import DEFAULT_GROUP
from pam_iampass.gateway.calls import joining
from pam_iampass.gateway.cli import command_gateway, config_option, if_exists_option, named
from pam_iampass.gateway.cli.session import exit_after_ends
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import Host, HostStatus, Invite
from pam_iampass.gateway.sign_in.actors import Actor

T = TypeVar("T")
_COLUMNS = ("name", "group", "status", "admitted", "seen", "version", "address", "open_logins", "note")
_STYLES = {HostStatus.ACTIVE: "green", HostStatus.WAITING: "yellow"}
_EPILOG = """\b
Examples:
  pam-iampass-gateway host invite                             for one host, within an hour
  pam-iampass-gateway host invite --name web1.example.com --network 192.0.2.0/24
  pam-iampass-gateway host invite --group web --uses 50 --for 1d
  pam-iampass-gateway host list
  pam-iampass-gateway host list --unseen                      no call for a day
  pam-iampass-gateway host list --csv > hosts.csv             for a spreadsheet
  pam-iampass-gateway host addresses web1.example.com 192.0.2.8 2001:db8::8
  pam-iampass-gateway host note web1.example.com "rack 4, ask Zoe"
  pam-iampass-gateway host suspend web1.example.com           at once; open logins stay
  pam-iampass-gateway host suspend web1.example.com --end-logins
  pam-iampass-gateway host remove web1.example.com
"""


NAME = named("name", host_name_error)


@click.group(cls=Verbs, epilog=_EPILOG)
def command() -> None:
    """Invite hosts; list, admit, suspend and remove them; set their addresses and notes.

    The exit status is 0, or 1 if it failed.
    """


@command.command(short_help="Make an invite with which a host can join.")
@click.option(
    "--group",
    default=DEFAULT_GROUP,
    show_default=True,
    help="The group of the hosts that join with the invite.",
)
@click.option("--name", type=NAME, help="Only the host of this name can use the invite.")
@click.option(
    "--network",
    type=named("network", network_error),
    help="Only hosts in this network can use it, such as 192.0.2.0/24.",
)
@click.option(
    "--uses", type=click.IntRange(1, MOST_USES), default=1, show_default=True, help="How many hosts can join."
)
@click.option(
    "--for", "seconds", type=DURATION, default="1h", show_default=True, help="How long the invite is valid."
)
@json_option
@config_option
def invite(
    config: Path,
    group: str,
    name: str | None,
    network: str | None,
    uses: int,
    seconds: int,
    as_json: bool,
) -> None:
    """Make an invite, and print the command with which a host joins.

    Anyone who has the invite can join a host of its group, until the invite is used up or expires. If you store it,
    limit it with --name or --network; see also `host revoke`. The group must be in gateway.yaml.
    """

    with command_gateway(config) as gateway:
        made, word = gateway.perform(InviteHost(group, seconds, uses, name or "", network or ""))
        url = joining.url(gateway.settings)
    if as_json:
        output.show_json({**_invite_object(made), "url": url, "invite": word})
        return
    output.line(f"Invite {made.id}: {_terms(made)}")
    output.line("On the host, as root:")
    output.line(f"    pam-iampass join {url} {word}" + (f" --name {made.name}" if made.name else ""))


@command.command(short_help="Revoke an invite.")
@click.argument("id")
@if_exists_option
@config_option
def revoke(config: Path, id: str, if_exists: bool) -> None:
    """Revoke an invite. Hosts that joined with it stay. ID is the first part of the invite."""

    with command_gateway(config) as gateway:
        act = RevokeInvite(id.partition(".")[0])
        revoked = gateway.perform(act, unknown=False if if_exists else None)
    output.line("Revoked." if revoked else "There is no such invite.")


@command.command("list", short_help="Show the hosts and the valid invites.")
@click.option("--group", "groups", multiple=True, help="Only hosts of this group. Can be repeated.")
@click.option(
    "--status",
    "statuses",
    type=click.Choice([status.value for status in HostStatus]),
    multiple=True,
    help="Only hosts with this status. Can be repeated.",
)
@click.option("--unseen", is_flag=True, help="Only hosts that have not called for a day.")
@csv_option
@json_option
@config_option
def list_(
    config: Path,
    groups: tuple[str, ...],
    statuses: tuple[str, ...],
    unseen: bool,
    as_csv: bool,
    as_json: bool,
) -> None:
    """Show the hosts and the valid invites.

    If its group requires no admission, a host can send requests before you admit it. People who log in there must
    approve again on other hosts.

    SEEN is the last call of a host for a login or for its open sessions, up to five minutes late. A host without logins
    does not call. VERSION is what the host reports. FROM is the address of the host, or of a proxy before the gateway.
    CSV has only the hosts.
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other.")

    async def read(inner: Gateway, connection: Connection) -> tuple[list[HostRow], list[str], list[Invite]]:
        found, tampered = await show_hosts(inner, connection, Actor.root())
        return found, tampered, await hosts.invites(inner, connection)

    with command_gateway(config) as gateway:
        everything, tampered, invites = gateway.reading(read)
    found = [
        host
        for host in everything
        if (not groups or host["group"] in groups)
        and (not statuses or host["status"] in statuses)
        and not (unseen and host["seen_within_a_day"])
    ]
    if as_json:
        output.show_json(
            {
                "hosts": [output.for_programs(host) for host in found],
                "tampered": tampered,
                "invites": [_invite_object(invite) for invite in invites],
            }
        )
        return
    if as_csv:
        output.show_csv(_COLUMNS, map(_csv_row, found))
    elif found:
        rows = [
            (
                (host["name"], "bold"),
                host["group"],
                _status(host),
                "yes" if host["admitted"] else "no",
                _last_call(host),
                host["version"] or "-",
                host["address"] or "-",
                str(host["open_logins"]),
                host["note"] or "-",
            )
            for host in found
        ]
        seen = output.local("SEEN")
        output.table(("NAME", "GROUP", "STATUS", "ADMITTED", seen, "VERSION", "FROM", "OPEN", "NOTE"), rows)
    elif everything:
        output.line("There is no such host.")
    else:
        output.line("No host has joined. To invite one: pam-iampass-gateway host invite")
    for name in tampered:
        output.line(
            (f"{name}: its row was not written by this gateway, and is not valid.", "bold red"), err=True
        )
    if invites and not (groups or statuses or unseen or as_csv):
        output.line("")
        output.table(("INVITE", "TERMS"), [(invite.id, _terms(invite)) for invite in invites])


def _csv_row(host: HostRow) -> list[str]:
    found = {**output.for_programs(host), "admitted": "yes" if host["admitted"] else "no"}
    return ["" if found[name] is None else str(found[name]) for name in _COLUMNS]


@command.command(short_help="Show one host.")
@click.argument("name", type=NAME)
@json_option
@config_option
def show(config: Path, name: str, as_json: bool) -> None:
    """Show details of a host. NAME can end before a dot, if only one host then matches."""

    async def read(inner: Gateway, connection: Connection) -> HostRow:
        found = await find_host(inner, connection, name)
        seen = await hosts.seen(connection, [found.id])
        return host_row(found, seen.get(found.id, hosts.NEVER_SEEN))

    with command_gateway(config) as gateway:
        host = gateway.reading(read)
    if as_json:
        output.show_json(output.for_programs(host))
        return
    slowed = [("Slowed until", _when(host["slowed_until"]))] if host["slowed_until"] else []
    output.fields(
        [
            ("Name", host["name"]),
            ("Group", host["group"]),
            ("Status", _status(host)),
            ("Id", host["id"]),
            ("Machine", host["machine"] or "not known yet"),
            (
                "Admitted",
                "yes" if host["admitted"] else "no: people who log in there approve again on other hosts",
            ),
            ("Addresses", ", ".join(host["addresses"]) or "not set"),
            ("Note", host["note"] or "-"),
            ("Joined", f"{_when(host['joined'])} with invite {host['invite']}"),
            *slowed,
            ("Seen", _last_call(host)),
            ("Version", host["version"] or "-"),
            ("From", host["address"] or "-"),
            ("Open logins", str(host["open_logins"])),
        ]
    )


@command.command(short_help="Admit a host that has joined and waits.")
@click.argument("name", type=NAME)
@click.option("--id", "id", type=named("id", host_name_error), help="Fail if the host has another id.")
@config_option
def admit(config: Path, name: str, id: str | None) -> None:
    """Admit a host that joined in a group with `admit: true`, or with the invite of a host that was slowed down. First
    compare its id: `host show` here, `application_id` in /etc/iampass/joined.yaml on the host. With --id, the command
    fails if another host has taken the name meanwhile.

    A host that joined before its group required admission can already send requests. Until you admit it, people who
    log in there must approve again on other hosts.
    """
    _show_status(_perform(config, AdmitHost(name, id or "")))


@command.command(short_help="Stop answering a host.")
@click.argument("name", type=NAME)
@click.option("--end-logins", is_flag=True, help="Also end its open logins, if an attacker took it over.")
@config_option
@click.pass_context
def suspend(ctx: click.Context, config: Path, name: str, end_logins: bool) -> None:
    """Stop answering a host until `host resume`: it cannot begin requests or ask about its sessions.

    The host's requests on phones end. Logins on other hosts that needed no approval because of a login on this host
    end, too. The host's own open logins stay, unless you give --end-logins. The invite with which the host joined
    becomes void, and the host cannot leave on its own. The command names other hosts that joined with this invite.

    The exit status is 0, or 1 if the command failed or IAMPASS has not ended everything yet. The gateways keep trying.
    """
    done = _perform(config, SuspendHost(name, end_logins))
    _show_status(done.host)
    if end_logins:
        output.line(f"{output.count(len(done.ended.were_open), 'login')} ended.")
    _say_void(done.void_invite)
    if done.others:
        output.line(done.others)
    exit_after_ends(ctx, done.ended.errors)


@command.command(short_help="Undo `suspend`.")
@click.argument("name", type=NAME)
@config_option
def resume(config: Path, name: str) -> None:
    """Answer a host again that was suspended, slowed down, or stopped because people denied its requests. If its
    group requires admission and the host was never admitted, it waits."""
    _show_status(_perform(config, ResumeHost(name)))


@command.command(short_help="Set the addresses of a host.")
@click.argument("name", type=NAME)
@click.argument("addresses", nargs=-1, type=named("address", host_address_error))
@click.option("--none", is_flag=True, help="Remove all addresses of the host.")
@config_option
def addresses(config: Path, name: str, addresses: tuple[str, ...], none: bool) -> None:
    """Set the addresses at which people reach the sshd of a host, in place of the earlier addresses.

    A host behind a bastion names the connection of each login, and the gateway asks the bastion about it. If the
    connection leads to an address of another host, the phone is asked, and there is an alert.

    Leave out addresses that several hosts share. Set them again when an address moves to another host.
    """
    if none is bool(addresses):
        raise click.UsageError("give the addresses of the host, or --none")
    host = _perform(config, SetHostAddresses(name, addresses))
    output.line((host.name, "bold"), f": {', '.join(host.addresses) or 'no addresses'}")


@command.command(short_help="Write a note on a host.")
@click.argument("name", type=NAME)
@click.argument("note", type=named("note", line_error), required=False)
@click.option("--none", is_flag=True, help="Remove the note.")
@config_option
def note(config: Path, name: str, note: str | None, none: bool) -> None:
    """Write a note on a host, in place of the earlier note: one line of at most 200 characters. Put it in quotes.

    `host list`, the portal and the log show the note to administrators and auditors. The host does not get it.
    """
    if none is (note is not None):
        raise click.UsageError("give the note, or --none")
    host = _perform(config, SetHostNote(name, note or ""))
    output.line((host.name, "bold"), f": {host.note or 'no note'}")


def _perform(config: Path, act: Act[T]) -> T:
    with command_gateway(config) as gateway:
        return gateway.perform(act)


def _show_status(host: Host) -> None:
    output.line((host.name, "bold"), f" is {host.status.value}.")
    if host.status is HostStatus.WAITING:
        output.line(f"To admit it: pam-iampass-gateway host admit {host.name}")


@command.command(short_help="Remove a host from the fleet.")
@click.argument("name", type=NAME)
@if_exists_option
@yes_option()
@config_option
@click.pass_context
def remove(ctx: click.Context, config: Path, name: str, if_exists: bool, yes: bool) -> None:
    """Remove a host from the fleet. Its credential becomes void, and its sessions end.

    The invite with which the host joined becomes void, unless it is for several hosts and bound to a network. If an
    attacker took the host over, first run `host suspend`, which always makes the invite void.

    Logins on the host are then denied, until it leaves (pam-iampass leave) or joins again.

    The exit status is 0, or 1 if the command failed or IAMPASS has not ended everything yet. The gateways keep trying.
    """
    if not yes:
        output.confirm(f"Remove {name}?")

    try:
        done = _perform(config, RemoveHost(name))
    except UnknownName:
        if not if_exists:
            raise
        output.line(f"There is no host {name}.")
        return
    output.line((name, "bold"), " is removed.")
    _say_void(done.void_invite)
    if done.good_invite:
        output.line(
            f"Its invite {done.good_invite} is still valid in its network. If the host was taken over, revoke it:"
        )
        output.line(f"    pam-iampass-gateway host revoke {done.good_invite}")
    exit_after_ends(ctx, done.ended.errors)


def _say_void(void: str | None) -> None:
    if void:
        output.line(f"Its invite {void} is void. If more hosts are to join with it, make a new invite.")


def _when(moment: Any) -> str:
    return output.moment(moment.timestamp())


def _status(host: HostRow) -> output.Part:
    return host["status"], _STYLES.get(HostStatus(host["status"]), "bold red")


def _last_call(host: HostRow) -> output.Part:
    last = "never" if host["seen"] is None else _when(host["seen"])
    return last if host["seen_within_a_day"] else (f"{last}: not for a day", "bold red")


def _terms(invite: Invite) -> str:
    return f"{invite.terms}, until {_when(invite.expires_at)}"


def _invite_object(invite: Invite) -> dict[str, Any]:
    return {
        "id": invite.id,
        "group": invite.group,
        "name": invite.name,
        "network": str(invite.network) if invite.network else None,
        "uses_left": invite.uses_left,
        "expires": output.timestamp(invite.expires_at.timestamp()),
    }

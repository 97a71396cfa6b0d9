"""`pam-iampass-gateway restored`: accept a database that was restored from a backup."""

from __future__ import annotations

import json
import pwd
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import click

from pam_iampass.audit.journal import ADMINISTRATION, GATEWAY_ALERT, IDENTIFIER
from pam_iampass.cli.output import line, local, moment, table
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.base.places import ACCOUNT
from pam_iampass.gateway.check import restored
from pam_iampass.gateway.cli import config_option, with_gateway
from pam_iampass.system import programs
from pam_iampass.system.programs import CommandUnavailable

Row = tuple[str, str, str, str, str, str]
_FIELDS = ("IAMPASS_EVENT", "IAMPASS_HOST", "IAMPASS_USER", "IAMPASS_CALLER", "IAMPASS_REASON")
_CLOCKS_SECONDS = 60
"""The clocks of the database and of this machine differ by this at most."""
_CHANGES_NOTHING = {"people_asked", "refused", "sign_in"}
"""Records of acts that changed nothing, or nothing that is good after a restore."""
_NOT_HERE = (
    "This list cannot show:",
    "  acts at other gateways: run pam-iampass-gateway restored there, too",
    "  logins that were approved since then: the gateways do not see their end. On a host, pam-iampass session list"
    " shows them.",
)


@click.command("restored")
@config_option
@click.option("--confirm", is_flag=True, help="Accept the database as it is now.")
@click.pass_context
def command(ctx: click.Context, config: Path, confirm: bool) -> None:
    """Say whether the database is an old copy, and which acts are missing in it.

    Each gateway remembers the last state of the database. After a backup was restored, the gateways answer no host and
    let no host join. Otherwise a host that was removed since the backup would be back, and so would an invite that was
    used up.

    Read the list, repeat the missing acts (`host remove`, `user remove`, `phone lost`), then confirm. All invites,
    recovery codes and bypasses become void, because some were used up or ended meanwhile. Sign-ins at the portal, links
    that register passkeys, and passkeys of operators become void, too. Everybody else must approve their passkeys on
    the phone once. If the backup has a report of a lost phone, no phone is disabled, because the person may have a new
    phone. The command names the person, and logins of this person are denied until you report the phone again (`phone
    lost`).

    The list comes from the journal of this machine. It has acts by this command, in the portal and by the directory,
    and hosts that joined, left or were stopped. The command says if the journal begins too late. Run it on the other
    gateways, too.

    The exit status is 0 if there is nothing to confirm, otherwise 1.
    """

    async def compare(gateway: Gateway) -> tuple[bool, bool, datetime | None]:
        try:
            mark, found = await restored.compare(gateway)
            async with gateway.database.transaction() as connection:
                return mark.old_copy, mark.fleet == found.fleet, await restored.last_of_copy(connection)
        except (Tampered, ValueError, OSError) as error:
            raise click.ClickException(str(error)) from None

    async def accept(gateway: Gateway) -> list[str]:
        async with gateway.database.transaction() as connection:
            void = await restored.confirm(gateway, connection)
        try:
            await restored.adopt(gateway)
        except (ValueError, OSError) as error:
            raise click.ClickException(f"confirmed, but this gateway cannot remember it: {error}") from None
        return void

    is_old_copy, was_here, last = with_gateway(config, compare)
    if not is_old_copy:
        line(("Nothing to confirm:", "green"), " the database is no older than this gateway remembers.")
        return
    _show_since(last, was_here)  # as root: the service's account cannot read the journal
    if not confirm:
        ctx.exit(1)
    void = with_gateway(config, accept)
    line(("Confirmed.", "green"), " The gateways answer hosts again within seconds. These are void:")
    for each in void:
        line(f"  {each}")


def _show_since(last: datetime | None, was_here: bool) -> None:
    """Show what was done on this machine since the last record of the database, or that nobody can tell here: its
    journal begins later, or it was no gateway of this database (not `was_here`)."""
    if last is None:
        line(("The database is an old copy without any record.", "bold red"))
    else:
        line(
            ("The database is an old copy:", "bold red"),
            f" its last record is of {moment(last.timestamp())}.",
        )
    rows, knows = _acts_since(last), was_here and _journal_reaches(last)
    if rows:
        line("This machine's journal has these acts. The database may have acts of the first minute:")
        table((local("WHEN"), "WHAT", "HOST", "USER", "BY", "WHY"), rows)
    elif knows:
        line("This machine's journal has no act since then.")
    if not knows:
        what = "This machine cannot know what was done since then"
        why = "its journal begins later" if was_here else "it was not a gateway of this database"
        line((f"{what}: {why}.", "bold yellow"))
    for each in _NOT_HERE:
        line(each)


def _journal_reaches(last: datetime | None) -> bool:
    """Whether this machine's journal has anything from before."""
    if last is None:
        return False
    until = f"--until=@{int(last.timestamp())}"
    try:
        return bool(programs.run(["journalctl", "--output=cat", "--quiet", "--lines=1", until]).output)
    except CommandUnavailable:
        return False


def _acts_since(last: datetime | None) -> list[Row]:
    """Returns the acts that root's commands and the gateway's services have written to the journal since then."""
    since = [] if last is None else [f"--since=@{int(last.timestamp()) - _CLOCKS_SECONDS}"]
    ours = [f"SYSLOG_IDENTIFIER={IDENTIFIER}", "_UID=0"]  # anybody can write the other fields
    with suppress(KeyError):
        ours.append(f"_UID={pwd.getpwnam(ACCOUNT).pw_uid}")
    stopped = [f"MESSAGE_ID={GATEWAY_ALERT}", "IAMPASS_EVENT=host_stopped"]
    wanted = [*ours, f"MESSAGE_ID={ADMINISTRATION}", "+", *ours, *stopped]
    try:
        shown = programs.run(["journalctl", "--output=json", "--quiet", *since, *wanted], timeout=60.0)
    except CommandUnavailable as error:
        line((f"The journal cannot be read: {error}", "yellow"))
        return []
    found: list[Row] = []
    for each in shown.output.splitlines():
        entry = json.loads(each)
        what, host, user, by, why = (str(entry.get(name) or "-") for name in _FIELDS)
        if what not in _CHANGES_NOTHING:
            found.append((moment(int(entry["__REALTIME_TIMESTAMP"]) / 1e6), what, host, user, by, why))
    return found

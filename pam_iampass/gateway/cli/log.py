"""`pam-iampass-gateway log`: the records of all hosts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import click

from pam_iampass.cli.output import Row, line, show_json, table
from pam_iampass.cli.parameters import POINT_IN_TIME, service_option
from pam_iampass.gateway.acts.names import recorded_host, require_recorded_person
from pam_iampass.gateway.cli import config_option, with_gateway
from pam_iampass.gateway.gateway import Gateway
from pam_iampass.gateway.records import Filter, Kind, Record, read
from pam_iampass.outcome import Outcome

_LAST = 50  # records, without a number or --since
_FOLLOWED = 10
_LOOKED_AT = 1.0
"""Seconds between two looks with --follow."""
_LATE = timedelta(minutes=2)
"""A transaction that began before another can be committed after it: its record comes late."""

_HEADINGS = ("WHEN", "HOST", "USER", "CALLER", "SERVICE", "FROM", "OUTCOME", "REASON")
_SIZES = (
    ("2026-11-24 17:30:00", "web17", "wolfgang", "wolfgang", "sshd", "203.0.113.255", "misconfigured", ""),
)
_LET_IN = (Outcome.APPROVED.value, Outcome.COVERED.value)
_STYLES = {Kind.ACT: "cyan", Kind.ALERT: "bold red"}

_EPILOG = """\b
Examples:
  pam-iampass-gateway log                              the last 50 records
  pam-iampass-gateway log alice --since yesterday
  pam-iampass-gateway log --host web17 --host web18
  pam-iampass-gateway log --outcome denied --outcome timed_out --since 7d
  pam-iampass-gateway log --follow                     each record as it is written
  pam-iampass-gateway log --json --since today | jq -r 'select(.outcome == "denied") | .user'
"""


@click.command("log", epilog=_EPILOG)
@click.argument("user", required=False)
@config_option
@click.option(
    "--since",
    type=POINT_IN_TIME,
    help="Only records after this time: 30m, 2h, 7d, today, yesterday, 17:30, 2026-11-24, '2026-11-24 17:30'.",
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="Only this host; its name may end before a dot. Can be repeated.",
)
@click.option(
    "--outcome",
    "outcomes",
    type=click.Choice([outcome.value for outcome in Outcome]),
    multiple=True,
    metavar="OUTCOME",
    help="Only this outcome, such as approved or denied. Can be repeated.",
)
@service_option
@click.option("--session", metavar="ID", default="", help="Only the session whose id begins with ID.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=1),
    metavar="NUMBER",
    help=f"Show the last NUMBER records.  [default: {_LAST}; all with --since or --session; {_FOLLOWED} with --follow]",
)
@click.option("-f", "--follow", is_flag=True, help="Show each record as it is written, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per record, one per line.")
@click.pass_context
def command(
    ctx: click.Context,
    user: str | None,
    config: Path,
    since: datetime | None,
    hosts: tuple[str, ...],
    outcomes: tuple[str, ...],
    services: tuple[str, ...],
    session: str,
    lines: int | None,
    follow: bool,
    as_json: bool,
) -> None:
    """Show what hosts have asked for, of USER or of all users, and how it ended. Without --outcome, also what
    administrators have done with this command, and alerts.

    What a host says of a login (service, caller, address) is shown as that host has said it. A host that was taken
    over can say what it likes, but only in its own name. The host's own journal has more: logins that needed no phone,
    and when a login session ended.

    A name that neither the database nor a record has is an error.

    The exit status is 0, 1 if it failed, and 130 when --follow is stopped.
    """
    most = lines or (_FOLLOWED if follow else None if since or session else _LAST)

    async def show(gateway: Gateway) -> None:
        async with gateway.database.statement() as connection:
            if user:
                await require_recorded_person(connection, user)
            full = [await recorded_host(connection, each) for each in hosts]
        wanted = Filter(user or "", full, services, outcomes, session, since)
        if follow:
            if not as_json:
                table(_HEADINGS, (), _SIZES)
            async for record in _followed(gateway, wanted, most):
                _show([record], as_json, followed=True)
            return
        async with gateway.database.statement() as connection:
            found = await read(connection, wanted, most)
        _show(found, as_json)

    try:
        with_gateway(config, show)
    except KeyboardInterrupt:  # ends --follow
        ctx.exit(128 + 2)


async def _followed(gateway: Gateway, wanted: Filter, most: int | None) -> AsyncIterator[Record]:
    """The last records, and then each new one."""
    shown: dict[int, datetime] = {}
    first = True
    while True:
        async with gateway.database.transaction() as connection:
            found = await read(connection, wanted, most) if first else []
            times = [*shown.values(), *(record.time for record in found)]
            since = max(times, default=datetime.now().astimezone()) - _LATE
            recent = await read(connection, replace(wanted, since=max(since, wanted.since or since)))
        for record in found if first else recent:
            if record.id not in shown:
                yield record
        shown = {record.id: record.time for record in (*found, *recent)} or shown
        first = False
        await asyncio.sleep(_LOOKED_AT)


def _show(records: list[Record], as_json: bool, *, followed: bool = False) -> None:
    if as_json:
        for record in records:
            show_json(_as_object(record), indent=None)
    elif followed:
        table((), map(_row, records), _SIZES)
    elif records:
        table(_HEADINGS, map(_row, records))
    else:
        line("No record.", err=True)


def _as_object(record: Record) -> dict[str, str]:
    return {
        **record.fields,
        "time": record.time.isoformat(),
        "kind": record.kind.value,
        "host": record.host,
        "user": record.person,
    }


def _row(record: Record) -> Row:
    fields = record.fields
    outcome = fields.get("outcome") or fields.get("what") or record.kind.value
    style = _STYLES.get(record.kind, "green" if outcome in _LET_IN else "red")
    if record.kind is Kind.DECISION and "outcome" not in fields:
        outcome, style = "session ended", "cyan"
    session = f"session {fields['session']}" if fields.get("session") else ""
    return (
        f"{record.time:%Y-%m-%d %H:%M:%S}",
        (record.host or "-", "bold"),
        (record.person or "-", "bold"),
        fields.get("caller") or "-",
        fields.get("service") or "-",
        fields.get("remote") or "-",
        (outcome, style),
        "; ".join(filter(None, (fields.get("reason"), session))),
    )

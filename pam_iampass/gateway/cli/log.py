"""`pam-iampass-gateway log`: the records of all hosts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import click

from pam_iampass.audit.query import AuditRecord, kind_of
from pam_iampass.cli.output import Row, count, line, local, moment, show_json, table
from pam_iampass.cli.parameters import (
    let_in_option,
    login_option,
    service_option,
    since_option,
    until_option,
)
from pam_iampass.gateway.acts.names import recorded_host, require_recorded_person
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.records import Filter, Kind, Record, read, reason_of
from pam_iampass.gateway.cli import config_option, with_gateway
from pam_iampass.outcome import Outcome, SessionEvent

_LAST = 50  # records, without a number or --since
_FOLLOWED = 10
_LOOKED_AT = 1.0
"""Seconds between two looks with --follow."""
_LATE = timedelta(minutes=2)
"""A transaction that began before another can be committed after it: its record comes late."""

_SIZES = (
    (
        "2026-11-24 17:30:00",
        "web17",
        "wolfgang",
        "wolfgang",
        "sshd",
        "203.0.113.255",
        "misconfigured",
        "",
    ),
)
_STYLES = {Kind.ACT.value: "cyan", Kind.ALERT.value: "bold red", Kind.REPORT.value: "yellow"}

_EPILOG = """\b
Examples:
  pam-iampass-gateway log                              the last 50 records
  pam-iampass-gateway log alice --since yesterday
  pam-iampass-gateway log --let-in --since 'yesterday 18:00' --until 'today 08:00'
  pam-iampass-gateway log --host web17 --host web18
  pam-iampass-gateway log --outcome denied --outcome timed_out --since 7d
  pam-iampass-gateway log --follow                     each record as it is written
  pam-iampass-gateway log --json --since today | jq -r 'select(.outcome == "denied") | .user'
"""


@click.command("log", epilog=_EPILOG)
@click.argument("user", required=False)
@config_option
@since_option
@until_option
@let_in_option
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
@login_option
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=1),
    metavar="NUMBER",
    help=f"Show the last NUMBER records.  [default: {_LAST}; all with --since, --session or --login;"
    f" {_FOLLOWED} with --follow]",
)
@click.option("-f", "--follow", is_flag=True, help="Show each record as it is written, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per record, one per line.")
@click.pass_context
def command(
    ctx: click.Context,
    user: str | None,
    config: Path,
    since: datetime | None,
    until: datetime | None,
    let_in: bool,
    hosts: tuple[str, ...],
    outcomes: tuple[str, ...],
    services: tuple[str, ...],
    session: str,
    login: str | None,
    lines: int | None,
    follow: bool,
    as_json: bool,
) -> None:
    """Show the requests of hosts for USER or for all users, and their results. The log also has logins that needed no
    phone, as hosts report them. Without --outcome, it also has the acts of administrators, and alerts.

    Service, caller and address of a login are shown as the host reported them. A host that was taken over can report
    anything, but only in its own name. Only the host knows of logins that needed no phone: exempt accounts, its own
    bypasses and recovery codes, tolerated outages, and sudo within a kept session. Their REASON begins with «the host
    says», and in JSON verified is false. The host's own journal has more: logins that the host itself denied, and when
    a login session ended.

    Times are in the time zone of this machine, unless TZ is set; with --json they have its offset, and the members are
    as in pam-iampass log.

    An unknown name is an error.

    The exit status is 0, 1 if it failed, and 130 when --follow is stopped.
    """
    most = lines or (_FOLLOWED if follow else None if since or session or login else _LAST)

    async def show(gateway: Gateway) -> None:
        async with gateway.database.statement() as connection:
            if user:
                await require_recorded_person(connection, user)
            full = [await recorded_host(connection, each) for each in hosts]
        wanted = Filter(user or "", full, services, outcomes, session, since, until, login or "", let_in)
        if follow:
            if not as_json:
                table(_headings(), (), _SIZES)
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
            times = [*shown.values(), *(record.written for record in found)]
            since = max(times, default=datetime.now().astimezone()) - _LATE
            recent = await read(connection, replace(wanted, written_since=since))
        for record in found if first else recent:
            if record.id not in shown:
                yield record
        shown = {record.id: record.written for record in (*found, *recent)} or shown
        first = False
        await asyncio.sleep(_LOOKED_AT)


def _show(records: list[Record], as_json: bool, *, followed: bool = False) -> None:
    found = [_as_on_a_host(record) for record in records]
    if as_json:
        for record in found:
            show_json(record.to_json(), indent=None)
    elif followed:
        table(_headings(), map(_row, found), _SIZES, goes_on=True)
    elif found:
        table(_headings(), map(_row, found))
    else:
        line("No record.", err=True)


def _headings() -> tuple[str, ...]:
    return (local("WHEN"), "HOST", "USER", "CALLER", "SERVICE", "FROM", "OUTCOME", "REASON")


def _as_on_a_host(record: Record) -> AuditRecord:
    """The record as a host has its own."""
    fields = record.fields
    event = fields.get("event", "") or fields.get("what", "").replace(" ", "_")
    user, approver, person = record.person, fields.get("approver", ""), fields.get("asker", "")
    if record.kind is Kind.DECISION:
        event = event or ("" if record.outcome else SessionEvent.ENDED.value)
        user, approver, person = fields.get("agent") or person or user, user, ""
    sudo = fields.get("sudo_user", "")
    lost = int(fields.get("lost", 0))
    reasons = (
        f"{count(lost, 'login')} that needed no phone: only the journal there has records" if lost else "",
        reason_of(fields),
        f"by sudo of {sudo}" if sudo not in ("", fields.get("caller")) else "",
    )
    return AuditRecord(
        time=record.time,
        kind=kind_of(event) if record.kind is Kind.DECISION else record.kind.value,
        host=record.host,
        user=user,
        caller=fields.get("caller", ""),
        approver=approver,
        service=fields.get("service", ""),
        rhost=fields.get("remote", ""),
        outcome=record.outcome,
        result=record.result.value if record.result else "",
        elapsed_ms=int(fields.get("elapsed_ms", 0)),
        reason="; ".join(filter(None, reasons)),
        uid=None,
        verified=record.kind is not Kind.REPORT,
        session=fields.get("session", ""),
        event="logins_lost" if lost else event,
        tty=fields.get("tty", ""),
        person=person,
        login=fields.get("login", ""),
        key=fields.get("key", ""),
        command=fields.get("command", ""),
    )


def _row(record: AuditRecord) -> Row:
    style = _STYLES.get(record.kind) or ("green" if record.let_in else "red")
    if record.kind == "session":
        style = "cyan"
    session = f"session {record.session}" if record.session else ""
    reason = "; ".join(filter(None, (record.reason, session, record.command)))
    return (
        moment(record.time.timestamp()),
        (record.host or "-", "bold"),
        (record.user or "-", "bold"),
        record.caller or "-",
        record.service or "-",
        record.rhost or "-",
        (record.outcome or record.event.replace("_", " ") or record.kind, style),
        reason if record.verified else f"the host says: {reason}",
    )

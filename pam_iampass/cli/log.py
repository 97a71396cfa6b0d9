"""`pam-iampass log`: shows login results from the journal."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import compress

import click

from pam_iampass.audit.query import AuditLog, AuditRecord, Filter
from pam_iampass.cli.output import Row, count, line, local, show_json, table
from pam_iampass.cli.parameters import (
    SESSION_ID,
    USER,
    account,
    let_in_option,
    login_option,
    service_option,
    since_option,
    until_option,
)
from pam_iampass.outcome import RESULTS, Outcome, Result
from pam_iampass.system.accounts import user_name

_LAST = 50  # records, without a number or --since
_FOLLOWED = 10

_SIZES = (
    (
        *("2026-11-24 17:30:00", "wolfgang", "wolfgang", "wolfgang"),
        *("sshd", "203.0.113.255", "misconfigured", "59.9 s", ""),
    ),
)
_STYLES = {Result.SUCCESS.value: "green", Result.IGNORED.value: "yellow", Result.DENIED.value: "red"}
_OUTCOMES = [outcome.value for outcome in Outcome]

_EPILOG = """\b
Examples:
  pam-iampass log                              the last 50 logins
  pam-iampass log alice --since yesterday
  pam-iampass log --let-in --since 'yesterday 18:00' --until 'today 08:00'
  pam-iampass log --outcome denied --outcome timed_out --since 7d
  pam-iampass log --service sudo -n 5
  pam-iampass log --session 5f0c               all events of one session
  pam-iampass log --follow                     each new login
  pam-iampass log --json --since today | jq -r 'select(.result == "denied") | .user'
"""


@click.command(epilog=_EPILOG)
@click.argument("user", type=USER, required=False)
@since_option
@until_option
@let_in_option
@click.option(
    "--outcome",
    "outcomes",
    type=click.Choice(_OUTCOMES),
    multiple=True,
    metavar="OUTCOME",
    help=f"Only this outcome. Can be repeated. One of {', '.join(_OUTCOMES)}.",
)
@service_option
@click.option(
    "--session",
    type=SESSION_ID,
    metavar="ID",
    help="Only the kept session whose id begins with ID: its login, later logins without approval, its events.",
)
@login_option
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=1),
    metavar="NUMBER",
    help=f"Show the last NUMBER logins.  [default: {_LAST}; all with --since, --session or --login;"
    f" {_FOLLOWED} with --follow]",
)
@click.option("-f", "--follow", is_flag=True, help="Show new logins as they happen, until Ctrl-C.")
@click.option(
    "--unverified",
    is_flag=True,
    help="Also show records that an ordinary user could have written; see above.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per login, one per line.")
@click.pass_context
def command(
    ctx: click.Context,
    user: str | None,
    since: datetime | None,
    until: datetime | None,
    let_in: bool,
    outcomes: tuple[str, ...],
    services: tuple[str, ...],
    session: str | None,
    login: str | None,
    lines: int | None,
    follow: bool,
    unverified: bool,
    as_json: bool,
) -> None:
    """Show the login results of USER, or of all users: when, from where, and how long the login took. Without
    --outcome, the log also has the events of kept sessions (opened, ended, away, back) and the acts of administrators
    (such as throttle clear or session end).

    In the table, USER is the name that PAM got: in sudo usually the caller, in su the target. CALLER is the user who
    ran sudo or su. APPROVER is the user whose phone was asked or whose recovery code was used. Where a second person
    must approve, REASON begins with the person who logs in, if none of these columns names this person. With USER on
    the command line, the table has the logins where any of these is USER. For an act of an administrator, CALLER is the
    administrator, FROM is the host from which the administrator logged in, and USER is the user concerned.

    In sudo, su and doas, REASON ends with the command that was called and its folder.

    TOOK is the time from the request to IAMPASS until the decision. Times are in the time zone of this machine, unless
    TZ is set; with --json they have its offset. Empty columns are omitted, except with --follow.

    Any user can write to the journal. The log shows only records that root or the user _iampass wrote, according to
    journald. If the module gave no result, the PAM library in the application writes a record that says only that a
    login was denied. In sudo and su, this record can have the user id of the caller, who could have forged it. With
    --unverified, the log also shows these records, marked.

    The exit status is 0, 1 if the journal cannot be read, and 130 when --follow is stopped.
    """
    names = frozenset() if user is None else frozenset({user, account(user) or user})
    try:
        sets = names, frozenset(services), frozenset(outcomes)
        wanted = Filter(
            *sets, since, until, session=session or "", login=login or "", let_in=let_in, events=True
        )
        log = AuditLog(wanted, unverified)
    except ImportError as error:
        raise click.ClickException(f"the log needs the Python package {error.name}") from None
    records: Iterable[AuditRecord] = (
        log.follow(lines or _FOLLOWED)
        if follow
        else log.last(lines if lines or since or session or login else _LAST)
    )
    try:
        if as_json:
            for record in records:
                show_json(record.to_json(), indent=None)
        elif follow:
            table(_headings(), map(_row, records), _SIZES)
        elif records:
            table(*_filled([*map(_row, records)]))
        else:
            line("No login.", "" if os.geteuid() == 0 else " Only root can read all records.", err=True)
    except KeyboardInterrupt:  # ends --follow
        ctx.exit(128 + 2)
    hidden = 0 if unverified else log.hidden()
    if hidden:
        line(f"{count(hidden, 'record')} of ordinary users not shown. To see them: --unverified", err=True)


def _headings() -> tuple[str, ...]:
    return (local("WHEN"), "USER", "CALLER", "APPROVER", "SERVICE", "FROM", "OUTCOME", "TOOK", "REASON")


def _filled(rows: Sequence[Row]) -> tuple[Sequence[str], Iterable[Row]]:
    """The headings and the rows without the columns in which no row has anything."""
    used = [any(cell not in ("-", "") for cell in column) for column in zip(*rows)]
    return list(compress(_headings(), used)), [list(compress(row, used)) for row in rows]


def _row(record: AuditRecord) -> Row:
    outcome, style = record.event.replace("_", " "), "cyan"
    if record.event:
        failed = record.result == "failed"
        outcome, style = (f"{outcome}, failed", "red") if failed else (outcome, style)
    else:
        outcome, style = record.outcome, _STYLES.get(record.result, "")
        if len(RESULTS[Outcome(outcome)]) > 1:
            outcome += f", {record.result}"
    person = f"of {record.person}" if record.person else ""
    session = f"session {record.session}" if record.session else ""
    reason = "; ".join(filter(None, (person, record.reason, session, record.command)))
    if not record.verified:
        writer = "an unknown user" if record.uid is None else f"user {user_name(record.uid)}"
        style, reason = "dim", f"unverified, written by {writer}: {reason}"
    return (
        f"{record.time:%Y-%m-%d %H:%M:%S}",
        (record.user or "-", "bold"),
        record.caller or "-",
        record.approver or "-",
        record.service or "-",
        record.rhost or record.tty or "-",
        (outcome, style),
        f"{record.elapsed_ms / 1000:.1f} s" if record.elapsed_ms else "-",
        reason,
    )

"""`pam-iampass log`: what came of logins, from the journal."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from datetime import datetime

import click

from pam_iampass.audit.query import AuditLog, Filter
from pam_iampass.audit.record import AuditRecord
from pam_iampass.cli.columns import Columns, Row, count
from pam_iampass.cli.times import PointInTime
from pam_iampass.cli.user_name import USER, as_nss_has_it
from pam_iampass.outcome import RESULTS, Outcome, Result
from pam_iampass.text import clean

_LAST = 50  # records, where nothing says how many
_FOLLOWED = 10

_HEADINGS = ("WHEN", "USER", "SERVICE", "FROM", "OUTCOME", "TOOK", "REASON")
_WIDTHS = Row(
    ("2026-11-24 17:30:00", "wolfgang", "iampass-sshd", "203.0.113.255", "misconfigured", "59.9 s", "")
)
_STYLES = {Result.SUCCESS.value: "green", Result.IGNORED.value: "yellow", Result.DENIED.value: "red"}

_EPILOG = """\b
Examples:
  pam-iampass log                              the last 50 logins
  pam-iampass log alice --since yesterday
  pam-iampass log --outcome denied --outcome timed_out --since 7d
  pam-iampass log --service iampass-sudo -n 5
  pam-iampass log --follow                     each login as it is decided
  pam-iampass log --json --since today | jq -r 'select(.result == "denied") | .user'
"""


@click.command(epilog=_EPILOG, short_help="Show what came of logins.")
@click.argument("user", type=USER, required=False)
@click.option(
    "--since",
    type=PointInTime(),
    help="Only what happened since then: 30m, 2h, 7d, today, yesterday, 17:30, 2026-11-24, '2026-11-24 17:30'.",
)
@click.option(
    "--outcome",
    "outcomes",
    type=click.Choice([outcome.value for outcome in Outcome]),
    multiple=True,
    metavar="OUTCOME",
    help=f"Only this outcome. May be given more than once. One of {', '.join(outcome.value for outcome in Outcome)}.",
)
@click.option(
    "--service",
    "services",
    multiple=True,
    metavar="SERVICE",
    help="Only this PAM service. May be given more than once.",
)
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=1),
    metavar="NUMBER",
    help=f"How many, the last ones.  [default: {_LAST}; all with --since; {_FOLLOWED} with --follow]",
)
@click.option("-f", "--follow", is_flag=True, help="Show each login as it is decided, until Ctrl-C.")
@click.option(
    "--unverified",
    is_flag=True,
    help="Show also what sudo and su may have left under the id of their caller; see above.",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object a login, one a line.")
@click.pass_context
def command(
    ctx: click.Context,
    user: str | None,
    since: datetime | None,
    outcomes: tuple[str, ...],
    services: tuple[str, ...],
    lines: int | None,
    follow: bool,
    unverified: bool,
    as_json: bool,
) -> None:
    """Show what came of the logins of USER, or of everybody: when, from where, and how long it took.

    TOOK is the time from the request to IAMPASS until the decision.

    Anybody can write into the journal. Shown are only records that, as journald itself notes, root or the
    user iampass wrote. Where the module gave no answer at all, the PAM module leaves a record of its own;
    inside sudo and su, where the log took it in no other way, it may be under the user id of the caller, who
    could have written the same. Such records say that somebody was denied, never that somebody got in;
    --unverified shows them, with a mark.
    """
    names = frozenset() if user is None else frozenset({user, as_nss_has_it(user) or user})
    wanted = Filter(names, frozenset(services), frozenset(outcomes), since)
    try:
        log = AuditLog(wanted, unverified)
    except ImportError as error:
        raise click.ClickException(f"the log needs the Python package {error.name}") from None
    if follow:
        records: Iterable[AuditRecord] = log.follow(lines or _FOLLOWED)
    else:
        records = log.last(lines if lines or since else _LAST)
    try:
        if as_json:
            for record in records:
                click.echo(json.dumps(_as_object(record)))
        else:
            _show(records)
    except KeyboardInterrupt:  # how one leaves --follow
        ctx.exit(128 + 2)
    if not unverified:
        _tell_hidden(log.hidden())


def _show(records: Iterable[AuditRecord]) -> None:
    """The records as they come, or all at once where they are there."""
    known = [_row(record) for record in records] if isinstance(records, list) else []
    if isinstance(records, list) and not known:
        click.echo(
            "No login." + ("" if os.geteuid() == 0 else " You are not root: there may be records."), err=True
        )
        return
    columns = Columns(_HEADINGS, known or [_WIDTHS])
    columns.heading()
    for row in known or map(_row, records):
        columns.row(row)


def _row(record: AuditRecord) -> Row:
    style = _STYLES.get(record.result, "")
    reason = clean(record.reason, 2000)
    if not record.verified:
        style = "dim"
        reason = f"unverified, written by user id {record.uid}: {reason}"
    cells = (
        f"{record.time:%Y-%m-%d %H:%M:%S}",
        clean(record.user) or "-",
        clean(record.service) or "-",
        clean(record.rhost) or "-",
        _outcome(record),
        f"{record.elapsed_ms / 1000:.1f} s" if record.elapsed_ms else "-",
        reason,
    )
    return Row(cells, ("", "bold", "", "", style, "", ""))


def _outcome(record: AuditRecord) -> str:
    """The outcome; with the result, where it can have more than one."""
    if len(RESULTS[Outcome(record.outcome)]) == 1:
        return record.outcome
    return f"{record.outcome}, {record.result}"


def _tell_hidden(number: int) -> None:
    if number:
        what = count(number, "record", "records")
        click.echo(f"{what} under the id of an ordinary user not shown; --unverified shows them.", err=True)


def _as_object(record: AuditRecord) -> dict[str, object]:
    return {
        "time": record.time.isoformat(),
        "user": record.user,
        "service": record.service,
        "rhost": record.rhost,
        "outcome": record.outcome,
        "result": record.result,
        "elapsed_ms": record.elapsed_ms,
        "reason": record.reason,
        "uid": record.uid,
        "verified": record.verified,
    }

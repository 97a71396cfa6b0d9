"""`pam-iampass doctor`: finds out why logins fail, or would."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import click

from pam_iampass.cli.columns import count
from pam_iampass.cli.user_name import USER
from pam_iampass.config.settings import DEFAULT_PATH
from pam_iampass.doctor.finding import Finding
from pam_iampass.doctor.report import ADDRESS, Doctor, DoctorReport, Options
from pam_iampass.errors import Severity
from pam_iampass.text import clean

if TYPE_CHECKING:
    from rich.console import Console

_ERRORS, _ONLY_WARNINGS = 1, 3
_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow", Severity.NOTE: "cyan"}
_INDENT = 9

_EPILOG = """\b
Examples:
  pam-iampass doctor                     everything, worst first
  pam-iampass doctor alice               why can alice not log in?
  pam-iampass doctor alice --from 192.0.2.7
  pam-iampass doctor --offline           without a call to IAMPASS
  pam-iampass doctor --json | jq -r '.findings[] | select(.severity == "error") | .evidence'
"""


@click.command(epilog=_EPILOG, short_help="Find out why logins fail, or would.")
@click.argument("user", type=USER, required=False)
@click.option(
    "--config",
    type=click.Path(path_type=Path, readable=False),
    default=DEFAULT_PATH,
    show_default=True,
    help="The settings to read; the table of users is the one that they name.",
)
@click.option("--offline", is_flag=True, help="Do not call IAMPASS.")
@click.option(
    "--from",
    "address",
    metavar="ADDRESS",
    default=ADDRESS,
    show_default=True,
    help="Where an ssh login would come from, for sshd's Match blocks.",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object instead of text.")
@click.pass_context
def command(
    ctx: click.Context, user: str | None, config: Path, offline: bool, address: str, as_json: bool
) -> None:
    """Look at everything that a login depends on, and say what is wrong with it.

    That is the configuration and its files, the agent, the users and their phones, IAMPASS and the clock, every PAM
    stack that names us (played through with right and wrong passwords), sshd, sudo, and whether somebody would be
    locked out. With USER it is about that one. Nothing is changed, and no phone rings. Run it as root.

    Each finding has one line of evidence and one line of what to do; docs/doctor.md explains them all. The exit status
    is 1 where there is an error, 3 where there are only warnings, and 0 otherwise.
    """
    if not _is_address(address):
        message = f"{address!r} is no IP address"
        raise click.BadParameter(message, param_hint="--from")
    with _progress(as_json) as progress:
        result = Doctor(Options(config.absolute(), user, offline, address), progress).report()
    if as_json:
        click.echo(json.dumps(_as_object(result), indent=2))
    elif sys.stdout.isatty():
        _show(result)
    else:
        click.echo("\n".join(_plain(result)))
    ctx.exit(_status(result))


def _is_address(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _count(result: DoctorReport, severity: Severity) -> int:
    return sum(finding.severity is severity for finding in result.findings)


def _status(result: DoctorReport) -> int:
    if _count(result, Severity.ERROR):
        return _ERRORS
    return _ONLY_WARNINGS if _count(result, Severity.WARNING) else 0


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[str], None]]:
    """What is told what comes next: a line that goes away again, where standard error is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda what: None
        return
    erase = "\r\x1b[K"

    def show(what: str) -> None:
        # No thread turns a wheel here: parts of the work change this process's user for a moment.
        width = shutil.get_terminal_size().columns - 2
        sys.stderr.write(f"{erase}{clean(what, max(width, 10))}…")
        sys.stderr.flush()

    try:
        yield show
    finally:
        sys.stderr.write(erase)
        sys.stderr.flush()


def _plain(result: DoctorReport) -> Iterator[str]:
    """The report without a terminal: nothing is wrapped."""
    for finding in result.findings:
        yield f"{finding.severity.value}: {finding.subject}: {finding.title} [{finding.kind.id}]"
        yield f"    {finding.evidence}"
        yield f"    do: {finding.remedy}"
    yield from _ending(result)


def _ending(result: DoctorReport) -> Iterator[str]:
    if result.checked:
        yield f"Looked at {', '.join(result.checked)}."
    for unseen in result.not_checked:
        yield f"Not looked at: {clean(unseen, 500)}."
    yield _verdict(result)


def _verdict(result: DoctorReport) -> str:
    errors, warnings = _count(result, Severity.ERROR), _count(result, Severity.WARNING)
    if errors:
        return f"{count(errors, 'error')}, {count(warnings, 'warning')}."
    if warnings:
        return f"No error, {count(warnings, 'warning')}."
    return "All is well." if not result.not_checked else "Nothing wrong was found."


def _show(result: DoctorReport) -> None:
    """The report on a terminal. Text, not markup: a file's words must not style themselves."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False)
    for finding in result.findings:
        _show_one(console, finding)
    *ending, verdict = _ending(result)
    for line in ending:
        console.print(Text(line, style="yellow" if line.startswith("Not") else "dim"))
    status = _status(result)
    style = {0: "bold green", _ONLY_WARNINGS: "bold yellow"}.get(status, "bold red")
    console.print(Text(verdict, style=style))


def _show_one(console: Console, finding: Finding) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    head = Table.grid(padding=(0, 1, 0, 0))
    head.add_column(width=_INDENT - 1)
    head.add_column()
    style = _STYLES[finding.severity]
    title = Text.assemble(
        (f"{finding.subject}: ", "bold"), (finding.title, "bold"), (f"  {finding.kind.id}", "dim")
    )
    head.add_row(Text(finding.severity.value, style=style), title)
    console.print(head)
    console.print(Padding(Text(finding.evidence), (0, 0, 0, _INDENT)))
    console.print(Padding(Text(f"→ {finding.remedy}", style="green"), (0, 0, 1, _INDENT)))


def _as_object(result: DoctorReport) -> dict[str, Any]:
    return {
        "ok": not _count(result, Severity.ERROR),
        "errors": _count(result, Severity.ERROR),
        "warnings": _count(result, Severity.WARNING),
        "findings": [
            {
                "id": finding.kind.id,
                "severity": finding.severity.value,
                "subject": finding.subject,
                "title": finding.title,
                "evidence": finding.evidence,
                "remedy": finding.remedy,
            }
            for finding in result.findings
        ],
        "looked_at": list(result.checked),
        "not_looked_at": [clean(unseen, 500) for unseen in result.not_checked],
    }

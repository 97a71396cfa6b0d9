"""`pam-iampass check`: says what is wrong with the configuration."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pam_iampass.config.settings import DEFAULT_PATH
from pam_iampass.doctor.config_check import ConfigReport, check_config
from pam_iampass.errors import Problem, Severity

if TYPE_CHECKING:
    pass

_EPILOG = """\b
Examples:
  pam-iampass check
  pam-iampass check --config /etc/iampass/new.yaml && mv /etc/iampass/new.yaml /etc/iampass/iampass.yaml
  pam-iampass check --json | jq -r '.problems[].what'
"""


@click.command(epilog=_EPILOG, short_help="Say what is wrong with the configuration.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=DEFAULT_PATH,
    show_default=True,
    help="The settings to read; the table of users is the one that they name.",
)
@click.option("--json", "as_json", is_flag=True, help="Write one JSON object instead of text.")
@click.pass_context
def command(ctx: click.Context, config: Path, as_json: bool) -> None:
    """Read settings, secret and table of users as the module would, and say everything that is wrong.

    Each problem is a line `file:line: key: what`, and below it what to do. Nothing is changed, and nobody is
    called. The exit status is 0 when there is no error (warnings do not count), and 1 otherwise.
    """
    report = check_config(config.absolute())
    if as_json:
        click.echo(json.dumps(_as_object(report), indent=2))
    elif sys.stdout.isatty():
        _show(report)
    else:
        click.echo("\n".join(line for line, _ in _lines(report)))
    ctx.exit(0 if report.ok else 1)


def _lines(report: ConfigReport) -> list[tuple[str, str]]:
    """The report, line by line, each with the style that a terminal shows it in."""
    lines = []
    for problem in report.problems:
        style = "bold red" if problem.severity is Severity.ERROR else "yellow"
        lines += [(str(problem), style), (f"    {problem.remedy}", "")]
    lines += [(line, "") for line in _what_was_read(report)]
    lines.append((_verdict(report), "bold green" if report.ok else "bold red"))
    return lines


def _what_was_read(report: ConfigReport) -> list[str]:
    files = [str(file) for file in (*report.settings_files, *report.table_files)]
    if len(files) > 6:
        files[5:] = [f"{len(files) - 5:,} more files"]
    return [f"Read {', '.join(files)}.", f"The table lists {_count(report.users, 'user')}."]


def _verdict(report: ConfigReport) -> str:
    warnings = report.count(Severity.WARNING)
    if not report.ok:
        errors = _count(report.count(Severity.ERROR), "error")
        return f"{errors}, {_count(warnings, 'warning')}: logins are denied until the errors are mended."
    return f"No error, {_count(warnings, 'warning')}." if warnings else "All is well."


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def _show(report: ConfigReport) -> None:
    """The report on a terminal. Text, not markup: a file's words must not style themselves."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for line, style in _lines(report):
        console.print(Text(line, style=style), soft_wrap=True)


def _as_object(report: ConfigReport) -> dict[str, object]:
    return {
        "ok": report.ok,
        "files": [str(file) for file in (*report.settings_files, *report.table_files)],
        "users": report.users,
        "problems": [_problem_as_object(problem) for problem in report.problems],
    }


def _problem_as_object(problem: Problem) -> dict[str, object]:
    return {
        "severity": problem.severity.value,
        "file": str(problem.file),
        "line": problem.line,
        "key": problem.key,
        "what": problem.what,
        "remedy": problem.remedy,
    }

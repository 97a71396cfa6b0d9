"""`pam-iampass check`: checks the configuration."""

from __future__ import annotations

from pathlib import Path

import click

from pam_iampass.check import held_up
from pam_iampass.check.configuration import ConfigReport, check_config
from pam_iampass.check.shut_out import GIVE_TOKENS, SHUT_OUT, listed
from pam_iampass.check.user_status import user_status
from pam_iampass.cli.output import STYLES, count, finding, line, show_json
from pam_iampass.cli.parameters import config_option, json_option
from pam_iampass.cli.user import summary
from pam_iampass.errors import Problem, Severity

_EPILOG = """\b
Examples:
  pam-iampass check
  pam-iampass check --config /etc/iampass/new.yaml && mv /etc/iampass/new.yaml /etc/iampass/iampass.yaml
  pam-iampass check --json | jq -r '.problems[].what'
"""


@click.command(epilog=_EPILOG)
@config_option
@json_option
@click.pass_context
def command(ctx: click.Context, config: Path, as_json: bool) -> None:
    """Check settings, secret and user table, and report every problem.

    The files are read as the module would read them. check also reports lines in PAM files, and settings of sshd or
    sudo, that keep a service with these settings from asking the phone. Each problem is a line
    `file:line: key: what`, followed by its evidence, if there is any, and its remedy. If there is no error, a line says
    how many users are asked, exempt and denied; `pam-iampass user list` names them, with the reasons. If wrong settings
    have denied logins within the last hour, check also names the people who still have to wait. If there are errors,
    the last line names the PAM services and the users whose logins are denied because of them. check also names the
    accounts that can log in to a shell today, and cannot once sshd or another service asks the phone. Nothing is
    changed, and IAMPASS is not called.

    The exit status is 0 if there is no error (warnings do not count), otherwise 1, also if a file could not be read.
    """
    report = check_config(config, services=True)
    if as_json:
        show_json(_as_object(report))
    else:
        _show(report, config)
    ctx.exit(0 if report.ok else 1)


def _show(report: ConfigReport, config: Path) -> None:
    for problem in report.problems:
        details = filter(None, (problem.evidence, problem.remedy))
        finding([(str(problem), STYLES[problem.severity.value])], *details)
    files = [str(file) for file in (*report.settings_files, *report.table_files)]
    if len(files) > 6:
        files[5:] = [f"{len(files) - 5:,} more files"]
    line(f"Read {', '.join(files)}.")
    if report.gateways:
        line(f"This host has joined a gateway, which knows people by name: {', '.join(report.gateways)}.")
    else:
        line(f"The table lists {count(report.users, 'user')}.")
    if report.ok:
        line(f"With the accounts of this machine, {summary(user_status(config).users)}")
        for found in held_up.after_denials(config, held_up.SETTINGS):
            finding([(found.what, STYLES[found.severity.value])], found.remedy)
    for service, shut_out in report.shut_out.items():
        if shut_out:
            finding([f"These {SHUT_OUT} {service} asks the phone: {listed(shut_out)}."], GIVE_TOKENS)
    errors, warnings = report.count(Severity.ERROR), count(report.count(Severity.WARNING), "warning")
    if errors:
        denied = f": {report.denied}" if report.denied else ""
        verdict = f"{count(errors, 'error')}, {warnings}{denied}."
    else:
        verdict = f"No error, {warnings}." if report.problems else "All is well."
    line((verdict, "bold green" if report.ok else "bold red"))


def _as_object(report: ConfigReport) -> dict[str, object]:
    return {
        "ok": report.ok,
        "files": [str(file) for file in (*report.settings_files, *report.table_files)],
        "users": report.users,
        "denied": report.denied or None,
        "shut_out": report.shut_out,
        "problems": [problem_object(problem) for problem in report.problems],
    }


def problem_object(problem: Problem) -> dict[str, object]:
    """A problem of a file, for programs."""
    return {
        "id": problem.kind or None,
        "file": str(problem.file) if problem.file else None,
        "line": problem.line,
        "key": problem.key,
        "what": problem.what,
        "evidence": problem.evidence or None,
        "remedy": problem.remedy,
        "severity": problem.severity.value,
    }

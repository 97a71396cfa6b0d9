"""`pam-iampass check`: finds out why logins fail, and what is wrong with the settings."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from pam_iampass.check.catalogue import KINDS, WAY_IN_KINDS, WAYS_IN
from pam_iampass.check.configuration import accounts_shut_out, check_config
from pam_iampass.check.machine import ConfigReport, Machine
from pam_iampass.check.report import CheckReport, examine
from pam_iampass.check.shut_out import GIVE_TOKENS, SHUT_OUT, listed
from pam_iampass.check.sshd_match import ADDRESS
from pam_iampass.check.user_status import user_status
from pam_iampass.cli.output import STYLES, Part, count, finding, line, progress, show_json, verdict
from pam_iampass.cli.parameters import USER, Parsed, config_option, json_option
from pam_iampass.cli.user import summary
from pam_iampass.errors import Problem, Severity, by_severity
from pam_iampass.system import paths
from pam_iampass.text import clean

_EPILOG = """\b
Examples:
  pam-iampass check                     everything, the worst first
  pam-iampass check alice               why can alice not log in?
  pam-iampass check alice --from 192.0.2.7
  pam-iampass check --offline           without calling IAMPASS
  pam-iampass check --monitoring        as a plugin of Nagios, Icinga, Checkmk and others
  pam-iampass check --json | jq -r '.findings[] | select(.severity == "error") | .evidence'
  pam-iampass check --settings          only the settings and the user table
  pam-iampass check --config /etc/iampass/new.yaml && mv /etc/iampass/new.yaml /etc/iampass/iampass.yaml
"""
FILES_ONLY = "with --settings or --config, check looks at files only, and accepts no option but --json"

settings_option = click.option(
    "--settings", "settings_only", is_flag=True, help="Check only the settings, as with --config."
)
offline_option = click.option("--offline", is_flag=True, help="Do not call IAMPASS.")
monitoring_option = click.option(
    "--monitoring", is_flag=True, help="Print as a monitoring plugin: Nagios's four states and figures."
)


def _address(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("is not an IP address") from None
    return text


@click.command(epilog=_EPILOG)
@click.argument("user", type=USER, required=False)
@settings_option
@config_option
@offline_option
@click.option(
    "--from",
    "address",
    type=Parsed("address", _address),
    default=ADDRESS,
    show_default=True,
    help="The address that an ssh login comes from, for the Match blocks of sshd.",
)
@monitoring_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    user: str | None,
    settings_only: bool,
    config: Path,
    offline: bool,
    address: str,
    monitoring: bool,
    as_json: bool,
) -> None:
    """Check everything that a login depends on, and report what is wrong.

    check looks at settings and files, the agent, users and phones, IAMPASS, the clock, sshd, sudo, and every PAM stack
    with this module (simulated with correct and wrong passwords). It says whether a user would be locked out. It lists
    ways to log in or to become root that do not ask the phone. With USER, the report is only about this user. Nothing
    is changed, and no phone rings. Run it as root.

    Each finding has one line of evidence and one line of advice. reference/findings.md explains all findings; it is in
    /usr/share/doc/libpam-iampass/docs (Debian) or /usr/share/doc/pam-iampass/docs. The last lines say how many users
    need the phone, are exempt or are denied (`pam-iampass user list` names them). They name accounts that can no longer
    log in to a shell once a service asks the phone, and logins that are denied because of errors in the settings.

    The exit status is 1 if there is an error, 3 if there are only warnings, and 0 otherwise.

    With --monitoring, the first line has the state and performance data, and each further line is a finding. The exit
    status is 0 (OK), 1 (WARNING), 2 (CRITICAL: an error) or 3 (UNKNOWN: something could not be checked). Findings that
    are normal during a rollout, such as users without a phone, are not warnings.

    With --settings, or with --config and a new settings file, check looks only at settings, secret, user table, PAM
    files, sudoers and the settings of sshd. Agent and IAMPASS need not run. Each problem is a line `file:line: key:
    what`, followed by its remedy. The exit status is 0 if there is no error, also with warnings, otherwise 1.
    """
    if is_of_files(ctx, settings_only, user, offline, monitoring, address != ADDRESS):
        ctx.exit(_check_settings(config, as_json=as_json))
    if monitoring and (user is not None or as_json):
        raise click.UsageError(
            "--monitoring checks the whole machine and has its own format: omit USER and --json"
        )
    began = time.monotonic()
    with progress(quiet=as_json or monitoring) as show:
        report = examine(Machine(config, lambda what: show(f"{what}…"), user, offline, address))
    if monitoring:
        switched_on = Path(paths.SETUP_STATE, "manifest.json").exists()
        rollout = [kind.id for kind in KINDS.values() if kind.rollout]
        rollout = [kind for kind in rollout if not (kind == "nothing-asks" and switched_on)]
        ctx.exit(monitored(report, time.monotonic() - began, rollout))
    settings = SettingsSummary(config, report.settings) if report.settings and user is None else None
    ctx.exit(shown(report, as_json=as_json, settings=settings))


def is_of_files(ctx: click.Context, settings_only: bool, *others: object) -> bool:
    """Whether only the settings are to be checked; `others` are options that this excludes. Raises UsageError."""
    if not settings_only and ctx.get_parameter_source("config") is not ParameterSource.COMMANDLINE:
        return False
    if any(others):
        raise click.UsageError(FILES_ONLY)
    return True


class SettingsSummary:
    """A summary of the settings of this host, also of settings that are wrong."""

    def __init__(self, config: Path, report: ConfigReport) -> None:
        self.report = report
        self._config = config
        self._shut_out = accounts_shut_out(config)

    def show(self) -> None:
        """Print whom the settings concern."""
        if self.report.gateways:
            gateways = ", ".join(self.report.gateways)
            line(f"This host has joined a gateway, which knows people by name: {gateways}.")
        else:
            line(f"The table lists {count(self.report.users, 'user')}.")
        if self.report.ok:
            line(f"With the accounts of this machine, {summary(user_status(self._config).users)}")
        for service, shut_out in self._shut_out.items():
            if shut_out:
                finding([f"These {SHUT_OUT} {service} asks the phone: {listed(shut_out)}."], GIVE_TOKENS)

    def for_programs(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "files": _files(self.report),
            "users": self.report.users,
            "denied": self.report.denied or None,
            "shut_out": self._shut_out,
        }


def _check_settings(config: Path, *, as_json: bool) -> int:
    """Check the settings only; returns the exit status."""
    report = check_config(config, services=True)
    settings = SettingsSummary(config, report)
    if as_json:
        show_problems(report.problems, settings.for_programs())
        return 0 if report.ok else 1
    for problem in report.problems:
        details = filter(None, (problem.evidence, problem.remedy))
        finding([(str(problem), STYLES[problem.severity.value])], *details)
    files = _files(report)
    if len(files) > 6:
        files[5:] = [f"{len(files) - 5:,} more files"]
    line(f"Read {', '.join(files)}.")
    settings.show()
    verdict(*by_severity(report.problems), denied=report.denied)
    return 0 if report.ok else 1


def _files(report: ConfigReport) -> list[str]:
    return [str(file) for file in (*report.settings_files, *report.table_files)]


def show_problems(problems: Sequence[Problem], more: Mapping[str, object]) -> None:
    """Print problems of settings, and `more`, as JSON."""
    errors, warnings = by_severity(problems)
    found = [_problem_object(problem) for problem in problems]
    show_json({"ok": not errors, "errors": errors, "warnings": warnings, **more, "problems": found})


def _problem_object(problem: Problem) -> dict[str, object]:
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


def shown(report: CheckReport, *, as_json: bool, settings: SettingsSummary | None = None) -> int:
    """Print a report, and `settings`; returns the exit status."""
    errors, warnings = by_severity(report.findings)
    if as_json:
        show_json({**_as_object(report, errors, warnings), **(settings.for_programs() if settings else {})})
    else:
        _show(report)
        if settings:
            settings.show()
        denied = settings.report.denied if settings else ""
        verdict(errors, warnings, not_checked=report.not_checked, denied=denied)
    return 1 if errors else 3 if warnings else 0


def _show(report: CheckReport) -> None:
    for found in report.findings:
        if found.kind not in WAY_IN_KINDS:
            severity = found.severity.value
            title = (f"{found.key}: {found.what}", "bold")
            head: list[Part] = [(severity, STYLES[severity]), ": ", title, (f" [{found.kind}]", "dim")]
            finding(head, found.evidence, f"do: {found.remedy}")
    ways_in = [found for found in report.findings if found.kind in WAY_IN_KINDS]
    if ways_in:
        line((f"{WAYS_IN}:", "bold"))
    for found in ways_in:
        line(f"    {found.what}. {found.remedy}.", (f" [{found.kind}]", "dim"))
    if report.checked:
        line((f"Checked: {', '.join(report.checked)}.", "dim"))


def monitored(report: CheckReport, seconds: float, rollout_kinds: Collection[str]) -> int:
    """Print what a monitoring plugin prints (Monitoring Plugins Development Guidelines); returns the exit status.

    `rollout_kinds` are findings that do not count as warnings.
    """
    found = [one for one in report.findings if one.kind != "lockout-you"]  # which is about the caller
    rollout = [one for one in found if one.severity is Severity.WARNING and one.kind in rollout_kinds]
    errors = [one for one in found if one.severity is Severity.ERROR]
    warnings = [one for one in found if one.severity is Severity.WARNING and one not in rollout]
    status = 2 if errors else 1 if warnings else 3 if report.failed else 0
    told = [f"{one.severity.value}: {one.key}: {one.what} [{one.kind}]" for one in (*errors, *warnings)]
    told += [f"not checked: {what}" for what in report.not_checked] if report.failed else []
    if os.geteuid() != 0:
        status, told = 3, ["run it as root", *told]
    summary = told[0] if told else "no error and no warning"
    more = f" (and {len(told) - 1} more)" if len(told) > 1 else ""
    figures = [
        f"errors={len(errors)};;0;0",
        f"warnings={len(warnings)};0;;0",
        f"rollout={len(rollout)};;;0",
        f"unchecked={len(report.failed)};;;0",
        f"time={seconds:.2f}s;;;0",
    ]
    state = ("OK", "WARNING", "CRITICAL", "UNKNOWN")[status]
    line(f"IAMPASS {state}: {_plain(summary)}{more} | {' '.join(figures)}")
    for what in told[1:]:
        line(_plain(what))
    return status


def _plain(text: str) -> str:
    """A text of plugin output, in which `|` begins the performance data."""
    return clean(text, 500).replace("|", "/")


def _as_object(report: CheckReport, errors: int, warnings: int) -> dict[str, Any]:
    return {
        "ok": not errors,
        "errors": errors,
        "warnings": warnings,
        "findings": [
            {
                "id": found.kind,
                "severity": found.severity.value,
                "subject": found.key,
                "title": found.what,
                "evidence": found.evidence,
                "remedy": found.remedy,
            }
            for found in report.findings
        ],
        "looked_at": list(report.checked),
        "not_looked_at": [clean(missing, 500) for missing in report.not_checked],
    }

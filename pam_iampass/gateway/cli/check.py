"""`pam-iampass-gateway check`: finds out why hosts cannot ask, and what is wrong with the settings."""

from __future__ import annotations

import time
from pathlib import Path

import click

from pam_iampass.check.configuration import second_secret
from pam_iampass.cli.check import (
    is_of_files,
    monitored,
    monitoring_option,
    offline_option,
    settings_option,
    show_problems,
    shown,
)
from pam_iampass.cli.output import STYLES, finding, progress, verdict
from pam_iampass.cli.parameters import json_option
from pam_iampass.errors import by_severity
from pam_iampass.gateway.check.examination import check_settings, examine
from pam_iampass.gateway.cli import config_option, in_loop

_EPILOG = """\b
Examples:
  pam-iampass-gateway check                     everything, the worst first
  pam-iampass-gateway check --offline           without calling IAMPASS
  pam-iampass-gateway check --monitoring        as a plugin of Nagios, Icinga, Checkmk and others
  pam-iampass-gateway check --settings          only the settings and their files
"""


@click.command("check", epilog=_EPILOG)
@settings_option
@config_option
@offline_option
@monitoring_option
@json_option
@click.pass_context
def command(
    ctx: click.Context, settings_only: bool, config: Path, offline: bool, monitoring: bool, as_json: bool
) -> None:
    """Check everything that the gateway depends on, and report what is wrong.

    check looks at the settings, the certificate, the service, the last backup, the portal, IAMPASS, and the hosts. It
    checks the database: tables, clock, disk space, an old copy, and rows that no gateway wrote. It compares the groups
    in the settings with those of hosts and people. Nothing is changed, and no phone rings. Run it as root on the
    gateway. Each finding has one line of evidence and one line of advice.

    The exit status is 1 if there is an error, 3 if there are only warnings, and 0 otherwise. With --monitoring it is 0
    (OK), 1 (WARNING), 2 (CRITICAL: an error) or 3 (UNKNOWN: something could not be checked).

    With --settings, or with --config and another settings file, check looks only at the settings and the files that
    they name. As root, it also checks that the service's account can read these files. Service, database and IAMPASS
    need not run. Each problem is a line `file:line: key: what`, followed by its remedy. The exit status is 0 if there
    is no error, also with warnings, otherwise 1.
    """
    if is_of_files(ctx, settings_only, offline, monitoring):
        ctx.exit(_check_settings(config, as_json=as_json))
    if monitoring and as_json:
        raise click.UsageError("--monitoring has its own format: omit --json")
    began = time.monotonic()
    with progress(quiet=as_json or monitoring) as show:
        report = examine(config, lambda what: show(f"{what}…"), in_loop, offline=offline)
    ctx.exit(
        monitored(report, time.monotonic() - began, ()) if monitoring else shown(report, as_json=as_json)
    )


def _check_settings(config: Path, *, as_json: bool) -> int:
    """Check the settings only; returns the exit status."""
    settings, problems = check_settings(config)
    if settings is not None and settings.previous_secret:
        file = settings.files["application_secret_file"]
        problems = (*problems, second_secret(config, file, "pam-iampass-gateway"))
    errors, warnings = by_severity(problems)
    if as_json:
        show_problems(problems, {"file": str(config)})
        return 1 if errors else 0
    for problem in problems:
        finding([(str(problem), STYLES[problem.severity.value])], problem.remedy)
    verdict(errors, warnings)
    return 1 if errors else 0

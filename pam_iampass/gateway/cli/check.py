"""`pam-iampass-gateway check`: every problem of the settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from pam_iampass.check.configuration import second_secret
from pam_iampass.cli.check import problem_object
from pam_iampass.cli.output import STYLES, finding, show_json, verdict
from pam_iampass.cli.parameters import json_option
from pam_iampass.errors import Problem, Severity
from pam_iampass.gateway.check.examination import check_settings, groups
from pam_iampass.gateway.cli import config_option, with_gateway


@click.command("check")
@config_option
@json_option
@click.pass_context
def command(ctx: click.Context, config: Path, as_json: bool) -> None:
    """Check the settings and the files that they name, and report every problem.

    Each problem is a line `file:line: key: what`, followed by its remedy. As root it also looks whether the service's
    account can read the files, and in the database whether the groups in the settings are those of hosts and people.
    Nothing is changed, and IAMPASS is not called: `pam-iampass-gateway doctor` does.

    The exit status is 0 if there is no error (warnings do not count), otherwise 1.
    """
    settings, problems = check_settings(config)
    not_checked = []
    if settings is not None:
        try:
            of_groups = with_gateway(config, groups)
        except click.ClickException as error:
            not_checked = [f"the groups of hosts and people: {error.message}"]
        else:
            problems = (*problems, *(_warning(config, found) for found in of_groups))
        if settings.previous_secret:
            file = settings.files["application_secret_file"]
            problems = (*problems, second_secret(config, file, "pam-iampass-gateway"))
    errors, warnings = (
        sum(problem.severity is severity for problem in problems)
        for severity in (Severity.ERROR, Severity.WARNING)
    )
    if as_json:
        shown = [problem_object(problem) for problem in problems]
        show_json({"ok": not errors, "file": str(config), "problems": shown, "not_looked_at": not_checked})
    else:
        for problem in problems:
            finding([(str(problem), STYLES[problem.severity.value])], problem.remedy)
        verdict(errors, warnings, not_checked=not_checked)
    ctx.exit(1 if errors else 0)


def _warning(config: Path, found: Problem) -> Problem:
    """A finding of `doctor` about groups, as a problem of the settings, which are valid."""
    return replace(found, file=config, severity=Severity.WARNING)

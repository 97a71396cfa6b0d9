"""`pam-iampass-gateway check`: every problem of the settings."""

from __future__ import annotations

from pathlib import Path

import click

from pam_iampass.cli.check import problem_object
from pam_iampass.cli.output import STYLES, count, finding, line, show_json
from pam_iampass.cli.parameters import json_option
from pam_iampass.errors import Severity
from pam_iampass.gateway import settings as gateway_settings
from pam_iampass.gateway.cli import config_option


@click.command("check")
@config_option
@json_option
@click.pass_context
def command(ctx: click.Context, config: Path, as_json: bool) -> None:
    """Check the settings and the files that they name, and report every problem.

    Each problem is a line `file:line: key: what`, followed by its remedy. Nothing is changed, and neither the database
    nor IAMPASS is called: `pam-iampass-gateway doctor` does.

    The exit status is 0 if there is no error (warnings do not count), otherwise 1.
    """
    settings, problems = gateway_settings.check(config)
    if as_json:
        shown = [problem_object(problem) for problem in problems]
        show_json({"ok": settings is not None, "file": str(config), "problems": shown})
    else:
        for problem in problems:
            finding([(str(problem), STYLES[problem.severity.value])], problem.remedy)
        errors = sum(problem.severity is Severity.ERROR for problem in problems)
        told = f"{count(errors, 'error')}." if errors else "All is well." if not problems else "No error."
        line((told, "bold red" if errors else "bold green"))
    ctx.exit(0 if settings is not None else 1)

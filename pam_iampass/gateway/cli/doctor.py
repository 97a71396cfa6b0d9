"""`pam-iampass-gateway doctor`: finds out why hosts cannot ask."""

from __future__ import annotations

import time
from pathlib import Path

import click

from pam_iampass.cli.doctor import monitored, shown
from pam_iampass.cli.output import progress
from pam_iampass.cli.parameters import json_option
from pam_iampass.gateway.check.examination import examine
from pam_iampass.gateway.cli import config_option, in_loop

_EPILOG = """\b
Examples:
  pam-iampass-gateway doctor                     everything, the worst first
  pam-iampass-gateway doctor --offline           without calling IAMPASS
  pam-iampass-gateway doctor --monitoring        as a plugin of Nagios, Icinga, Checkmk and others
"""


@click.command("doctor", epilog=_EPILOG)
@config_option
@click.option("--offline", is_flag=True, help="Do not call IAMPASS.")
@click.option(
    "--monitoring", is_flag=True, help="Answer as a monitoring plugin: Nagios's four states and figures."
)
@json_option
@click.pass_context
def command(ctx: click.Context, config: Path, offline: bool, monitoring: bool, as_json: bool) -> None:
    """Check everything that the gateway depends on, and report what is wrong.

    It checks the settings, the certificate, whether the service answers, the database (tables, clock, an old copy, rows
    that no gateway has written, the room on its disk), the last backup, IAMPASS, and the hosts. Nothing is changed, and
    no phone rings. Run it as root on the gateway. Each finding has one line of evidence and one line of advice.

    The exit status is 1 if there is an error, 3 if there are only warnings, and 0 otherwise. With --monitoring it is 0
    (OK), 1 (WARNING), 2 (CRITICAL: an error) or 3 (UNKNOWN: something could not be checked).
    """
    if monitoring and as_json:
        raise click.UsageError("--monitoring has a format of its own")
    began = time.monotonic()
    with progress(quiet=as_json or monitoring) as show:
        report = examine(config, lambda what: show(f"{what}…"), in_loop, offline=offline)
    ctx.exit(
        monitored(report, time.monotonic() - began, ()) if monitoring else shown(report, as_json=as_json)
    )

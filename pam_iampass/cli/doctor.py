"""`pam-iampass doctor`: finds out why logins fail."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import click

from pam_iampass.check.catalogue import KINDS, WAY_IN_KINDS, WAYS_IN
from pam_iampass.check.machine import Machine
from pam_iampass.check.report import CheckReport, examine
from pam_iampass.check.sshd_match import ADDRESS
from pam_iampass.cli.output import STYLES, Part, finding, line, progress, show_json, verdict
from pam_iampass.cli.parameters import USER, Parsed, config_option, json_option
from pam_iampass.errors import Severity
from pam_iampass.system import paths
from pam_iampass.text import clean

_EPILOG = """\b
Examples:
  pam-iampass doctor                     everything, the worst first
  pam-iampass doctor alice               why can alice not log in?
  pam-iampass doctor alice --from 192.0.2.7
  pam-iampass doctor --offline           without calling IAMPASS
  pam-iampass doctor --monitoring        as a plugin of Nagios, Icinga, Checkmk and others
  pam-iampass doctor --json | jq -r '.findings[] | select(.severity == "error") | .evidence'
"""


def _address(text: str) -> str:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("is not an IP address") from None
    return text


@click.command(epilog=_EPILOG)
@click.argument("user", type=USER, required=False)
@config_option
@click.option("--offline", is_flag=True, help="Do not call IAMPASS.")
@click.option(
    "--from",
    "address",
    type=Parsed("address", _address),
    default=ADDRESS,
    show_default=True,
    help="The address that an ssh login comes from, for the Match blocks of sshd.",
)
@click.option(
    "--monitoring", is_flag=True, help="Answer as a monitoring plugin: Nagios's four states and figures."
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    user: str | None,
    config: Path,
    offline: bool,
    address: str,
    monitoring: bool,
    as_json: bool,
) -> None:
    """Check everything that a login depends on, and report what is wrong.

    It checks the configuration and its files, the agent, the users and their phones, IAMPASS and the clock, every PAM
    stack with this module (simulated with correct and wrong passwords), sshd, sudo, and whether a user would be locked
    out. Other ways to log in or to become root that do not ask the phone are listed last. With USER, the report is
    about that user only. Nothing is changed, and no phone rings. Run it as root.

    Each finding has one line of evidence and one line of advice. findings.md, in
    /usr/share/doc/libpam-iampass/docs (Debian) or /usr/share/doc/pam-iampass/docs, explains all findings.

    The exit status is 1 if there is an error, 3 if there are only warnings, and 0 otherwise.

    With --monitoring, the first line has the state and performance data, and each further line is a finding. The exit
    status is 0 (OK), 1 (WARNING), 2 (CRITICAL: an error) or 3 (UNKNOWN: something could not be checked). Findings that
    are normal while users and services are being added one by one, such as users without a phone, do not count as
    warnings.
    """
    if monitoring and (user is not None or as_json):
        raise click.UsageError("--monitoring is about the whole machine, and has a format of its own")
    began = time.monotonic()
    with progress(quiet=as_json or monitoring) as show:
        report = examine(Machine(config, lambda what: show(f"{what}…"), user, offline, address))
    if monitoring:
        switched_on = Path(paths.SETUP_STATE, "manifest.json").exists()
        rollout = [kind.id for kind in KINDS.values() if kind.rollout]
        rollout = [kind for kind in rollout if not (kind == "nothing-asks" and switched_on)]
        ctx.exit(monitored(report, time.monotonic() - began, rollout))
    ctx.exit(shown(report, as_json=as_json))


def shown(report: CheckReport, *, as_json: bool) -> int:
    """Print a report; returns the exit status."""
    errors, warnings = (
        sum(found.severity is severity for found in report.findings)
        for severity in (Severity.ERROR, Severity.WARNING)
    )
    if as_json:
        show_json(_as_object(report, errors, warnings))
    else:
        _show(report, errors, warnings)
    return 1 if errors else 3 if warnings else 0


def _show(report: CheckReport, errors: int, warnings: int) -> None:
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
    verdict(errors, warnings, not_checked=report.not_checked)


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

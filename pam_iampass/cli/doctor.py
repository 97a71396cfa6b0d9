"""`pam-iampass doctor`: finds out why logins fail."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import click

from pam_iampass.cli.output import STYLES, Part, count, finding, line, progress, show_json
from pam_iampass.cli.parameters import USER, Parsed, config_option, json_option
from pam_iampass.doctor.catalogue import WAY_IN_KINDS, WAYS_IN
from pam_iampass.doctor.report import Doctor, DoctorReport, Options
from pam_iampass.doctor.sshd_match import ADDRESS
from pam_iampass.errors import Severity
from pam_iampass.text import clean

_EPILOG = """\b
Examples:
  pam-iampass doctor                     everything, the worst first
  pam-iampass doctor alice               why can alice not log in?
  pam-iampass doctor alice --from 192.0.2.7
  pam-iampass doctor --offline           without calling IAMPASS
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
@json_option
@click.pass_context
def command(
    ctx: click.Context, user: str | None, config: Path, offline: bool, address: str, as_json: bool
) -> None:
    """Check everything that a login depends on, and report what is wrong.

    That is: the configuration and its files, the agent, the users and their phones, IAMPASS and the clock, every PAM
    stack with this module (simulated with correct and wrong passwords), sshd, sudo, and whether a user would be
    locked out. Other ways to log in or to become root that do not ask the phone are listed last. With USER the report
    is about that user only. Nothing is changed, and no phone rings. Run it as root.

    Each finding has one line of evidence and one line of advice. doctor.md in /usr/share/doc/libpam-iampass (Debian) or
    /usr/share/doc/pam-iampass explains all findings.

    The exit status is 1 if there is an error, 3 if there are only warnings, and 0 otherwise.
    """
    with progress(quiet=as_json) as show:
        report = Doctor(Options(config, user, offline, address), lambda what: show(f"{what}…")).report()
    errors, warnings = (
        sum(found.severity is severity for found in report.findings)
        for severity in (Severity.ERROR, Severity.WARNING)
    )
    if as_json:
        show_json(_as_object(report, errors, warnings))
    else:
        _show(report, errors, warnings)
    ctx.exit(1 if errors else 3 if warnings else 0)


def _show(report: DoctorReport, errors: int, warnings: int) -> None:
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
    for missing in report.not_checked:
        line((f"Not checked: {clean(missing, 500)}.", "yellow"))
    if errors:
        line((f"{count(errors, 'error')}, {count(warnings, 'warning')}.", "bold red"))
    elif warnings:
        what = "No error in what was checked" if report.not_checked else "No error"
        line((f"{what}, {count(warnings, 'warning')}.", "bold yellow"))
    else:
        line(
            (
                "No problem was found in what was checked." if report.not_checked else "All is well.",
                "bold green",
            )
        )


def _as_object(report: DoctorReport, errors: int, warnings: int) -> dict[str, Any]:
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

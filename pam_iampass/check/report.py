"""Checks everything that a login depends on. Nothing is changed, and no phone rings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from pam_iampass.check import (
    agent,
    configuration,
    held_up,
    iampass,
    installation,
    pam_files,
    sessions,
    sshd,
    sudo,
    users,
    ways_in,
)
from pam_iampass.check.machine import ConfigReport, Machine
from pam_iampass.errors import Problem, Severity
from pam_iampass.system.programs import CommandUnavailable


@dataclass(frozen=True)
class CheckReport:
    """The findings, the worst first, and what could not be checked."""

    findings: tuple[Problem, ...]
    not_checked: tuple[str, ...]
    checked: tuple[str, ...]
    failed: tuple[str, ...] = ()
    """The subjects whose check failed: it is not known whether they are well."""
    settings: ConfigReport | None = None
    """The settings of a host; None in the report about a gateway, or if they could not be checked."""


def examine(machine: Machine) -> CheckReport:
    """Check one subject after the other. Raises nothing that the machine can cause."""
    found: list[Problem] = []
    checked: list[str] = []
    failed: list[str] = []
    if os.geteuid() != 0:
        machine.not_checked.append("what only root can read: run it as root")
        failed.append("what only root can read")
    for name, findings in _SUBJECTS.items():
        machine.progress(f"checking {name}")
        before = len(machine.not_checked)
        try:
            found += findings(machine)
        except (OSError, CommandUnavailable) as error:
            machine.not_checked.append(f"{name}: {error}")
            failed.append(name)
        if len(machine.not_checked) == before:
            checked.append(name)
    not_checked = tuple(dict.fromkeys(machine.not_checked))
    return CheckReport(tuple(merged(found)), not_checked, tuple(checked), tuple(failed), machine.report)


_SUBJECTS: dict[str, Callable[[Machine], Iterable[Problem]]] = {
    "configuration": configuration.findings,
    "space": lambda machine: installation.space(),
    "files": installation.findings,
    "agent": agent.findings,
    "users": users.findings,
    "service": iampass.findings,
    "limits": held_up.findings,
    "PAM stacks": pam_files.findings,
    "kept sessions": sessions.findings,
    "sshd": sshd.findings,
    "sudo": sudo.findings,
    "other ways in": ways_in.findings,
    "lock-outs": users.lockouts,
}
"""The subjects, in the order of their checks: `users.lockouts` needs to know the phones, `held_up` whether the service
works."""


def merged(findings: Iterable[Problem]) -> list[Problem]:
    """The findings, the worst first. Findings that differ in their subjects only become one."""
    same: dict[Problem, list[str]] = {}
    for found in findings:
        subjects = same.setdefault(replace(found, key=""), [])
        if found.key not in subjects:
            subjects.append(found.key)
    return sorted(
        (replace(found, key=", ".join(subjects)) for found, subjects in same.items()),
        key=lambda found: [*Severity].index(found.severity),
    )

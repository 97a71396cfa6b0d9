"""Finds users who still wait although the cause of their denials is mended: for our limits, or sshd's penalties."""

from __future__ import annotations

import ipaddress
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pam_iampass.audit.query import AuditRecord, NoJournal, records_since
from pam_iampass.check.catalogue import finding
from pam_iampass.check.machine import Machine
from pam_iampass.check.user_status import summarize
from pam_iampass.errors import PamIampassError, Problem
from pam_iampass.login.at_iampass import UNKNOWN
from pam_iampass.login.throttle import HOUR, ip_address
from pam_iampass.outcome import Outcome, Result
from pam_iampass.system import paths, sshd
from pam_iampass.system.programs import CommandUnavailable
from pam_iampass.system.sshd import SshdConfigRejected, SshdSettings
from pam_iampass.text import names

_OUTCOMES = frozenset({Outcome.MISCONFIGURED.value, Outcome.UNAVAILABLE.value})


def findings(machine: Machine) -> Iterator[Problem]:
    """Yields the users who still wait, if the settings are in order and the service answers as it should."""
    if machine.service_works:
        yield from _after_denials(machine.config, machine.named)


def _after_denials(config: Path, user: str | None) -> Iterator[Problem]:
    """Yields the users who still wait after denials within the last hour whose cause is mended.

    If a user is given, only that user is meant. Only root can find out, and only about the usual settings: records do
    not say which settings a login had.
    """
    if os.geteuid() != 0 or str(config) != paths.SETTINGS:
        return
    now = time.time()
    with suppress(NoJournal, ImportError):  # without a journal nothing is known
        found = records_since(now - HOUR, users=filter(None, [user]))
        denied = [record for record in found if record.result == Result.DENIED.value]
        if any(record.outcome in _OUTCOMES or UNKNOWN in record.reason for record in denied):
            if user is None:  # of one user it is told in any case
                yield from _limits(denied, config)
            with suppress(SshdConfigRejected, CommandUnavailable):  # findings of their own
                yield from of_sshd(denied, sshd.settings(), now)


def _limits(denied: Sequence[AuditRecord], config: Path) -> Iterator[Problem]:
    people = sorted({record.approver or record.user for record in denied})
    try:
        waits = summarize(people, config).waits
    except PamIampassError:  # a finding of its own
        return
    if waits:
        seconds, evidence = f"{max(waits.values()):.0f}", "pam-iampass throttle show USER"
        yield finding("limits-go-on", "users", evidence, names=names(sorted(waits)), seconds=seconds)


def of_sshd(denied: Sequence[AuditRecord], settings: SshdSettings, now: float) -> Iterator[Problem]:
    """Whose connections sshd drops because of these denials."""
    refused = penalties(denied, settings, now)
    if refused:
        evidence = f"sshd -T: persourcepenalties {settings.values['persourcepenalties']}"
        seconds = f"{max(refused.values()):.0f}"
        yield finding("penalties-go-on", "sshd", evidence, names=names(sorted(refused)), seconds=seconds)


def penalties(denied: Sequence[AuditRecord], settings: SshdSettings, now: float) -> Mapping[str, float]:
    """The addresses whose connections sshd drops because of these denials, oldest first, and for how many seconds.

    Source: `PerSourcePenalties` in sshd_config(5). Failures of which there is no record can make it longer.
    """
    numbers = dict(
        part.partition(":")[::2] for part in settings.values.get("persourcepenalties", "no").split()
    )
    seconds, least, most = (
        float(numbers.get(name, "0")) if numbers.get(name, "0").isdigit() else 0.0
        for name in ("authfail", "min", "max")
    )
    until: dict[str, float] = defaultdict(float)
    dropped: set[str] = set()
    for record in denied:
        at, address = record.time.timestamp(), str(ip_address(record.rhost) or "")
        if record.service == settings.service and address and not _is_exempt(address, settings):
            left = until[address] - at if until[address] > at else 0.0
            dropped -= {address} if not left else set()
            until[address] = at + min(left + seconds, most)
            dropped |= {address} if left + seconds >= least else set()
    return {address: until[address] - now for address in dropped if until[address] > now}


def _is_exempt(address: str, settings: SshdSettings) -> bool:
    for pattern in settings.values.get("persourcepenaltyexemptlist", "none").split(","):
        with suppress(ValueError):
            if ipaddress.ip_address(address) in ipaddress.ip_network(pattern.strip(), strict=False):
                return True
    return False

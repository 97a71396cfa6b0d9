"""sshd's own limits, which turn people away while others wait for their phones (sshd_config(5))."""

from __future__ import annotations

from collections.abc import Iterator

from pam_iampass.doctor.catalogue import finding
from pam_iampass.errors import Problem
from pam_iampass.system.sshd import SshdSettings

_MANY = 100
"""So many logins that wait at once are not expected; limits beyond are not reported."""
_FEW_TRIES = 3
"""Clients with several keys, or a key before the password, need so many attempts."""


def limits(settings: SshdSettings) -> Iterator[Problem]:
    """The limits that are low for logins that wait for a phone."""
    yield from _startups(settings.values.get("maxstartups", ""))
    tries = settings.values.get("maxauthtries", "")
    if tries.isdigit() and int(tries) < _FEW_TRIES:
        yield finding("sshd-tries-few", "sshd", f"sshd -T: maxauthtries {tries}", tries=tries)
    if settings.values.get("persourcepenaltyexemptlist", "none") == "none":
        yield from _penalties(settings.values.get("persourcepenalties", "no"))


def _startups(value: str) -> Iterator[Problem]:
    """MaxStartups, `start:rate:full`: refuses `rate` % beyond `start` unauthenticated connections, all at `full`."""
    numbers = value.split(":")
    if len(numbers) == 3 and all(map(str.isdigit, numbers)) and int(numbers[0]) < _MANY:
        start, rate, full = map(int, numbers)
        evidence = f"sshd -T: maxstartups {value}"
        yield finding("sshd-startups", "sshd", evidence, start=start, rate=rate, full=full)


def _penalties(value: str) -> Iterator[Problem]:
    """PerSourcePenalties: failures add up to seconds, which are enforced once they are more than `min`."""
    seconds = dict(part.partition(":")[::2] for part in value.split())
    each, least = seconds.get("authfail", "0"), seconds.get("min", "15")
    if each.isdigit() and least.isdigit() and int(each):
        failures = int(least) // int(each) + 1
        evidence = f"sshd -T: persourcepenalties authfail:{each} min:{least}; persourcepenaltyexemptlist none"
        yield finding("sshd-penalties", "sshd", evidence, failures=failures, least=least)

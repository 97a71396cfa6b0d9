"""For whom sshd's penalties go on after denials whose cause is mended. Our own limits: `system/test_check.py`."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from pam_iampass.audit.query import AuditRecord
from pam_iampass.check.held_up import of_sshd, penalties
from pam_iampass.outcome import Outcome, Result
from pam_iampass.system.sshd import SshdSettings

DEFAULT = (
    "crash:90 authfail:5 noauth:1 grace-exceeded:10 refuseconnection:10 max:600 min:15 max-sources4:65536"
)
NOW = 1_800_000_000.0
ALICE, BOB = "192.0.2.1", "2001:db8::1"


def denial(ago: float, rhost: str = ALICE, service: str = "sshd") -> AuditRecord:
    at = datetime.fromtimestamp(NOW - ago, timezone.utc)
    outcome, result = Outcome.MISCONFIGURED.value, Result.DENIED.value
    people = ("alice", "", "alice")
    return AuditRecord(at, "decision", "here", *people, service, rhost, outcome, result, 0, "401", 0, True)


def sshd(value: str = DEFAULT, exempt: str = "none") -> SshdSettings:
    return SshdSettings({"persourcepenalties": value, "persourcepenaltyexemptlist": exempt})


def test_four_quick_failures_keep_an_address_out_until_they_are_worked_off() -> None:
    quick = [denial(ago) for ago in (13, 12, 11, 10)]
    assert penalties(quick, sshd(), NOW) == {ALICE: 7.0}
    assert penalties(quick[:2], sshd(), NOW) == {}
    assert penalties(quick, sshd(), NOW + 7) == {}
    (found,) = of_sshd(quick, sshd(), NOW)
    assert (found.kind, found.evidence) == ("penalties-go-on", f"sshd -T: persourcepenalties {DEFAULT}")
    assert f"from {ALICE} for about 7 s" in found.what


def test_failures_that_come_slowly_do_not_add_up() -> None:
    assert penalties([denial(ago) for ago in (20, 15, 10, 5, 0)], sshd(), NOW) == {}


def test_a_penalty_has_a_maximum() -> None:
    many = [denial(1.0) for _ in range(300)]
    assert penalties(many, sshd(), NOW) == {ALICE: 599.0}


@pytest.mark.parametrize(
    "settings",
    [sshd("no"), sshd(exempt="192.0.2.0/24"), sshd(exempt="203.0.113.1,192.0.2.1"), SshdSettings({})],
    ids=["off", "network", "address", "old sshd"],
)
def test_without_penalties_nobody_is_kept_out(settings: SshdSettings) -> None:
    assert penalties([denial(1.0) for _ in range(9)], settings, NOW) == {}


def test_each_address_has_its_own_and_only_what_sshd_has_asked_counts() -> None:
    found = [denial(1.0, rhost) for rhost in (ALICE, BOB) for _ in range(4)]
    found += [denial(1.0, "192.0.2.3", "sudo") for _ in range(9)] + [denial(1.0, "") for _ in range(9)]
    found += [denial(1.0, "host.example.com") for _ in range(9)]
    assert penalties(found, sshd(), NOW).keys() == {ALICE, BOB}

"""The systemd units, as systemd itself judges them."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.support.installation import ROOT, Installation

UNITS = ROOT / "packaging/systemd"


@pytest.mark.parametrize(
    "service",
    [
        "pam-iampass-agent",
        "pam-iampass-enforcer@",
        "gateway/pam-iampass-gateway",
        "portal/pam-iampass-portal",
    ],
)
def test_the_services_are_hardened(machine: Installation, service: str) -> None:
    unit = UNITS / f"{service}.service"
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", str(unit)]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout[-400:] + judged.stderr


def test_systemd_understands_the_units(machine: Installation) -> None:
    units = [
        "/usr/lib/systemd/system/pam-iampass-agent.socket",
        "/usr/lib/systemd/system/pam-iampass-agent.service",
        "/usr/lib/systemd/system/pam-iampass-enforcer.socket",
        "/usr/lib/systemd/system/pam-iampass-enforcer@.service",
        *(f"/usr/lib/systemd/system/pam-iampass-watch.{kind}" for kind in ("path", "service", "timer")),
        "/usr/lib/systemd/system/pam-iampass-watch-again@.service",
    ]
    verified = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False
    )
    assert "pam-iampass" not in verified.stderr, verified.stderr
    assert verified.returncode == 0


def test_the_agent_is_back_within_a_second_after_twenty_ends_and_ever_after_before_a_door_gives_up() -> None:
    """It waits longer each time: one that ends at each start must not fill the journal."""
    unit = (UNITS / "pam-iampass-agent.service").read_text()
    first, steps, most = (
        float(re.findall(rf"^{key}=([0-9]+)", unit, re.M)[0])
        for key in ("RestartSec", "RestartSteps", "RestartMaxDelaySec")
    )
    first /= 1000  # RestartSec= is in milliseconds
    assert first * (most / first) ** (20 / steps) < 0.5
    assert 1.0 < most < 5.0 / 2


def calls_of(group: str) -> set[str]:
    """The system calls of a group of systemd's (systemd.exec(5), SystemCallFilter)."""
    if not group.startswith("@"):
        return {group}
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    members = [line.split("#")[0].strip() for line in listed[1:]]
    return set().union(*(calls_of(member) for member in members if member))

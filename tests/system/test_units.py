"""The systemd units, as systemd itself judges them."""

from __future__ import annotations

import subprocess

from tests.support.installation import ROOT, Installation

UNITS = ROOT / "packaging/systemd"


def test_the_agent_is_hardened(machine: Installation) -> None:
    unit = UNITS / "pam-iampass-agent.service"
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", str(unit)]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout[-400:] + judged.stderr


def test_systemd_understands_the_units(machine: Installation) -> None:
    units = [
        "/usr/lib/systemd/system/pam-iampass-agent.socket",
        "/usr/lib/systemd/system/pam-iampass-agent.service",
    ]
    verified = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False
    )
    assert "pam-iampass" not in verified.stderr, verified.stderr
    assert verified.returncode == 0


def test_the_folders_are_made_for_their_owners(machine: Installation) -> None:
    command = [
        "stat",
        "-c",
        "%n %U %G %a",
        "/run/iampass",
        "/run/iampass/state",
        "/var/lib/iampass",
        "/var/lib/iampass/recovery",
        "/etc/iampass",
    ]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert shown == [
        "/run/iampass root root 755",
        "/run/iampass/state iampass iampass 700",
        "/var/lib/iampass iampass iampass 700",
        "/var/lib/iampass/recovery iampass iampass 700",
        "/etc/iampass root iampass 755",
    ]

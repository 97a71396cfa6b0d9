"""The helper of polkit in a sandbox of systemd's, where switched_on.py does not lead."""

from __future__ import annotations

import pytest

from tests.packages.administrator import Administrator
from tests.packages.booted import Booted
from tests.packages.people import People, outcomes, type_password

# polkit-agent-helper@.service of polkit 127: the helper is no longer set-uid root.
POLKIT_SANDBOX = (
    *("DevicePolicy=closed", "LimitMEMLOCK=0", "LockPersonality=yes", "MemoryDenyWriteExecute=yes"),
    *("NoNewPrivileges=yes", "PrivateDevices=yes", "PrivateNetwork=yes", "PrivateTmp=yes"),
    *("ProtectControlGroups=yes", "ProtectHome=yes", "ProtectKernelModules=yes", "ProtectKernelLogs=yes"),
    *("ProtectKernelTunables=yes", "ProtectSystem=strict", "ProtectClock=yes", "ProtectHostname=yes"),
    *("RemoveIPC=yes", "RestrictAddressFamilies=AF_UNIX", "RestrictNamespaces=yes", "RestrictRealtime=yes"),
    *("RestrictSUIDSGID=yes", "SystemCallArchitectures=native", "SystemCallFilter=@system-service"),
    "UMask=0077",
)


@pytest.fixture(scope="module")
def programs(machine: Booted, administrator: Administrator) -> None:
    """The programs, installed and set up to ask the phone."""
    administrator.start_iampass()
    administrator.configure()
    machine.shell(
        "DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends pkexec pamtester"
    )
    administrator.set_up("polkit-1", "login")


@pytest.fixture
def cursor(machine: Booted, programs: None) -> str:
    """Where the journal was when the test began, with nobody's phone in backoff."""
    machine.run("pam-iampass", "throttle", "clear", "alice")
    return machine.cursor()


def test_the_helper_of_polkit_reaches_the_agent_from_its_sandbox(
    machine: Booted, people: People, cursor: str
) -> None:
    options = [word for each in POLKIT_SANDBOX for word in ("-p", each)]
    command = ["systemd-run", "--wait", "--quiet", "--pty", *options, "pamtester", "polkit-1", "alice"]
    for answer in (people.phone.approve, people.phone.deny):
        terminal = machine.terminal(*command, "authenticate")
        type_password(terminal)
        answer("alice")
        terminal.finish()
        assert ("successfully authenticated" in terminal.shown) == (answer == people.phone.approve)
    assert outcomes(machine.journal(cursor)) == [
        ("approved", "success", "alice", "polkit-1"),
        ("denied", "denied", "alice", "polkit-1"),
    ]

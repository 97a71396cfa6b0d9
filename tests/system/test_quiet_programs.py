"""The quiet way into sshd with a Kerberos ticket as the first factor, and with accounts of a directory service."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import RunningAgent
from tests.support.deadline import DENIED
from tests.support.directory import sssd
from tests.support.installation import Installation
from tests.support.journald import Journald
from tests.support.kerberos import HOST, realm
from tests.support.sandbox import Sandbox
from tests.support.sshd import Sshd, without_terminal
from tests.support.world import REMOTE, World

BATCH = "BatchMode=yes"


@pytest.fixture(scope="module")
def gate(sshd: Sshd, folder: Path) -> Iterator[Sshd]:
    """sshd that asks in the quiet way, and takes Kerberos tickets."""
    options = ("GSSAPIAuthentication=yes", "GSSAPIStrictAcceptorCheck=no")
    with Sshd(folder / "gate", *options, way="quiet", keys=folder / "key-and-phone") as running:
        yield running


@pytest.fixture
def world(
    machine: Installation, sandbox: Sandbox, journald: Journald, gate: Sshd, agent: RunningAgent
) -> World:
    """Everything, reset for each test; logins go to the gate."""
    return World(machine, sandbox, journald, gate, agent=agent)


def test_a_kerberos_ticket_is_a_first_factor_and_the_phone_is_asked_after_it(
    world: World, folder: Path
) -> None:
    options = (
        "PreferredAuthentications=gssapi-with-mic",
        "GSSAPIAuthentication=yes",
        "PubkeyAuthentication=no",
    )
    more = world.sshd.options(BATCH, *options, f"HostKeyAlias=[127.0.0.1]:{world.sshd.port}")
    with realm(folder / "realm") as kerberos:
        ticket = kerberos.ticket("heidi")

        def ssh(user: str) -> subprocess.CompletedProcess[str]:
            return without_terminal(["ssh", *more, f"{user}@{HOST}", REMOTE], KRB5CCNAME=ticket)

        world.sandbox.auto = "approve"
        done = ssh("heidi")
        assert (done.returncode, done.stdout, done.stderr) == (0, "In as heidi.\n", "")
        assert world.outcome("heidi") == ("approved", "success")
        world.sandbox.auto = "deny"
        refused = ssh("heidi")
        assert refused.returncode == 255
        assert DENIED in refused.stderr
        assert world.starts() == 2
        assert ssh("grace").returncode == 255, "the ticket is not hers"
        assert world.starts() == 2
    assert any("gssapi-with-mic" in line and "heidi" in line for line in world.sshd_log("Accepted "))


def test_whom_the_directory_service_refuses_makes_no_phone_ring(world: World) -> None:
    """A real pam_sss on its line of the shipped file: an expired account, one without access, and one that is fine."""

    def ssh(user: str) -> subprocess.CompletedProcess[str]:
        return without_terminal(world.sshd.command(user, REMOTE, options=(BATCH,)))

    world.sandbox.auto = "approve"
    with sssd(expired="carol", refused="dave"):
        assert [ssh(user).returncode for user in ("carol", "dave")] == [255, 255]
        assert world.calls() == []
        assert world.records() == []
        assert ssh("alice").stdout == "In as alice.\n"
    assert world.starts() == 1
    assert ssh("dave").stdout == "In as dave.\n", "it was the directory that refused"

"""The quiet way into sshd with further first factors and programs: Kerberos, chrooted sftp, rsync, forwarding alone."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.agent import RunningAgent
from tests.support.directory import sssd
from tests.support.installation import Installation
from tests.support.journald import Journald
from tests.support.kerberos import HOST, realm
from tests.support.sandbox import Sandbox
from tests.support.sshd import Sshd
from tests.support.terminal import ENVIRONMENT
from tests.support.world import REMOTE, World, wait_until

BATCH = "BatchMode=yes"
DENIED = "Denied on your phone."


@pytest.fixture(scope="module")
def gate(sshd: Sshd, folder: Path) -> Iterator[Sshd]:
    """sshd that asks in the quiet way, Kerberos tickets, and a jail for judy."""
    jail = folder / "jail"
    jailed = "".join(
        f"{line}\n"
        for line in (
            *("Match User judy", f"ChrootDirectory {jail}", "ForceCommand internal-sftp"),
            "AllowTcpForwarding no",
        )
    )
    (jail / "files").mkdir(parents=True)
    (jail / "files/listed").write_text("in the jail")
    options = ("GSSAPIAuthentication=yes", "GSSAPIStrictAcceptorCheck=no")
    with Sshd(folder / "gate", *options, way="quiet", more=jailed, keys=folder / "key-and-phone") as running:
        yield running


@pytest.fixture
def world(
    machine: Installation, sandbox: Sandbox, journald: Journald, gate: Sshd, agent: RunningAgent
) -> World:
    """Everything, reset for each test; logins go to the gate."""
    return World(machine, sandbox, journald, gate, agent=agent)


def batch(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a client that can neither ask nor show anything."""
    return subprocess.run(
        command,
        env={**ENVIRONMENT, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


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
            return batch("ssh", *more, f"{user}@{HOST}", REMOTE, KRB5CCNAME=ticket)

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


def test_a_jailed_sftp_account_is_asked_before_its_jail(world: World, folder: Path) -> None:
    (folder / "in-jail").write_text("ls files\n")
    command = ["sftp", *world.sshd.options(BATCH), "-b", str(folder / "in-jail"), "judy@127.0.0.1"]
    world.sandbox.auto = "approve"
    done = batch(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert "files/listed" in done.stdout
    world.sandbox.auto = "deny"
    refused = batch(*command)
    assert refused.returncode == 255
    assert DENIED in refused.stderr
    assert "listed" not in refused.stdout
    assert world.starts() == 2


def test_rsync_moves_files_both_ways_and_sees_no_stray_byte(world: World, folder: Path) -> None:
    source = folder / "to-send"
    source.mkdir()
    (source / "one").write_text("1" * 70000)
    (source / "two").write_text("2")
    ssh = " ".join(["ssh", *world.sshd.options(BATCH)])
    world.sandbox.auto = "approve"
    sent = batch("rsync", "-a", "-e", ssh, f"{source}/", "ivan@127.0.0.1:arrived/")
    back = batch("rsync", "-a", "-e", ssh, "ivan@127.0.0.1:arrived/", str(folder / "back"))
    for done in (sent, back):
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {file.name: len(file.read_text()) for file in (folder / "back").iterdir()} == {
        "one": 70000,
        "two": 1,
    }
    assert world.starts() == 2


def _send_once(service: socket.socket) -> None:
    with service.accept()[0] as connection:
        connection.sendall(b"through")


def test_forwarding_alone_carries_bytes_only_after_an_approval(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as service, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        threading.Thread(target=_send_once, args=(service,), daemon=True).start()
        forward = f"LocalForward={port} 127.0.0.1:{service.getsockname()[1]}"
        client = world.sshd.login(
            "niaj", options=(BATCH, "SessionType=none", "ExitOnForwardFailure=yes", forward)
        )
        request = world.request("niaj")
        with socket.socket() as early:
            assert early.connect_ex(("127.0.0.1", port)) != 0, "forwarding begins before the approval"
        world.sandbox.approve(request)

        def arrives() -> bool:
            with socket.socket() as connection:
                return connection.connect_ex(("127.0.0.1", port)) == 0 and connection.recv(7) == b"through"

        wait_until(arrives, "nothing comes through the tunnel")
        client.kill()
    assert world.outcome("niaj") == ("approved", "success")


def test_logins_of_several_programs_at_once_are_asked_one_after_the_other(world: World, folder: Path) -> None:
    """As a file manager and an editor open them."""
    (folder / "at-once").write_text("pwd\n")
    options = world.sshd.options(BATCH)
    commands = [
        ["ssh", *options, "mallory@127.0.0.1", REMOTE],
        ["sftp", *options, "-b", str(folder / "at-once"), "mallory@127.0.0.1"],
        ["rsync", "-e", " ".join(["ssh", *options]), "mallory@127.0.0.1:.profile", str(folder / "profile")],
    ]
    world.sandbox.auto = "approve"
    with ThreadPoolExecutor() as pool:
        ended = list(pool.map(lambda command: batch(*command), commands))
    assert [(one.returncode, one.stderr) for one in ended] == [(0, "")] * 3
    assert world.starts() == 3


def test_whom_the_directory_service_refuses_makes_no_phone_ring(world: World) -> None:
    """A real pam_sss on its line of the shipped file: an expired account, one without access, and one that is fine."""

    def ssh(user: str) -> subprocess.CompletedProcess[str]:
        return batch(*world.sshd.command(user, REMOTE, options=(BATCH,)))

    world.sandbox.auto = "approve"
    with sssd(expired="carol", refused="dave"):
        assert [ssh(user).returncode for user in ("carol", "dave")] == [255, 255]
        assert world.calls() == []
        assert world.records() == []
        assert ssh("alice").stdout == "In as alice.\n"
    assert world.starts() == 1
    assert ssh("dave").stdout == "In as dave.\n", "it was the directory that refused"

"""A client that hangs up while the phone rings: the request is withdrawn, in both ways into sshd."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_iampass.sandbox.sessions import EndedBy, SandboxSession
from tests.support.agent import RunningAgent
from tests.support.in_time import BUSY
from tests.support.installation import Installation
from tests.support.journald import Journald
from tests.support.sandbox import Sandbox
from tests.support.sshd import Login, Sshd
from tests.support.world import PATIENCE, World, wait_until

#: Seconds within which the request must be withdrawn.
WITHIN = 2.0 + BUSY


@pytest.fixture(scope="module")
def quiet_sshd(sshd: Sshd, folder: Path) -> Iterator[Sshd]:
    """sshd that asks the phone in the account phase."""
    keys = folder / "key-and-phone"
    with Sshd(folder / "quiet-hang-up", way="quiet", keys=keys) as running:
        yield running


@pytest.fixture(params=["prompt", "quiet"])
def either(
    request: pytest.FixtureRequest,
    machine: Installation,
    sandbox: Sandbox,
    journald: Journald,
    sshd: Sshd,
    quiet_sshd: Sshd,
    agent: RunningAgent,
) -> World:
    """Everything, reset for each test, with each way into sshd."""
    used = sshd if request.param == "prompt" else quiet_sshd
    return World(machine, sandbox, journald, used, agent=agent)


def begin(world: World, user: str = "alice", *options: str) -> Login:
    """Begin a login, and press Enter where sshd asks for it."""
    login = world.login(user, *options)
    if "quiet" not in str(world.sshd.log):
        login.enter()
    return login


def kill(login: Login) -> None:
    login.process.kill()


def assert_withdrawn(world: World, session: SandboxSession, since: float) -> None:
    """The request was ended by us, not by its time limit, within two seconds."""
    ended = world.sandbox.wait_for_end(session, PATIENCE)
    assert ended.ended_by is EndedBy.CLIENT
    assert ended.ended_at is not None
    assert ended.ended_at - since < WITHIN


def test_a_client_that_is_killed_while_the_phone_rings_ends_the_request(either: World) -> None:
    login = begin(either)
    session = either.request("alice")
    since = time.monotonic()
    kill(login)
    assert_withdrawn(either, session, since)
    assert either.outcome() == ("cancelled", "denied")
    assert either.record()["IAMPASS_REASON"] == "the ssh client hung up"
    assert either.starts() == 1


UNIX_SOCKET = Path("/run/iampass-test-ssh.socket")
#: As systemd's ssh generator sets it up for all users of the machine, and how its client connects.
PROXY = f"/usr/lib/systemd/systemd-ssh-proxy unix{UNIX_SOCKET} 22"


@pytest.mark.skipif(not Path(PROXY.split()[0]).exists(), reason="needs systemd-ssh-proxy, of systemd 256")
def test_over_a_unix_socket_too(either: World) -> None:
    command = ["systemd-socket-activate", "--accept", "--inetd", f"--listen={UNIX_SOCKET}"]
    listener = subprocess.Popen([*command, *either.sshd.inetd()])
    try:
        wait_until(UNIX_SOCKET.exists, "nobody listens")
        there = (f"ProxyCommand={PROXY}", "ProxyUseFdpass=yes", "StrictHostKeyChecking=no")
        login = begin(either, "alice", *there)
        session = either.request("alice")
        since = time.monotonic()
        kill(login)
        assert_withdrawn(either, session, since)
    finally:
        listener.terminate()
        listener.wait()
        UNIX_SOCKET.unlink()
    assert either.record()["IAMPASS_REASON"] == "the ssh client hung up"


def test_a_client_that_lives_but_answers_nothing_is_not_disturbed(either: World) -> None:
    either.sandbox.auto, either.sandbox.delay = "approve", 2.5
    login = begin(either)
    session = either.request("alice")
    os.kill(login.process.pid, signal.SIGSTOP)
    either.sandbox.wait_for_end(session, PATIENCE)
    os.kill(login.process.pid, signal.SIGCONT)
    assert login.finish() == 0, login.shown
    assert either.outcome() == ("approved", "success")

"""What sshd and ssh make of our module: who is asked what, how often the phone rings, and what is left."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_iampass.sandbox.sessions import EndedBy
from tests.support import processes
from tests.support.agent import RunningAgent
from tests.support.deadline import DENIED, PLENTY, press_enter
from tests.support.installation import Installation
from tests.support.journald import Journald
from tests.support.sandbox import Sandbox
from tests.support.sshd import PROMPT, Login, Sshd
from tests.support.world import PASSWORD, PATIENCE, REMOTE, World, wait_until

# What the person reads


def test_a_shell_begins_without_a_word_of_ours(world: World) -> None:
    """Not even where sshd shows once more what PAM has said, because there is a message of the day."""
    login = world.sshd.login("alice")
    login.enter()
    world.approve("alice")
    login.expect("[$] ")
    after = login.shown.partition(press_enter(PLENTY))[2]
    login.sendline("exit")
    assert login.finish() == 0
    assert "phone" not in after
    assert world.outcome("alice") == ("approved", "success")


def test_a_user_who_leaves_at_the_prompt_is_not_asked_on_the_phone(world: World) -> None:
    login = world.login("alice")
    login.prompted()
    login.kill()
    processes.wait_for_end(processes.running("sshd-session: alice"), PATIENCE)
    assert world.outcome("alice") == ("cancelled", "denied")
    assert world.calls() == []


# One login, one request


def test_a_refusal_is_one_request_even_though_the_client_tries_again(world: World) -> None:
    login = world.login(
        "alice",
        "NumberOfPasswordPrompts=5",
        "PreferredAuthentications=publickey,keyboard-interactive,keyboard-interactive,keyboard-interactive",
    )
    login.enter()
    world.deny("alice")
    assert login.finish() == 255
    assert DENIED in login.shown
    assert world.starts("alice") == 1
    assert world.outcome("alice") == ("denied", "denied")


# The application dies


def test_when_the_grace_time_is_over_the_session_is_ended(
    machine: Installation,
    sandbox: Sandbox,
    journald: Journald,
    sshd: Sshd,
    folder: Path,
    agent: RunningAgent,
) -> None:
    with Sshd(folder / "grace", keys=folder / "key-and-phone") as patient:
        world = World(machine, sandbox, journald, patient, agent=agent)
        login = world.login("alice")
        login.enter()
        session = world.request("alice")
        [monitor] = processes.running("sshd-session: alice [priv]")
        os.kill(monitor, signal.SIGALRM)  # as its alarm(2) does
        assert login.finish() == 255
        assert sandbox.wait_for_end(session, PATIENCE).ended_by is EndedBy.CLIENT
        assert world.outcome("alice") == ("cancelled", "denied")


# Never the only factor by mistake


@pytest.fixture(scope="module")
def forgetful_sshd(sshd: Sshd, folder: Path) -> Iterator[Sshd]:
    """sshd with the shipped file for a key and the phone, but AuthenticationMethods forgotten."""
    with Sshd(folder / "forgetful", "AuthenticationMethods=any", keys=folder / "key-and-phone") as running:
        yield running


@pytest.fixture
def forgetful_world(
    machine: Installation,
    sandbox: Sandbox,
    journald: Journald,
    forgetful_sshd: Sshd,
    agent: RunningAgent,
) -> World:
    """Logins go there, without a key."""
    return World(machine, sandbox, journald, forgetful_sshd, agent=agent)


@pytest.mark.parametrize("exempt", ["{}", "{users: [alice]}"], ids=["not exempt", "exempt"])
def test_without_the_key_nobody_passes_although_sshd_would_allow_it(
    forgetful_world: World, exempt: str
) -> None:
    forgetful_world.machine.change(exempt=exempt)
    login = forgetful_world.login("alice", "PubkeyAuthentication=no")
    assert login.expect([PROMPT, "also requires your key"]) == 1
    assert login.finish() == 255
    assert "In as" not in login.shown
    assert forgetful_world.calls() == []
    assert forgetful_world.outcome("alice") == ("denied", "denied")


def test_an_unknown_user_is_asked_nothing_and_no_phone_rings(forgetful_world: World) -> None:
    forgetful_world.machine.change(unlisted_users="'{user}@example.com'")
    login = forgetful_world.login("no-such-user", "PubkeyAuthentication=no")
    assert login.finish() == 255
    assert "IAMPASS" not in login.shown
    assert forgetful_world.calls() == []
    assert forgetful_world.outcome("no-such-user") == ("denied", "denied")


def test_for_root_whom_sshd_has_refused_already_no_phone_rings(world: World) -> None:
    world.machine.write_users("root: token-of-root\n")
    world.sandbox.add_user("token-of-root")
    login = world.login("root", "NumberOfPasswordPrompts=1")
    login.prompted()
    login.sendline("yes")
    assert login.finish() == 255
    assert "In as" not in login.shown
    assert world.calls() == []
    assert [record["IAMPASS_OUTCOME"] for record in world.records("root")] == ["cancelled"]


# The password and the phone


def types_password(login: Login, password: str = PASSWORD) -> None:
    """Answer sshd's question for the password."""
    login.expect("(?i)password: ")
    login.sendline(password)


@pytest.fixture(scope="module")
def old_method_sshd(sshd: Sshd, folder: Path) -> Iterator[Sshd]:
    """sshd that takes the password by ssh's `password` method, in which PAM can ask nothing else."""
    options = (
        "PasswordAuthentication=yes",
        "KbdInteractiveAuthentication=no",
        "AuthenticationMethods=password",
    )
    with Sshd(folder / "old-method", *options, way="password") as running:
        yield running


@pytest.fixture
def old_method_world(
    machine: Installation,
    sandbox: Sandbox,
    journald: Journald,
    old_method_sshd: Sshd,
    agent: RunningAgent,
) -> World:
    """Logins go there."""
    return World(machine, sandbox, journald, old_method_sshd, agent=agent)


BY_PASSWORD = "PreferredAuthentications=password"


def zombies(pid: int) -> list[int]:
    """The descendants of a process that have ended, and that nobody has waited for."""
    found = []
    for each in processes.descendants(pid):
        with contextlib.suppress(FileNotFoundError):  # it ends just now
            if processes.status(each)["State"].startswith("Z"):
                found.append(each)
    return found


def test_in_the_password_method_the_request_goes_out_without_a_prompt(old_method_world: World) -> None:
    world = old_method_world
    login = world.login("alice", BY_PASSWORD, remote=f"{REMOTE}; cat")
    types_password(login)
    world.approve("alice")
    login.expect("In as alice.")
    assert "press Enter" not in login.shown
    wait_until(lambda: not zombies(world.sshd.pid), "a process that has ended is not waited for")
    login.sendeof()
    assert login.finish() == 0
    assert world.starts() == 1
    assert world.outcome("alice") == ("approved", "success")


def test_in_the_password_method_too_a_refusal_is_one_request(old_method_world: World) -> None:
    login = old_method_world.login("alice", BY_PASSWORD)
    types_password(login)
    old_method_world.deny("alice")
    login.expect("(?i)denied")
    login.kill()
    assert old_method_world.starts() == 1
    assert old_method_world.outcome("alice") == ("denied", "denied")


# Where a login comes from


HOSTS = Path("/etc/hosts")


def test_all_loopback_addresses_and_their_names_are_one_origin(world: World, folder: Path) -> None:
    """127.0.0.0/8 has 16 million addresses, and with `UseDNS yes` PAM_RHOST is a name."""
    hosts = HOSTS.read_text()
    HOSTS.write_text(hosts + "".join(f"127.0.0.{number} host{number}.example\n" for number in (7, 8, 9)))
    with Sshd(folder / "names", "UseDNS=yes", keys=folder / "key-and-phone") as sshd:
        for number in (7, 8):
            login = sshd.login("alice", options=(f"BindAddress=127.0.0.{number}",))
            login.enter()
            world.deny("alice")
            login.finish()
            assert world.record()["IAMPASS_RHOST"] == f"host{number}.example"
            world.mark()
        login = sshd.login("alice", options=("BindAddress=127.0.0.9",))
        login.enter()
        assert login.finish() == 255
    HOSTS.write_text(hosts)
    assert world.outcome() == ("throttled", "denied")
    assert world.starts() == 0

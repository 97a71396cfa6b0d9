"""A real sudo of an account that acts for a person, and of that person meanwhile."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_iampass.system import paths
from tests.support.agent import running_enforcer
from tests.support.command import run_command
from tests.support.deadline import DENIED, not_approved_by
from tests.support.installation import Installation
from tests.support.pam_files import asking
from tests.support.setuid.people import AS_ROOT, SHOW_WHO, SUDO, Person, table_of
from tests.support.setuid.stage import Guest, Phone, Stage
from tests.support.terminal import Terminal
from tests.support.world import wait_until
from tests.system.setuid.test_sudo_always import RULES, SUDOERS

SHELL = ("/bin/sh", "-c", SHOW_WHO)


@pytest.fixture(scope="module")
def pair(sudo_and_su: Installation, stage: Stage, crowd: list[Person]) -> Iterator[tuple[Guest, Guest]]:
    """A person, and the account of an agent that may run everything without a password."""
    owner, agent = stage.guest(), stage.guest()
    others = table_of([person for person in crowd if person is not agent.person])
    sudo_and_su.write_users(f"{others}{agent.name}: {{acts_for: {owner.name}}}\n")
    SUDOERS.write_text(RULES)
    SUDOERS.chmod(0o440)
    with asking("sudo", choice="always"):
        yield owner, agent
    SUDOERS.unlink()
    sudo_and_su.write_users(table_of(crowd))


@pytest.fixture(autouse=True)
def unlimited(pair: tuple[Guest, Guest]) -> None:
    """Nothing of earlier tests counts."""
    for guest in pair:
        run_command("throttle", "clear", guest.name)
        run_command("bypass", "end", guest.name)


def in_session_of(guest: Guest, caller: Person, *command: str) -> Terminal:
    """The caller runs a command in the login session of the guest, as after `sudo -u CALLER`."""
    begins = f'echo {guest.person.uid} > /proc/self/loginuid && exec "$@"'
    return caller.run(*command, under=["sh", "-c", begins, "sh"])


def test_sudo_of_an_agent_asks_its_owner_and_the_log_has_both(pair: tuple[Guest, Guest]) -> None:
    owner, agent = pair
    before = owner.starts()
    owner.set_phone(Phone.APPROVES)
    sudo = agent.start("sudo", "-n", *SHELL)
    assert sudo.finish() == 0, sudo.shown
    assert sudo.lines[0].startswith(f"{owner.name} is asked to approve this within ")
    assert sudo.lines[1:] == [f"Approved by {owner.name}.", AS_ROOT]
    owner.set_phone(Phone.DENIES)
    sudo = agent.start("sudo", *SHELL)
    assert sudo.finish() == 1
    assert not_approved_by(owner.name) in sudo.shown
    assert AS_ROOT not in sudo.shown
    assert (owner.starts() - before, agent.starts()) == (2, 0)
    agent.records(2)
    logged = [json.loads(line) for line in run_command("log", agent.name, "--json").stdout.splitlines()]
    assert [(one["user"], one["approver"], one["outcome"]) for one in logged[-2:]] == [
        (agent.name, owner.name, "approved"),
        (agent.name, owner.name, "denied"),
    ]
    assert owner.name in run_command("log", agent.name).stdout


def open_terminal(guest: Guest) -> Terminal:
    """A terminal of the guest's that takes messages, as after a login."""
    terminal = guest.run("/bin/sh", "-c", "echo ready; read line")
    terminal.expect_exact("ready")
    device = f"/proc/{terminal.process.pid}/fd/0"
    os.chown(device, guest.person.uid, -1)
    os.chmod(device, 0o620)
    return terminal


def test_each_request_of_an_agent_is_a_line_on_terminals_of_its_owner(pair: tuple[Guest, Guest]) -> None:
    owner, agent = pair
    shell, others = (open_terminal(guest) for guest in (owner, agent))
    owner.set_phone(Phone.DENIES)
    with running_enforcer():
        for number in (1, 2):
            sudo = agent.start("sudo", "echo", f"{number}\x1b[2J")
            assert sudo.finish() == 1, sudo.shown
            shell.expect_exact('asks you to approve this on your phone: "sudo echo')
            shell.expect_exact("\r\n")
        owner.set_phone(Phone.APPROVES)
        sudo = owner.start("sudo", *SHELL)  # she makes this one herself
        assert sudo.finish() == 0, sudo.shown
    for terminal in (shell, others):
        terminal.sendline("")
        terminal.finish()
    lines = [line.strip() for line in shell.shown.split("\n") if "asks" in line]
    begins = f"{agent.name} on {socket.gethostname()} asks you to approve this on your phone: "
    assert [line.startswith(begins) for line in lines] == [True] * 2, shell.shown
    assert lines[1].startswith(begins + r""""sudo echo $'2\\x1b[2J' (in """), lines[1]
    assert "\x1b" not in shell.shown
    assert "asks" not in others.shown


def test_a_request_needs_no_enforcer(pair: tuple[Guest, Guest]) -> None:
    owner, agent = pair
    owner.set_phone(Phone.APPROVES)
    Path(paths.ENFORCER_SOCKET).unlink(missing_ok=True)
    sudo = agent.start("sudo", "-n", *SHELL)
    assert (sudo.finish(), sudo.lines[-1]) == (0, AS_ROOT)
    told = "no line about a request was written on terminals of"
    wait_until(
        lambda: any(told in str(one["MESSAGE"]) for one in owner.stage.authpriv()), "the journal says so"
    )


def test_an_agent_that_has_become_its_owner_is_still_the_agent(pair: tuple[Guest, Guest]) -> None:
    owner, agent = pair
    owner.set_phone(Phone.DENIES)
    assert run_command("bypass", owner.name, "--for", "15m").returncode == 0
    sudo = owner.start("sudo", *SHELL)
    assert (sudo.finish(), sudo.lines[-1]) == (0, AS_ROOT)
    before = owner.starts()
    sudo = in_session_of(agent, owner.person, SUDO, *SHELL)
    assert sudo.finish() == 1, sudo.shown
    assert AS_ROOT not in sudo.shown
    assert owner.starts() == before + 1
    assert f" person={agent.name} " in owner.records(2)[-1]


def test_sudo_of_the_owner_withdraws_a_request_of_the_agent_and_does_not_wait_for_its_end(
    pair: tuple[Guest, Guest],
) -> None:
    owner, agent = pair
    owner.set_phone(Phone.RINGS)
    before = owner.stage.sandbox.sessions[-1] if owner.stage.sandbox.sessions else None
    agents = agent.start("sudo", *SHELL)
    agents.expect_exact(f"{owner.name} is asked to approve this")
    owner.set_phone(Phone.APPROVES)
    sudo = owner.start("sudo", *SHELL)
    assert (sudo.finish(), sudo.lines[-1]) == (0, AS_ROOT)
    assert agents.finish() == 1
    assert f"{owner.name} logs in just now, so this request was withdrawn." in agents.shown
    sessions = [one for one in owner.sessions() if before is None or one.started_at > before.started_at]
    assert (sessions[-2].ended_at or 0.0) <= sessions[-1].started_at


def test_who_chooses_the_login_uid_of_an_agent_is_asked_as_everywhere(
    pair: tuple[Guest, Guest], stage: Stage
) -> None:
    owner, agent = pair
    owner.set_phone(Phone.APPROVES)
    assert run_command("bypass", agent.name, "--for", "15m").returncode == 0
    before = owner.starts()
    other = stage.guest(Phone.DENIES)
    choose = f"echo {agent.person.uid} > /proc/self/loginuid && exec {SUDO} /bin/sh -c '{SHOW_WHO}'"
    sudo = other.run("/bin/sh", "-c", choose)
    assert sudo.finish() == 1, sudo.shown
    assert DENIED in sudo.shown
    assert AS_ROOT not in sudo.shown
    assert (owner.starts() - before, other.starts()) == (0, 1)

"""The agent ends while sudo and su wait for the phone, or does not run: no other process takes its place."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.agent import SOCKET, RunningAgent
from tests.support.pam_files import asking
from tests.support.setuid.people import AS_ROOT, PROGRAMS, SHOW_WHO, SUDO
from tests.support.setuid.stage import Guest, Phone, Stage, waiting
from tests.support.terminal import Terminal


@pytest.fixture
def stage(stage_without_agent: Stage) -> Stage:
    """Where people use sudo and su; whether there is an agent is up to the test."""
    return stage_without_agent


@pytest.fixture
def agent(stage: Stage) -> Iterator[RunningAgent]:
    """The agent."""
    with RunningAgent() as running:
        running.wake()
        yield running


Logins = list[tuple[str, Guest, Terminal]]


def finish(logins: Logins) -> None:
    """None of them must have got in, and each rang once."""
    for _, guest, terminal in logins:
        assert terminal.finish() == 1
        assert AS_ROOT not in terminal.shown
        assert guest.starts() == 1


def all_wait(stage: Stage) -> Logins:
    """One user waits in sudo and another in su."""
    cases = [(program, stage.guest()) for program in PROGRAMS]
    with ThreadPoolExecutor(len(cases)) as pool:
        terminals = list(pool.map(lambda case: waiting(*case), cases))
    return [(program, guest, terminal) for (program, guest), terminal in zip(cases, terminals)]


def test_a_killed_agent_is_a_denial_by_the_door_with_its_record(stage: Stage, agent: RunningAgent) -> None:
    logins = all_wait(stage)
    agent.stop(signal.SIGKILL)
    finish(logins)
    for program, guest, _ in logins:
        user = guest.name if program == "sudo" else guest.twin
        wanted = f"outcome=unavailable result=denied user={user} service={program} "
        assert wanted in guest.record()
        assert "reason=the module closed the connection before it gave a result" in guest.record()


def test_an_agent_that_is_stopped_denies_and_leaves_no_session_open(
    stage: Stage, agent: RunningAgent
) -> None:
    logins = all_wait(stage)
    agent.stop(signal.SIGTERM)
    finish(logins)
    for _, guest, terminal in logins:
        assert "The phone check is restarting. Please try again." in terminal.shown
        assert guest.record().startswith("outcome=unavailable result=denied ")
        guest.ended()


@pytest.mark.parametrize("left_behind", [False, True], ids=["no socket", "nobody listens"])
def test_without_an_agent_nobody_gets_in_and_the_text_says_how_to_start_it(
    stage: Stage, left_behind: bool
) -> None:
    with contextlib.ExitStack() as after:
        SOCKET.unlink(missing_ok=True)
        if left_behind:
            after.enter_context(socket.socket(socket.AF_UNIX)).bind(str(SOCKET))
            SOCKET.chmod(0o600)
            after.callback(SOCKET.unlink)
        for program in PROGRAMS:
            guest = stage.guest(Phone.APPROVES)
            seen = guest.play(program)
            assert not seen.got_in
            assert "systemctl start pam-iampass-agent.socket" in seen.shown
            assert "pam-iampass-agent --socket" in seen.shown
            assert guest.starts() == 0
            assert guest.record().startswith("outcome=unavailable result=denied ")
            assert "The IAMPASS agent is not running." in guest.record()


def test_where_sudo_asks_for_every_command_root_goes_on_without_an_agent_and_nobody_else(
    stage: Stage,
) -> None:
    guest, rule = stage.guest(Phone.APPROVES), Path("/etc/sudoers.d/zz-free")
    rule.write_text(f"{guest.name} ALL=(ALL) NOPASSWD: ALL\n")
    rule.chmod(0o440)
    try:
        with asking("sudo", choice="always"):
            root = Terminal([SUDO, "-u", guest.name, "/usr/bin/id", "-un"])
            assert (root.finish(), root.lines) == (0, [guest.name])
            sudo = guest.start("sudo", "-n", "/bin/sh", "-c", SHOW_WHO)
            assert sudo.finish() == 1
    finally:
        rule.unlink()
    assert "The IAMPASS agent " in sudo.shown
    assert AS_ROOT not in sudo.shown
    assert guest.starts() == 0

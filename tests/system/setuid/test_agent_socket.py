"""The agent makes its socket itself, for machines without systemd."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.agent import SOCKET
from tests.support.deadline import PATIENCE
from tests.support.installation import STATE
from tests.support.processes import status
from tests.support.setuid.people import PROGRAMS
from tests.support.setuid.stage import Phone, Stage
from tests.support.world import wait_until

AGENT = ["/usr/sbin/pam-iampass-agent", "--socket"]


@pytest.fixture
def stage(stage_without_agent: Stage) -> Stage:
    """Where people use sudo and su; the test starts the agent."""
    SOCKET.unlink(missing_ok=True)
    return stage_without_agent


def listens(path: Path) -> bool:
    """Whether a process accepts connections there."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@contextmanager
def running(*arguments: str, path: Path = SOCKET) -> Iterator[subprocess.Popen[bytes]]:
    """The agent, started by root."""
    with subprocess.Popen([*AGENT, *arguments]) as agent:
        try:
            wait_until(lambda: listens(path), "the agent listens")
            yield agent
        finally:
            agent.terminate()


def refused(*arguments: str, expected: str) -> None:
    """The agent does not start, and says why."""
    done = subprocess.run([*AGENT, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert expected in done.stderr


def test_an_agent_that_nobody_would_start_again_goes_on_after_sighup(stage: Stage) -> None:
    with running() as agent:
        wait_until(lambda: status(agent.pid)["Uid"].split()[0] != "0", "it becomes the user _iampass")
        with socket.socket(socket.AF_UNIX) as door:  # greeted: its signals have been set
            door.connect(str(SOCKET))
            assert door.recv(1)
        agent.send_signal(signal.SIGHUP)
        with socket.socket(socket.AF_UNIX) as door:
            door.connect(str(SOCKET))
            assert door.recv(1)
        assert agent.poll() is None


def test_sudo_and_su_are_approved(stage: Stage) -> None:
    with running() as agent:
        found = SOCKET.lstat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 0, 0o600)
        iampass = pwd.getpwnam("_iampass")
        wait_until(lambda: status(agent.pid)["Uid"].split()[0] != "0", "it becomes the user _iampass")
        facts = status(agent.pid)
        assert facts["Uid"].split() == [str(iampass.pw_uid)] * 4
        assert facts["Gid"].split() == [str(iampass.pw_gid)] * 4
        assert facts["Groups"].split() == [str(iampass.pw_gid)]
        assert int(facts["CapEff"], 16) == int(facts["CapPrm"], 16) == 0
        for program in PROGRAMS:
            assert stage.guest(Phone.APPROVES).play(program).got_in
    assert agent.returncode == 0


def test_the_socket_of_an_agent_that_has_ended_is_replaced(stage: Stage) -> None:
    with running() as killed:
        killed.kill()
    assert not listens(SOCKET)
    with running():
        assert stage.guest(Phone.APPROVES).play("sudo").got_in


def test_it_makes_the_folder_of_its_state(stage: Stage) -> None:
    folder = STATE.parent
    folder.rename(folder.with_name("away"))
    try:
        with running():
            wait_until(STATE.exists, "it makes it")
            for path, mode in ((folder, 0o700), (STATE, 0o600)):
                found = path.stat()
                assert (pwd.getpwuid(found.st_uid).pw_name, stat.S_IMODE(found.st_mode)) == ("_iampass", mode)
    finally:
        shutil.rmtree(folder)
        folder.with_name("away").rename(folder)


def test_a_second_agent_does_not_take_the_socket_of_the_first(stage: Stage) -> None:
    with running():
        before = SOCKET.lstat().st_ino
        refused(expected="another agent listens")
        assert SOCKET.lstat().st_ino == before
        assert stage.guest(Phone.APPROVES).play("sudo").got_in


def test_what_is_no_socket_is_not_replaced(stage: Stage, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("x")
    SOCKET.symlink_to(precious)
    try:
        refused(expected="is not a socket")
        assert precious.read_text() == "x"
        assert SOCKET.is_symlink()
    finally:
        SOCKET.unlink()


def test_a_folder_that_others_can_write_is_refused(stage: Stage, trusted_folder: Path) -> None:
    folder = trusted_folder / "open"
    folder.mkdir()
    folder.chmod(0o777)
    refused(str(folder / "pam.sock"), expected=str(folder))
    assert not os.listdir(folder)


def test_only_root_can_start_it_so(stage: Stage) -> None:
    command = ["setpriv", "--reuid=_iampass", "--clear-groups", *AGENT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, "must start as root" in done.stderr) == (1, True)


def test_without_a_socket_it_says_how_to_start_it() -> None:
    done = subprocess.run(AGENT[:1], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1
    assert "systemctl start pam-iampass-agent.socket" in done.stderr
    assert "--socket" in done.stderr

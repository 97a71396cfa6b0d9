"""Set-uid programs and other users at the control socket of the agent, on which root's command asks it."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_iampass import __version__
from pam_iampass.agent.control import ask
from tests.support.agent import CONTROL, RunningAgent
from tests.support.deadline import PATIENCE
from tests.support.installation import Installation

SOURCE = Path(__file__).parents[2] / "support/setuid/deputy.c"
STATUS = json.dumps({"request": "agent status", "arguments": {}})


@pytest.fixture(scope="module")
def agent(machine: Installation) -> Iterator[RunningAgent]:
    with RunningAgent() as running:
        yield running


@pytest.fixture(scope="module")
def deputy(folder: Path) -> Path:
    """A program of root's, set-uid, that any user leads wherever they like."""
    made = folder / "deputy"
    subprocess.run(["cc", "-Wall", "-Werror", "-o", str(made), str(SOURCE)], check=True)
    made.chmod(0o4755)
    return made


def led(deputy: Path, user: str, *words: str) -> str:
    """What the deputy shows to a user who leads it to the socket with a request."""
    account = pwd.getpwnam(user)
    drop = ["setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    command = [*drop, str(deputy), str(CONTROL), STATUS, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done
    return done.stdout


def test_a_set_uid_program_that_is_led_to_the_socket_gets_nothing(agent: RunningAgent, deputy: Path) -> None:
    assert led(deputy, "alice") == ""
    assert json.loads(led(deputy, "root"))["result"]["version"] == __version__  # it speaks the protocol


def test_a_program_whose_real_user_is_root_is_roots(agent: RunningAgent, deputy: Path) -> None:
    assert json.loads(led(deputy, "alice", "become"))["result"]["version"] == __version__


def test_another_user_cannot_connect(agent: RunningAgent, deputy: Path) -> None:
    command = [
        "setpriv",
        f"--reuid={pwd.getpwnam('alice').pw_uid}",
        "--clear-groups",
        "/usr/bin/python3",
        "-c",
    ]
    connect = f"import socket; socket.socket(socket.AF_UNIX).connect({str(CONTROL)!r})"
    done = subprocess.run([*command, connect], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "PermissionError" in done.stderr
    found = os.lstat(CONTROL)
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, 0, 0o600)


def test_the_agent_turns_away_who_is_not_root_even_where_they_may_connect(
    agent: RunningAgent, deputy: Path
) -> None:
    CONTROL.chmod(0o666)
    try:
        copy = deputy.with_name("copy")
        copy.write_bytes(deputy.read_bytes())
        copy.chmod(0o755)
        assert led(copy, "alice") == ""
    finally:
        CONTROL.chmod(0o600)
    assert ask("agent status")["version"] == __version__

"""A clock that is ten minutes off: that of a host, or of the gateway. A library that is preloaded changes it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pam_iampass.agent.wire import GREETING
from pam_iampass.outcome import PamCode
from pam_iampass.setup.join import JOINED
from tests.gateway.test_join_command import OF_JOIN
from tests.support.agent import SOCKET, RunningAgent
from tests.support.command import COMMAND
from tests.support.door import Door
from tests.support.gateway_machine import by, initialised, package, run_gateway, serving
from tests.support.installation import ETC, install, write
from tests.support.postgres import Postgres
from tests.support.sandbox import Sandbox

pytestmark = pytest.mark.long

URL = "https://localhost:8443"
RIGHT: tuple[str, ...] = ()


BOTH = pytest.mark.parametrize(("seconds", "side"), [("+600", "ahead of"), ("-600", "behind")])


@pytest.fixture(scope="module")
def machine() -> Iterator[tuple[Postgres, Sandbox]]:
    """A gateway that does not serve yet, and one person with a phone."""
    install()
    with initialised() as (server, sandbox):
        sandbox.auto, sandbox.delay = "approve", 0.05
        shown = run_gateway("enroll", "root", "--no-wait")
        [link] = re.findall(r"https://\S+", shown)
        sandbox.open_link(link)
        yield server, sandbox


@pytest.fixture
def host(machine: tuple[Postgres, Sandbox]) -> tuple[Postgres, Sandbox]:
    """The same, and this machine has not joined."""
    with psycopg.connect(machine[0].conninfo("iampass")) as connection:
        for table in ("host", "invite", "record", "nonce", "session"):
            connection.execute(f"DELETE FROM {table}".encode())
    has_not_joined()
    return machine


def has_not_joined() -> None:
    """This machine is no host any more."""
    for file in OF_JOIN:
        file.unlink(missing_ok=True)
    write(ETC / "iampass.yaml", "throttle: {spacing: 0s}\n")


def run_at(clock: tuple[str, ...], *words: str, cwd: Path = Path("/")) -> tuple[int, str]:
    """Run a command at this time; its status, and what it has printed."""
    done = subprocess.run([*clock, *words], capture_output=True, text=True, check=False, cwd=cwd)
    return done.returncode, done.stdout + done.stderr


def join_at(clock: tuple[str, ...]) -> tuple[int, str]:
    word = json.loads(run_gateway("host", "invite", "--json"))["invite"]
    return run_at(clock, COMMAND, "join", "--name", "web", URL, word)


def log_in() -> tuple[int | None, list[str]]:
    """root's login, of the installed agent; the PAM code, and what was shown as errors."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(60)
    connection.connect(str(SOCKET))
    assert connection.recv(len(GREETING.encode())) == GREETING.encode()
    told = Door(connection, user="root", service="sshd", uid="0").finish()
    return told.code, told.errors


def decisions(server: Postgres) -> list[dict[str, Any]]:
    with psycopg.connect(server.conninfo("iampass")) as connection:
        rows = connection.execute("SELECT fields FROM record WHERE kind = 'decision' ORDER BY id").fetchall()
    return [row[0] for row in rows]


@BOTH
def test_a_host_whose_clock_is_off_does_not_join_and_is_told_so(
    host: tuple[Postgres, Sandbox], seconds: str, side: str
) -> None:
    with serving():
        status, shown = join_at(by(seconds))
        assert status == 1
        sign = "-" if side == "behind" else "[+]"
        assert re.search(f"timestamp is {sign}(599|600|601) s off", " ".join(shown.split())), shown
        assert "timedatectl" in shown
        assert not JOINED.exists()
        assert json.loads(run_gateway("host", "list", "--json"))["hosts"] == []
        assert join_at(RIGHT)[0] == 0


@BOTH
def test_a_host_whose_clock_is_off_asks_nobody_until_it_is_set(
    host: tuple[Postgres, Sandbox], seconds: str, side: str
) -> None:
    server, sandbox = host
    asked = len(sandbox.sessions)
    with serving():
        assert join_at(RIGHT)[0] == 0
        with RunningAgent(*by(seconds)) as agent:
            agent.wake()
            code, errors = log_in()
        assert code == PamCode.ABORT
        assert errors == ["The gateway takes no requests from this machine. Please ask your administrator."]
        assert [(each["outcome"], each["reason"]) for each in decisions(server)] == [
            ("misconfigured", "CLOCK_OFF")
        ]
        assert len(sandbox.sessions) == asked
        _, shown = run_at(by(seconds), COMMAND, "doctor", "--json")
        found = {each["id"]: each["title"] for each in json.loads(shown)["findings"]}
        assert side in found["clock-off"]
        with RunningAgent() as agent:
            agent.wake()
            assert log_in()[0] == PamCode.SUCCESS


@BOTH
def test_a_gateway_whose_clock_is_off_asks_nobody_and_doctor_says_so(
    host: tuple[Postgres, Sandbox], seconds: str, side: str
) -> None:
    server, sandbox = host
    asked = len(sandbox.sessions)
    with serving():
        assert join_at(RIGHT)[0] == 0
    with serving(clock=by(seconds)):
        with RunningAgent() as agent:
            agent.wake()
            assert log_in()[0] == PamCode.ABORT
        assert [(each["outcome"], each["reason"]) for each in decisions(server)] == [
            ("misconfigured", "CLOCK_OFF")
        ]
        assert len(sandbox.sessions) == asked
        has_not_joined()
        status, shown = join_at(RIGHT)
        assert (status, "or of the gateway" in shown) == (1, True), shown
        command = ("/usr/bin/python3", "-m", "pam_iampass.gateway.cli", "doctor", "--json")
        _, shown = run_at(by(seconds), *command, cwd=package())
        found = {each["id"]: each["title"] for each in json.loads(shown)["findings"]}
        assert f"s {side} IAMPASS's" in found["clock-off"]
        assert "database-clock" in found  # PostgreSQL has the right time here

"""What check finds by asking the agent."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from pam_iampass import __version__
from pam_iampass.agent.control import ControlServer
from pam_iampass.audit.journal import Journal
from pam_iampass.check.agent import AgentCheck
from tests.support.setting import Records

WELL = {"version": __version__, "uptime": 90.4, "pending": 0, "problem": ""}


@pytest.fixture
def folder(trusted_folder: Path) -> Path:
    """Where the agent has its sockets; the door's closes each connection."""
    listener = listening(trusted_folder / "pam.sock")

    def close_each() -> None:
        while True:
            listener.accept()[0].close()

    threading.Thread(target=close_each, daemon=True).start()
    return trusted_folder


def listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(8)
    return listener


def found(folder: Path) -> list[tuple[str, str]]:
    check = AgentCheck(socket_path=folder / "pam.sock", systemd=folder / "no-systemd")
    return [(problem.kind, problem.evidence) for problem in check.findings()]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, []),
        ({"version": "0.1"}, [("agent-outdated", "pam-iampass-agent 0.1 has been running for 90 s")]),
        ({"problem": "state.db: is damaged; move it away"}, [("state-unusable", "state.db: is damaged")]),
    ],
    ids=["well", "version", "state"],
)
def test_the_agent_says_which_version_it_is_and_what_is_wrong_with_its_state(
    folder: Path, status: dict[str, object], expected: list[tuple[str, str]]
) -> None:
    handlers = {"agent status": lambda _request: {**WELL, **status}}
    server = ControlServer(listening(folder / "control.sock"), handlers, Journal(Records()))
    server.start()
    assert found(folder) == expected
    server.stop()


def test_a_command_that_cannot_ask_the_agent_is_found(folder: Path) -> None:
    [(kind, evidence)] = found(folder)
    assert (kind, evidence) == ("agent-off", f"{folder}/control.sock: No such file or directory")

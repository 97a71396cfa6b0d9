"""The installed agent reports to a gateway, which is a process of its own, what needed no phone."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from pam_iampass.outcome import PamCode
from tests.gateway.test_lockouts_on_a_host import HOST, host
from tests.support.agent import SOCKET, RunningAgent
from tests.support.door import Door
from tests.support.gateway_machine import initialised, run_gateway, serving
from tests.support.installation import ETC, install
from tests.support.world import wait_until

__all__ = ["host"]

GROUPS = "groups:\n  web: {people: [staff]}\n"


@pytest.fixture(scope="module")
def agent() -> Iterator[RunningAgent]:
    install()
    with initialised(GROUPS), serving(), RunningAgent() as found:
        yield found


def log_in() -> None:
    """A login of root, who is exempt."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(SOCKET))
    connection.recv(9)  # the greeting
    assert Door(connection, user="root", service="test", uid="0").finish().code == PamCode.IGNORE


def reported() -> list[dict[str, Any]]:
    lines = run_gateway("log", "--json", "--let-in").splitlines()
    return [json.loads(line) for line in lines]


def test_a_login_is_in_the_gateways_log_also_if_the_agent_could_not_tell_it_before(
    agent: RunningAgent, host: str
) -> None:
    with (ETC / "iampass.yaml").open("a") as file:
        file.write("exempt: {users: [root]}\n")
    log_in()
    wait_until(reported, "it is not reported")
    run_gateway("host", "suspend", HOST)
    log_in()
    agent.stop()
    run_gateway("host", "resume", HOST)
    agent.__enter__()
    agent.wake()
    wait_until(lambda: len(reported()) == 2, "what the agent could not tell is lost")
    for found in reported():
        assert (found["kind"], found["host"], found["user"]) == ("report", HOST, "root")
        assert (found["outcome"], found["verified"]) == ("exempt", False)
    assert len({found["login"] for found in reported()}) == 2

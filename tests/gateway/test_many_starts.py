"""A run of a program over many hosts: their starts come within a second, and one bastion confirms all connections."""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.gateway.test_joined_host import host
from tests.gateway.test_kept_at_gateway import agent
from tests.gateway.test_presence import at, gateway, make
from tests.support.gateway import RunningGateway, new_request_id
from tests.support.sandbox import Sandbox
from tests.support.sessions import Keeping
from tests.support.setting import ME
from tests.support.world import wait_until
from tests.unit.session.test_presence import SESSION, Machine, here, is_removed

__all__ = ["agent", "gateway", "here", "host", "make"]

HOSTS = 50
OPENS = f"""\
import socket, sys
opened = [
    socket.create_connection((sys.argv[1], int(sys.argv[2])), source_address=(sys.argv[3], 0)) for _ in range({HOSTS})
]
for client in opened:
    print(*client.getsockname()[:2], *client.getpeername()[:2], flush=True)
sys.stdin.read()
"""


@pytest.fixture
def no_group_is_left() -> Iterator[None]:
    """The control groups of this account's sessions that are new are removed, once nothing runs there."""
    groups = Path("/sys/fs/cgroup")
    before = {*groups.glob("**/user.slice/user-*.slice")}
    yield
    for new in {*groups.glob("**/user.slice/user-*.slice")} - before:
        for folder, _folders, _files in os.walk(new, topdown=False):
            wait_until(partial(is_removed, folder), f"{folder} has processes")


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.parametrize("here", [("203.0.113.2", "203.0.113.3")], indirect=True)
def test_fifty_starts_within_a_second_ring_no_phone_for_being_late(
    no_group_is_left: None, here: Machine, gateway: RunningGateway, agent: Keeping, sandbox: Sandbox
) -> None:
    kept = agent.login().kept
    assert kept is not None
    login = agent.open(kept, xdg_session="c7")
    uid = os.getuid()
    address, port = here.listener.getsockname()[:2]
    program = ("/usr/bin/python3", "-I", "-S", "-c", OPENS, address, str(port), here.address)
    process = here.run(SESSION, uid, *program)
    group = here.groups / SESSION.format(uid).lstrip("/")
    (group / "cgroup.procs").write_text(str(login.pid))
    assert process.stdout is not None
    connections = [process.stdout.readline().strip() for _ in range(HOSTS)]
    wait_until(lambda: len(gateway.gateway.held) > 0, "the bastion waits for no question")
    calls = [_prepared(gateway, number, each) for number, each in enumerate(connections)]
    rung = [call.kind for call in sandbox.calls].count("start")

    began = time.monotonic()
    for connection, path, headers in calls:
        connection.request("POST", path, b"{}", headers)
    assert time.monotonic() - began < 1
    answers = [_answer(connection) for connection, _, _ in calls]

    assert [each["session_status"] for each in answers] == ["active"] * HOSTS
    assert all("covered" in each for each in answers)
    assert [call.kind for call in sandbox.calls].count("start") == rung == 1


def _prepared(
    gateway: RunningGateway, number: int, connection: str
) -> tuple[http.client.HTTPSConnection, str, dict[str, str]]:
    """A signed start of a host of its own, with a connection to the gateway that is open."""
    id = f"h-{number:012x}"
    gateway.add_host(id, group="further")
    caller = at(gateway, id)
    query = urlencode({"request_id": new_request_id(), "connection": connection})
    path = f"/authentication/authenticate_user/{id}/{ME}?{query}"
    opened = caller.connect()
    opened.connect()
    return opened, path, {**caller.application(path), "Content-Type": "application/json"}


def _answer(connection: http.client.HTTPSConnection) -> Any:
    response = connection.getresponse()
    content = response.read()
    connection.close()
    assert response.status == 202, content
    return json.loads(content)["authentication_status"]

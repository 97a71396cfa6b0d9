"""What a login on a joined host costs, and how it ends, while a gateway holds its poll: real gateways and a sandbox."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pam_iampass.agent.context import CONNECTIONS
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.calls import service
from pam_iampass.outcome import PamCode
from pam_iampass.server.http import Dispatcher
from pam_iampass.server.messages import IncomingRequest, Reply
from tests.gateway.test_joined_host import gateway, host, join, outcome
from tests.support.deadline import NOBODY_ANSWERED, TIMEOUT
from tests.support.door import Door
from tests.support.gateway import RunningGateway, settings_for
from tests.support.sandbox import Sandbox
from tests.support.setting import ME, Setting
from tests.support.world import wait_until

__all__ = ["gateway", "host"]

LONG = 240
"""Seconds: longer than a test waits."""


def as_sshd_names_it(client: socket.socket) -> dict[str, Any]:
    own, server = client.getsockname(), client.getpeername()
    return {"ssh_auth_info": "", "ssh_connection": f"{own[0]} {own[1]} {server[0]} {server[1]}"}


class Counting(Dispatcher[Gateway]):
    """Remembers the calls of hosts."""

    calls: list[str]

    async def reply(self, request: IncomingRequest) -> Reply:
        self.calls.append(request.path.rpartition("/")[2] if "session" in request.path else "start")
        return await super().reply(request)


@pytest.fixture
def counted(conninfo: str, sandbox: Sandbox, tmp_path: Path) -> Iterator[RunningGateway]:
    """A gateway whose calls are counted."""
    running = RunningGateway(settings_for(conninfo, sandbox, tmp_path))
    running.dispatcher = type("Counted", (Counting,), {"calls": []})
    with running:
        running.populate()
        running.add_person(ME, "token-at-the-gateway")
        yield running


def calls(gateway: RunningGateway) -> list[str]:
    found: list[str] = gateway.dispatcher.calls  # type: ignore[attr-defined]
    return found


def test_a_login_costs_a_host_a_start_a_poll_and_an_end(host: Setting, counted: RunningGateway) -> None:
    host.sandbox.delay = 3.0
    join(host, counted)
    assert host.login().code == PamCode.SUCCESS
    host.wait_for_ends()
    assert calls(counted) == ["start", "status", "logout"]


def test_nobody_answers_and_the_last_poll_is_in_time(host: Setting, counted: RunningGateway) -> None:
    host.sandbox.auto = "ignore"
    join(host, counted, timeout=TIMEOUT)
    assert host.login().errors == [NOBODY_ANSWERED]
    host.wait_for_ends()
    first, *polls, last = calls(counted)
    assert (first, last) == ("start", "logout")
    # How many there are depends on where a machine stalls: the test above shows that they are held.
    assert set(polls) == {"status"}


def test_while_many_logins_wait_they_take_no_connection_each(host: Setting, counted: RunningGateway) -> None:
    host.pending = CONNECTIONS + 1
    host.sandbox.delay = 3.0
    join(host, counted)
    assert host.login().code == PamCode.SUCCESS
    host.wait_for_ends()
    assert calls(counted).count("status") > 2


@contextlib.contextmanager
def waiting(host: Setting, gateway: RunningGateway, **items: Any) -> Iterator[Door]:
    """A login whose poll the gateway holds, and holds for longer than a test waits."""
    host.sandbox.auto = "ignore"
    host.sandbox.request_timeout = LONG
    join(host, gateway, timeout=f"{LONG}s", prompt="never")
    with pytest.MonkeyPatch.context() as changed:
        changed.setattr(service, "LOGIN_SECONDS", LONG)
        changed.setattr(service, "LONGEST_SECONDS", LONG)
        door = host.door(**items)
        wait_until(lambda: len(gateway.gateway.held) == 1, "no poll is held")
        yield door
    (session,) = host.sandbox.sessions
    host.sandbox.wait_for_end(session)


def test_an_application_that_dies_while_its_poll_is_held_ends_the_request(
    host: Setting, gateway: RunningGateway
) -> None:
    with waiting(host, gateway) as door:
        door.die()
        door.wait()


def test_a_client_that_hangs_up_while_its_poll_is_held_ends_the_request(
    host: Setting, gateway: RunningGateway
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0],
        waiting(host, gateway, **as_sshd_names_it(client)) as door,
    ):
        client.close()
        assert door.finish().code == PamCode.MAXTRIES
    assert outcome(host)[:2] == ("cancelled", "denied")

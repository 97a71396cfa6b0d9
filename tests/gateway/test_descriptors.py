"""A gateway that has no descriptors left (prlimit around its process): an outage for nobody, and over when it is."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from pam_iampass.client import AuthenticationAPI, Deadline, Gateways, IampassError, Unavailable
from pam_iampass.client.status import AuthenticationMethod
from pam_iampass.gateway.base.places import ACCOUNT
from tests.sandbox.signer import signed
from tests.support.gateway import HOST, HOST_SECRET
from tests.support.gateway_machine import ETC, serving, with_people
from tests.support.postgres import Postgres
from tests.support.sandbox import Sandbox
from tests.support.world import PATIENCE

pytestmark = pytest.mark.long

URL = "https://localhost:8443"
SECONDS = 6.0
"""For a login."""


@pytest.fixture(scope="module")
def machine() -> Iterator[tuple[Postgres, Sandbox]]:
    """The database of a gateway with a host and two people who approve, and IAMPASS."""
    limits = "limits: {requests_per_hour: 1000}\nmonitoring: 127.0.0.1:8444\n"
    with with_people(limits, "alice", "bob") as both:
        yield both


@pytest.fixture
def sandbox(machine: tuple[Postgres, Sandbox]) -> Sandbox:
    return machine[1]


@dataclass
class Service:
    """The process of the gateway."""

    pid: int
    log: Path

    def leave(self, free: int) -> None:
        """Leave it this number of descriptors more than it uses; -1: none, also when others are closed."""
        used = {int(each) for each in os.listdir(f"/proc/{self.pid}/fd")}
        first = [number for number in range(4096) if number not in used]
        self._limit(3 if free < 0 else first[free])

    def give_back(self) -> None:
        """It may have many again."""
        self._limit(1000)

    def _limit(self, most: int) -> None:
        command = ["prlimit", f"--pid={self.pid}", f"--nofile={most}:"]
        # As its account: root of a container may not.
        subprocess.run(command, check=True, user=ACCOUNT, group=ACCOUNT, extra_groups=[])

    def cpu(self) -> float:
        """The seconds of the processor that it has used."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def service(machine: object) -> Iterator[Service]:
    with tempfile.NamedTemporaryFile("w") as log, serving(log.fileno()) as pid:
        yield Service(pid, Path(log.name))


def log_in() -> str:
    """A login, as a host makes it; `outage` is what `unavailable: ignore` lets in."""
    deadline = Deadline.after(SECONDS)
    gateways = Gateways([URL], ETC / "ca.pem")
    try:
        api = AuthenticationAPI(HOST, HOST_SECRET, transport=gateways)
        parameters = {"request_id": secrets.token_urlsafe(16)}
        device = [AuthenticationMethod.device]
        session = api.authenticate_user("alice", device, 60, parameters=parameters, deadline=deadline)
        if session.failure_reason is not None:
            return session.failure_reason
        while session.in_progress and not deadline.expired:
            session.get_status(deadline=deadline, attempts=1)
        session.destroy(deadline=Deadline.after(5.0))
        return str(session.session_status.name)
    except IampassError as error:
        return "outage" if isinstance(error, Unavailable) and error.outage else type(error).__name__
    finally:
        gateways.close()


def is_over(service: Service) -> None:
    """It goes on without an administrator, soon."""
    service.give_back()
    until = time.monotonic() + PATIENCE
    while (outcome := log_in()) != "active":
        assert time.monotonic() < until, outcome


@pytest.mark.parametrize("free", [0, 1, 4])
def test_without_descriptors_a_gateway_makes_no_outage(service: Service, sandbox: Sandbox, free: int) -> None:
    service.leave(free)
    before = len(sandbox.sessions)
    outcomes = [log_in() for _ in range(2)]
    assert "outage" not in outcomes
    assert len(sandbox.sessions) - before <= len(outcomes)
    is_over(service)


@pytest.mark.parametrize("which", ["IAMPASS_AWAY", "DATABASE_AWAY"])
def test_a_connection_for_which_there_is_no_descriptor_does_not_say_that_nothing_was_sent(
    service: Service, machine: tuple[Postgres, Sandbox], which: str
) -> None:
    server, sandbox = machine
    before = len(sandbox.sessions)
    context = ssl.create_default_context(cafile=str(ETC / "ca.pem"))
    connection = http.client.HTTPSConnection("localhost", 8443, timeout=PATIENCE, context=context)
    connection.request("GET", "/fleet/ca")
    assert connection.getresponse().read()
    service.leave(-1)
    if which == "DATABASE_AWAY":
        with psycopg.connect(server.conninfo("iampass"), autocommit=True) as other:
            theirs = b"FROM pg_stat_activity WHERE application_name = 'pam-iampass-gateway'"
            other.execute(b"SELECT pg_terminate_backend(pid, 1000) " + theirs)
    query = f"?request_id={secrets.token_urlsafe(16)}"
    target = f"/authentication/authenticate_user/{HOST}/bob{query}"
    headers = {**signed(HOST, HOST_SECRET, URL + target), "Content-Type": "application/json"}
    connection.request("POST", target, b"{}", headers)
    answer = json.loads(connection.getresponse().read())["authentication_status"]
    connection.close()
    assert answer["authenticated"] is False
    assert answer["reason"] == which
    assert "nothing_sent" not in answer
    assert len(sandbox.sessions) == before
    is_over(service)


def test_without_descriptors_it_neither_spins_nor_fills_the_journal(service: Service) -> None:
    is_over(service)
    service.leave(2)
    with ExitStack() as held:
        for port in (8443, 8444):
            for _ in range(50):
                held.enter_context(socket.create_connection(("localhost", port), PATIENCE))
        used, lines = service.cpu(), len(service.lines())
        time.sleep(5.0)
        assert service.cpu() - used < 1.0
        assert len(service.lines()) - lines < 20, service.lines()[lines:]
    is_over(service)

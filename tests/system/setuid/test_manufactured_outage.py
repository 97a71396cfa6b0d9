"""Users of sudo who make an outage for themselves where outages are tolerated, and real outages beside them."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.installation import ETC, Installation
from tests.support.name_service import RESOLVER, SIX, answering
from tests.support.network import network_without_default_route
from tests.support.scripted_server import answer, scripted_server
from tests.support.setuid.people import GROUP_ID
from tests.support.setuid.stage import Guest, Stage

PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
PORTS = (20000, 20019)
#: Nothing in the isolated root leads there (RFC 5737).
NOWHERE = "198.51.100.1"
TAKE_ALL = f"""
import socket
taken = []
for port in range({PORTS[0]}, {PORTS[1]} + 1):
    taken.append(socket.socket(socket.AF_INET, socket.KIND))
    taken[-1].bind(("", port))
print("taken", flush=True)
input()
"""
FLOOD = """
import socket
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(1000):
    sender.sendto(bytes(1000), ("127.0.0.53", 53))
"""


@pytest.fixture
def guest(stage: Stage, sudo_and_su: Installation) -> Iterator[Guest]:
    """A user of sudo on a machine that tolerates outages."""
    sudo_and_su.change(unavailable="ignore")
    yield stage.guest()
    sudo_and_su.change()


@contextmanager
def all_ports_taken(guest: Guest, kind: str) -> Iterator[None]:
    """The user holds every ephemeral port, of which there are few, with `SOCK_STREAM` or `SOCK_DGRAM` sockets."""
    before = PORT_RANGE.read_text()
    PORT_RANGE.write_text(f"{PORTS[0]} {PORTS[1]}\n")
    program = of_user(guest, TAKE_ALL.replace("KIND", kind))
    try:
        with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as attacker:
            assert attacker.stdout is not None
            assert attacker.stdout.readline() == b"taken\n"
            try:
                yield
            finally:
                attacker.kill()
    finally:
        PORT_RANGE.write_text(before)


def of_user(guest: Guest, program: str) -> list[str]:
    """A command that runs a program as the user."""
    drop = ["setpriv", f"--reuid={guest.person.uid}", f"--regid={GROUP_ID}", "--clear-groups"]
    return [*drop, "/usr/bin/python3", "-I", "-c", program]


@contextmanager
def resolver_of_this_machine() -> Iterator[None]:
    """A resolver that is busy for a while, as with a flood of questions."""
    before = RESOLVER.read_text()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        resolver.bind(("127.0.0.53", 53))
        RESOLVER.write_text("nameserver 127.0.0.53\nsearch .\noptions timeout:1 attempts:1\n")
        try:
            yield
        finally:
            RESOLVER.write_text(before)


def is_denied_unasked(guest: Guest) -> str:
    """Run sudo, which must fail without a request on the phone; the audit record."""
    seen = guest.play("sudo")
    assert not seen.got_in, seen
    assert not guest.was_asked()
    return guest.record()


def test_who_takes_all_tcp_ports_makes_no_outage(guest: Guest) -> None:
    with all_ports_taken(guest, "SOCK_STREAM"):
        record = is_denied_unasked(guest)
    assert record.startswith("outcome=misconfigured result=denied ")
    assert "this machine cannot connect: Cannot assign requested address" in record


@pytest.mark.parametrize("routed", [True, False], ids=["with a name server", "without a route to one"])
def test_who_takes_all_udp_ports_makes_no_outage(
    guest: Guest, sudo_and_su: Installation, routed: bool
) -> None:
    sudo_and_su.change(unavailable="ignore", server=f"https://{SIX}")
    with answering():
        if not routed:
            RESOLVER.write_text(f"nameserver {NOWHERE}\n")
        with all_ports_taken(guest, "SOCK_DGRAM"):
            record = is_denied_unasked(guest)
    assert record.startswith("outcome=misconfigured result=denied ")
    assert "this machine cannot connect: Resource temporarily unavailable" in record


def test_who_floods_the_resolver_of_this_machine_makes_no_outage_where_there_is_no_default_route(
    guest: Guest, sudo_and_su: Installation
) -> None:
    sudo_and_su.change(unavailable="ignore", server="https://iampass.example")
    with network_without_default_route(), resolver_of_this_machine():
        subprocess.run(of_user(guest, FLOOD), check=True)
        record = is_denied_unasked(guest)
    assert record.startswith("outcome=unavailable result=denied ")
    assert "looking up iampass.example failed" in record


@pytest.mark.parametrize("status", [429, 504])
def test_a_request_that_a_gateway_gave_up_may_ring_and_is_no_outage(
    guest: Guest, sudo_and_su: Installation, status: int
) -> None:
    with scripted_server(answer(status)) as server:
        authority = ETC / "gateway.pem"
        shutil.copyfile(server.ca_file, authority)
        sudo_and_su.change(unavailable="ignore", server=server.url, ca_file=str(authority))
        assert is_denied_unasked(guest).startswith("outcome=unavailable result=denied ")
        assert len(server.requests) == 1


@pytest.mark.parametrize("name_server", [NOWHERE, "127.0.0.53"])
def test_a_machine_without_a_network_lets_its_users_pass(
    guest: Guest, sudo_and_su: Installation, name_server: str
) -> None:
    before = RESOLVER.read_text()
    RESOLVER.write_text(f"nameserver {name_server}\n")
    try:
        sudo_and_su.change(unavailable="ignore", server="https://iampass.example")
        assert guest.play("sudo").got_in
    finally:
        RESOLVER.write_text(before)
    assert guest.record().startswith("outcome=unavailable result=ignored ")


def test_a_server_without_a_route_lets_users_pass(guest: Guest, sudo_and_su: Installation) -> None:
    sudo_and_su.change(unavailable="ignore", server=f"https://{NOWHERE}")
    assert guest.play("sudo").got_in
    assert guest.record().startswith("outcome=unavailable result=ignored ")

"""Users who make an outage where outages are tolerated, and real outages beside them.

Logins on the console are root's, like those of sshd: there a real outage is tolerated. In sudo none is.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.black_hole import all_ports_taken
from tests.support.in_time import BUSY
from tests.support.installation import ETC, Installation
from tests.support.name_service import RESOLVER, SILENT, SIX, answering
from tests.support.scripted_server import answer, scripted_server
from tests.support.setuid.stage import Guest, Stage

#: Nothing in the isolated root leads there (RFC 5737).
NOWHERE = "198.51.100.1"
CONSOLE = Path("/etc/pam.d/login")


@pytest.fixture
def guest(stage: Stage, sudo_and_su: Installation) -> Iterator[Guest]:
    """A user of a machine that tolerates outages, on which nothing but the phone is asked for on the console."""
    sudo_and_su.change(unavailable="ignore")
    before = CONSOLE.read_bytes()
    CONSOLE.write_text("auth required pam_iampass.so\nauth required pam_permit.so\n")
    yield stage.guest()
    CONSOLE.write_bytes(before)
    sudo_and_su.change()


def enters_on_the_console(guest: Guest) -> bool:
    """Whether root's program lets the user in."""
    command = ["pamtester", "login", guest.name, "authenticate"]
    return subprocess.run(command, check=False, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0


def is_denied_unasked(guest: Guest) -> list[str]:
    """Run sudo, and log in on the console. Both must fail without a request on the phone. The audit records."""
    seen = guest.play("sudo")
    assert not seen.got_in, seen
    assert not enters_on_the_console(guest)
    assert not guest.was_asked()
    return guest.records(2)


def test_a_user_who_takes_all_tcp_ports_makes_no_outage(guest: Guest) -> None:
    with all_ports_taken(guest.person.uid, "SOCK_STREAM"):
        records = is_denied_unasked(guest)
    for record in records:
        assert record.startswith("outcome=misconfigured result=denied ")
        assert "this machine cannot connect: Cannot assign requested address" in record


def test_a_user_who_takes_all_udp_ports_makes_no_outage(guest: Guest, sudo_and_su: Installation) -> None:
    sudo_and_su.change(unavailable="ignore", server=f"https://{SIX}")
    with answering(), all_ports_taken(guest.person.uid, "SOCK_DGRAM"):
        records = is_denied_unasked(guest)
    for record in records:
        assert record.startswith("outcome=misconfigured result=denied ")
        assert "this machine cannot connect: Address already in use" in record


@pytest.mark.parametrize("status", [429, 504])
def test_a_request_that_a_gateway_gave_up_may_ring_and_is_no_outage(
    guest: Guest, sudo_and_su: Installation, status: int
) -> None:
    with scripted_server(answer(status), answer(status)) as server:
        authority = ETC / "gateway.pem"
        shutil.copyfile(server.ca_file, authority)
        sudo_and_su.change(unavailable="ignore", server=server.url, ca_file=str(authority))
        for record in is_denied_unasked(guest):
            assert record.startswith("outcome=unavailable result=denied ")
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("server", "name_server"),
    [("https://iampass.example", NOWHERE), (f"https://{NOWHERE}", None), ("https://127.0.0.1:1", None)],
    ids=["no name server", "no route", "refused"],
)
def test_a_real_outage_lets_users_in_on_the_console_and_not_into_sudo(
    guest: Guest, sudo_and_su: Installation, server: str, name_server: str | None
) -> None:
    before = RESOLVER.read_text()
    if name_server:
        RESOLVER.write_text(f"nameserver {name_server}\noptions timeout:1 attempts:1\n")
    try:
        sudo_and_su.change(unavailable="ignore", server=server)
        assert enters_on_the_console(guest)
        assert not guest.play("sudo").got_in
    finally:
        RESOLVER.write_text(before)
    assert [record.split(" user=")[0] for record in guest.records(2)] == [
        "outcome=unavailable result=ignored",
        "outcome=unavailable result=denied",
    ]


def test_a_name_server_that_keeps_silent_costs_seconds(guest: Guest, sudo_and_su: Installation) -> None:
    """Not the time that resolv.conf allows, which is 28 s here."""
    sudo_and_su.change(unavailable="ignore", server=f"https://{SILENT}")
    with answering():
        began = time.monotonic()
        assert enters_on_the_console(guest)
        assert time.monotonic() - began < 4.0 + BUSY

"""What people and administrators do in a fleet of two gateways, a PostgreSQL pair, a bastion and a host."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.fleet.fleet import GATEWAYS, HOSTS, Fleet, Login
from tests.packages.administrator import NAMES, built, newer
from tests.packages.people import got_in

#: Hosts are told within two seconds, and a login ends five seconds after a line on its terminal. Less than 30 seconds,
#: after which hosts ask without being told.
AT_ONCE = 20.0


@pytest.mark.parametrize("host", HOSTS)
def test_people_log_in(fleet: Fleet, host: str) -> None:
    assert answered(fleet, host)
    assert not answered(fleet, host, "deny")


def answered(fleet: Fleet, host: str, verb: str = "approve") -> bool:
    """Whether alice gets in, once the only request was answered."""
    before = fleet.rings()
    login = fleet.ssh("alice", host)
    getattr(fleet.iampass, verb)(fleet.ringing("alice", before).number)
    return got_in(login, "alice")


def test_an_administrator_ends_all_logins_of_a_person_at_once(fleet: Fleet) -> None:
    logins = [Login(fleet, "alice", host) for host in HOSTS]
    other = Login(fleet, "bob", HOSTS[0])
    fleet.gateway("session", "end", "alice", at=GATEWAYS[1])
    ended = time.monotonic()
    for login in logins:
        login.ends()
    print(f"ended after {time.monotonic() - ended:.1f} s")
    assert time.monotonic() - ended < AT_ONCE
    assert other.lives()


def test_what_a_phone_has_approved_ends_when_it_ends_there(fleet: Fleet) -> None:
    logins = [Login(fleet, "alice", host) for host in HOSTS]
    fleet.iampass.walk_away(logins[0].number)
    logins[0].ends()
    assert logins[1].lives()
    fleet.iampass.close(logins[1].number)
    logins[1].ends()


def test_a_lost_phone_ends_what_it_has_approved(fleet: Fleet) -> None:
    logins = [Login(fleet, "alice", host) for host in HOSTS]
    fleet.gateway("phone", "lost", "alice", "--yes")
    lost = time.monotonic()
    for login in logins:
        login.ends()
    assert time.monotonic() - lost < AT_ONCE
    before = fleet.rings()
    assert not got_in(fleet.ssh("alice", HOSTS[1]), "alice")
    assert fleet.rings() == before
    fleet.register("alice", fleet.gateway("enroll", "alice", "--no-wait"))
    fleet.forget()
    assert answered(fleet, HOSTS[1])


def test_one_gateway_after_the_other_is_upgraded_while_logins_wait(fleet: Fleet, tmp_path: Path) -> None:
    kept = Login(fleet, "bob", HOSTS[0])
    packages = [newer(each, tmp_path, "9") for each in built((*NAMES[:1], "pam-iampass-gateway"))]
    for name in GATEWAYS:
        gateway = fleet.machines[name]
        for package in packages:
            gateway.copy_in(package, "/root/packages")
        before = fleet.rings()
        login = fleet.ssh("alice", HOSTS[1])
        request = fleet.ringing("alice", before)
        gateway.shell("cd /root/packages && DEBIAN_FRONTEND=noninteractive apt-get install -y ./*_9_*.deb")
        fleet.iampass.approve(request.number)
        assert got_in(login, "alice")
        assert fleet.rings() == before + 1
        fleet.wait_until_ready(name)
        assert gateway.run("dpkg-query", "-Wf", "${Version}", "pam-iampass-gateway").stdout == "9"
    assert kept.lives()

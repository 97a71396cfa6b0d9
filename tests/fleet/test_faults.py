"""What becomes of logins in a fleet whose machines fail. Each test leaves the fleet whole."""

from __future__ import annotations

from typing import Callable

import pytest

from tests.fleet import pair
from tests.fleet.fleet import GATEWAYS, HOSTS, UNIT, Fleet, Login
from tests.packages.booted import Booted
from tests.packages.kept_logins import sessions, wait_for
from tests.packages.people import got_in

BASTION, HOST = HOSTS


def killed(gateway: Booted) -> None:
    gateway.run("systemctl", "kill", "--signal=KILL", UNIT)


def stopped(gateway: Booted) -> None:
    gateway.run("systemctl", "stop", UNIT)


def cut_off(gateway: Booted) -> None:
    gateway.plug(connected=False)


@pytest.mark.parametrize("fails", [killed, stopped, cut_off, Booted.lose_power])
def test_a_login_that_waits_goes_on_when_its_gateway_fails(
    fleet: Fleet, fails: Callable[[Booted], None]
) -> None:
    kept = Login(fleet, "bob", BASTION)
    before = fleet.rings()
    login = fleet.ssh("alice", HOST)
    request = fleet.ringing("alice", before)
    gateway = fleet.machines[fleet.gateway_of(HOST)]
    fails(gateway)
    try:
        fleet.iampass.approve(request.number)
        assert got_in(login, "alice")
        assert fleet.rings() == before + 1
        assert kept.lives()
        begun = Login(fleet, "alice", BASTION)
        fleet.gateway("session", "end", "alice", at=fleet.peer(gateway).name)
        begun.ends()
    finally:
        if fails is Booted.lose_power:
            gateway.boot()
        gateway.plug(connected=True)
        gateway.run("systemctl", "start", UNIT)
        fleet.wait_until_ready(gateway.name)
    assert kept.lives()


def test_logins_go_on_at_the_standby_when_the_primary_loses_its_power(fleet: Fleet) -> None:
    """Also when the old primary is back, and takes itself for one."""
    kept = Login(fleet, "bob", BASTION)
    before = fleet.rings()
    login = fleet.ssh("alice", HOST)
    request = fleet.ringing("alice", before)
    lost = fleet.primary
    standby = fleet.peer(lost)
    lost.lose_power()
    try:
        pair.promote(standby)
        pair.go_on_alone(standby)
        fleet.iampass.approve(request.number)
        assert got_in(login, "alice")
        assert fleet.rings() == before + 1
    finally:
        lost.boot()
    try:
        assert pair.is_primary(lost)
        fleet.machines[GATEWAYS[0]].run("systemctl", "restart", UNIT)
        fleet.wait_until_ready()
        began = Login(fleet, "alice", HOST)
        assert kept.lives()
    finally:
        pair.follow(lost, standby)
        pair.wait_for_standby(standby)
    fleet.gateway("session", "end", "alice")
    began.ends()
    assert kept.lives()


def test_no_phone_rings_while_commits_wait_for_a_standby_that_is_away(fleet: Fleet) -> None:
    kept = Login(fleet, "bob", BASTION)
    before = fleet.rings()
    primary = fleet.primary
    lost = fleet.peer(primary)
    lost.lose_power()
    try:
        login = fleet.ssh("alice", HOST)
        wait_for(lambda: not fleet.is_ready(GATEWAYS[0]), "/readyz says so")
        assert fleet.rings() == before
        pair.go_on_alone(primary)
        fleet.iampass.approve(fleet.ringing("alice", before).number)
        assert got_in(login, "alice")
        fleet.wait_until_ready()
        assert kept.lives()
    finally:
        lost.boot()
        pair.wait_for_standby(primary)


def test_a_host_that_was_cut_off_is_told_of_an_end_when_it_is_back(fleet: Fleet) -> None:
    logins = [Login(fleet, "alice", host) for host in HOSTS]
    host = fleet.machines[HOST]
    host.plug(connected=False)
    try:
        fleet.gateway("session", "end", "alice")
        logins[0].ends()
        assert sessions(host) != []
    finally:
        host.plug(connected=True)
    logins[1].ends()
    wait_for(lambda: sessions(host) == [], "it is over")

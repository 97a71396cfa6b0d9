"""One approval on the bastion: from there on no phone rings, and all ends with it."""

from __future__ import annotations

from tests.fleet.fleet import DOMAIN, GATEWAYS, HOSTS, Fleet, Login
from tests.packages.kept_logins import sessions, wait_for

BASTION, HOST = HOSTS


def test_who_is_logged_in_on_the_bastion_goes_on_without_the_phone_until_they_walk_away(fleet: Fleet) -> None:
    login = Login(fleet, "alice", BASTION)
    before = fleet.rings()
    assert login.type(f"scp -q /etc/hostname {HOST}:copy && echo copied-$((40 + 2))", "copied-42")
    assert login.type(f"ssh {HOST} cat copy", BASTION)
    assert login.type(f"ssh -tt {HOST} exec sh -i", r"\$ ")
    assert login.sudo()
    assert fleet.rings() == before
    listed = fleet.gateway("session", "list", "alice", at=GATEWAYS[1])
    assert [host for host in HOSTS if host in listed] == list(HOSTS)
    fleet.iampass.walk_away(login.number)
    login.ends()
    no_login_is_left(fleet)
    assert fleet.rings() == before


def test_a_login_through_the_bastion_rings_once_and_ends_with_that_on_the_bastion(fleet: Fleet) -> None:
    before = fleet.rings()
    through = f"ProxyCommand={' '.join(fleet.ssh_words('alice', BASTION, '-W', '%h:%p'))}"  # as ssh -J has it
    login = fleet.ssh("alice", HOST, "exec sh -i", options=("-tt", "-o", through))
    fleet.iampass.approve(fleet.ringing("alice", before).number)
    login.expect(r"\$ ")
    fleet.gateway("session", "end", f"{BASTION}.{DOMAIN}")
    login.finish()
    no_login_is_left(fleet)
    assert fleet.rings() == before + 1


def no_login_is_left(fleet: Fleet) -> None:
    """Wait until no host keeps a session."""
    wait_for(lambda: not any(sessions(fleet.machines[name]) for name in HOSTS), "all logins have ended")

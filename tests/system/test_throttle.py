"""Push fatigue with real ssh logins: turns, two addresses, and an attacker who starts logins all the time."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.command import run_command
from tests.support.sshd import Sshd
from tests.support.world import PATIENCE, World, wait_until

HOSTS = Path("/etc/hosts")


def throttle(*arguments: str) -> str:
    done = run_command("throttle", *arguments)
    done.check_returncode()
    return done.stdout


def denied(world: World, user: str) -> None:
    login = world.login(user)
    login.enter()
    world.deny(user)
    login.finish()


def waiting(count: int) -> None:
    """Wait until so many of alice's logins wait for their turn."""
    wait_until(
        lambda: json.loads(throttle("show", "alice", "--json"))["waiting"] == count, f"{count} logins wait"
    )


def test_two_logins_from_two_addresses_are_each_approved_in_its_turn(world: World) -> None:
    world.machine.change(throttle="{spacing: 1s}")
    first = world.login("alice")
    first.enter()
    request = world.request("alice")
    second = world.login("alice", "BindAddress=203.0.113.2")
    second.enter()
    waiting(1)
    assert world.starts("alice") == 1
    approved = world.sandbox.approve(request).decided_at
    assert approved is not None
    assert first.finish() == 0
    other = world.sandbox.wait_for_request(request.user, PATIENCE, after=request)
    assert other.started_at >= approved + 1.0
    world.sandbox.approve(other)
    assert second.finish() == 0
    for login in (first, second):
        assert "In as alice." in login.shown
        assert "nother login" not in login.shown
    assert [record["IAMPASS_OUTCOME"] for record in world.records("alice")] == ["approved"] * 2


def test_an_attacker_who_starts_logins_all_the_time_neither_keeps_the_owner_out_nor_sees_the_owner_log_in(
    world: World,
) -> None:
    options = ("BindAddress=203.0.113.2", "NumberOfPasswordPrompts=1")
    attackers = [world.login("alice", *options) for _ in range(4)]
    for attacker in attackers:
        attacker.prompted()
    alone = attackers[0].shown
    for attacker in attackers:
        attacker.sendline("")
    request = world.request("alice")
    owner = world.login("alice")
    owner.enter()
    waiting(4)
    spy = world.login("alice", *options)
    spy.prompted()
    assert spy.shown == alone, "while the owner waits the prompt is the same as before"
    spy.kill()
    world.sandbox.deny(request)
    owners = world.sandbox.wait_for_request(request.user, PATIENCE, after=request)
    world.sandbox.approve(owners)
    assert owner.finish() == 0
    world.sandbox.deny(world.sandbox.wait_for_request(request.user, PATIENCE, after=owners))
    assert [attacker.finish() for attacker in attackers] == [255] * 4
    assert world.starts("alice") == 3, "after two refusals no further request is sent"


def test_all_loopback_addresses_and_their_names_are_one_origin(
    world: World, folder: Path
) -> None:
    """127.0.0.0/8 has 16 million addresses, and with `UseDNS yes` PAM_RHOST is a name."""
    hosts = HOSTS.read_text()
    HOSTS.write_text(hosts + "".join(f"127.0.0.{number} host{number}.example\n" for number in (7, 8, 9)))
    with Sshd(folder / "names", "UseDNS=yes", keys=folder / "key-and-phone") as sshd:
        for number in (7, 8):
            login = sshd.login("alice", options=(f"BindAddress=127.0.0.{number}",))
            login.enter()
            world.deny("alice")
            login.finish()
            assert world.record()["IAMPASS_RHOST"] == f"host{number}.example"
            world.mark()
        login = sshd.login("alice", options=("BindAddress=127.0.0.9",))
        login.enter()
        assert login.finish() == 255
    HOSTS.write_text(hosts)
    assert world.outcome() == ("throttled", "denied")
    assert world.starts() == 0

"""sudo that somebody else must approve: the real program, a group of the machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.agent import running_enforcer
from tests.support.deadline import not_approved_by
from tests.support.installation import Installation
from tests.support.setuid.people import enter_password
from tests.support.setuid.stage import Guest, Phone, Stage
from tests.system.setuid.test_agents import open_terminal

ONCALL = "oncall"


@pytest.fixture
def pair(sudo_and_su: Installation, stage: Stage) -> Iterator[tuple[Guest, Guest]]:
    """Two members of the group, one of whom must approve what the other one calls."""
    caller, other = stage.guest(Phone.APPROVES), stage.guest(Phone.DENIES)
    with open("/etc/group", encoding="utf-8") as groups:
        before = groups.read()
    with open("/etc/group", "a", encoding="utf-8") as groups:
        groups.write(f"{ONCALL}:x:65100:{caller.name},{other.name}\n")
    sudo_and_su.change(services=f"{{sudo: {{approver: {{group: {ONCALL}}}}}}}")
    yield caller, other
    with open("/etc/group", "w", encoding="utf-8") as groups:
        groups.write(before)


def test_sudo_asks_a_group_and_never_its_caller(pair: tuple[Guest, Guest]) -> None:
    caller, other = pair
    seen = caller.play("sudo")
    assert not seen.got_in
    assert not_approved_by(other.name) in seen.shown
    other.set_phone(Phone.APPROVES)
    seen = caller.play("sudo")
    assert seen.got_in, seen
    assert f"{other.name} is asked to approve this within " in seen.shown
    assert f"Approved by {other.name}." in seen.shown
    assert (caller.starts(), other.starts()) == (0, 2)
    assert f" approver={other.name} " in caller.records(2)[-1]


def test_the_second_person_reads_the_command_on_a_terminal_whatever_is_in_it(
    pair: tuple[Guest, Guest],
) -> None:
    caller, other = pair
    shell = open_terminal(other)
    payloads = ("\x1b[2J\u202ehsarc", "x" * 100_000 + "\x1b]0;t\x07\u2066; reboot")
    with running_enforcer():
        for payload in payloads:
            sudo = enter_password(caller.start("sudo", "echo", payload))
            assert sudo.finish() == 1, sudo.shown
            shell.expect_exact('asks you to approve this on your phone: "sudo echo')
            shell.expect_exact("\r\n")
    shell.sendline("")
    shell.finish()
    assert "\x1b" not in shell.shown
    assert shell.shown.isascii()
    lines = [line.strip() for line in shell.shown.split("\n") if "asks you" in line]
    assert [line.startswith(f"{caller.name} on ") for line in lines] == [True] * 2, shell.shown
    assert r"\u202ehsarc" in lines[0]
    assert "xxx [...] xxx" in lines[1]
    assert "; reboot' (in " in lines[1]
    assert len(lines[1]) < 2000

"""sudo that somebody else must approve: the real program, a group of the machine."""

from __future__ import annotations

from tests.support.installation import Installation
from tests.support.setuid.stage import Phone, Stage

ONCALL = "oncall"


def test_sudo_asks_a_group_and_never_its_caller(sudo_and_su: Installation, stage: Stage) -> None:
    caller, other = stage.guest(Phone.APPROVES), stage.guest(Phone.DENIES)
    with open("/etc/group", "a", encoding="utf-8") as groups:
        groups.write(f"{ONCALL}:x:65100:{caller.name},{other.name}\n")
    sudo_and_su.change(services=f"{{sudo: {{approver: {{group: {ONCALL}}}}}}}")
    seen = caller.play("sudo")
    assert not seen.got_in
    assert f"{other.name} has not approved this." in seen.shown
    other.set_phone(Phone.APPROVES)
    seen = caller.play("sudo")
    assert seen.got_in, seen
    assert f"{other.name} is asked to approve this within " in seen.shown
    assert f"Approved by {other.name}." in seen.shown
    assert (caller.starts(), other.starts()) == (0, 2)
    assert f" approver={other.name} " in caller.records(2)[-1]

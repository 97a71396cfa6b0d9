"""sudo with the password and the phone: the real program, the shipped files."""

from __future__ import annotations

from tests.support.deadline import PLENTY, approve_within
from tests.support.setuid.people import AS_ROOT, SHOW_WHO, enter_password
from tests.support.setuid.side_by_side import side_by_side
from tests.support.setuid.stage import Guest, Phone


@side_by_side
def test_an_approval_runs_the_command(guest: Guest) -> None:
    guest.set_phone(Phone.APPROVES)
    seen = guest.play("sudo")
    assert seen.got_in, seen
    assert seen.status == 0
    assert (
        seen.shown.index(approve_within(PLENTY))
        < seen.shown.index("Approved on your phone.")
        < seen.shown.index(AS_ROOT)
    )
    assert guest.starts() == 1
    assert guest.record().startswith(f"outcome=approved result=success user={guest.name} service=sudo")
    guest.ended()


@side_by_side
def test_for_another_target_the_caller_is_asked(guest: Guest) -> None:
    guest.set_phone(Phone.APPROVES)
    seen = guest.play("sudo", "-u", "bob", "/usr/bin/id", "-un")
    assert seen.shown.splitlines()[-1] == "bob"
    assert f"user={guest.name} " in guest.record()


@side_by_side
def test_a_second_sudo_within_its_time_needs_no_second_push(guest: Guest) -> None:
    guest.set_phone(Phone.APPROVES)
    sudo = enter_password(guest.run("/bin/sh", "-c", f"sudo true && sudo -n sh -c '{SHOW_WHO}'"))
    assert sudo.finish() == 0
    assert sudo.lines[-1] == AS_ROOT
    assert guest.starts() == 1


@side_by_side
def test_after_a_denial_no_time_of_grace_begins(guest: Guest) -> None:
    guest.set_phone(Phone.DENIES)
    sudo = enter_password(guest.run("/bin/sh", "-c", f"sudo true; sudo -n sh -c '{SHOW_WHO}'"))
    assert sudo.finish() == 1
    assert "sudo: a password is required" in sudo.lines[-1]
    assert guest.starts() == 1


@side_by_side
def test_validating_asks_the_phone(guest: Guest) -> None:
    guest.set_phone(Phone.APPROVES)
    seen = guest.play("sudo", "-v")
    assert seen.status == 0
    assert guest.starts() == 1


@side_by_side
def test_where_sudo_may_ask_nothing_no_phone_rings(guest: Guest) -> None:
    guest.set_phone(Phone.APPROVES)
    sudo = guest.start("sudo", "-n", "/bin/sh", "-c", SHOW_WHO)
    assert sudo.finish() == 1
    assert "a password is required" in sudo.shown
    assert guest.starts() == 0

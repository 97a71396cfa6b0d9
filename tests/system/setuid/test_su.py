"""su with the password and the phone: the real program, the shipped file."""

from __future__ import annotations

import signal

from tests.support.deadline import PLENTY, approve_within
from tests.support.setuid.people import AS_ROOT, Process, enter_password
from tests.support.setuid.side_by_side import side_by_side
from tests.support.setuid.stage import Guest, Phone
from tests.support.terminal import Terminal


@side_by_side
def test_an_approval_of_the_caller_runs_the_command(guest: Guest) -> None:
    guest.set_phone(Phone.APPROVES)
    seen = guest.play("su")
    assert seen.got_in, seen
    assert seen.status == 0
    assert (
        seen.shown.index(approve_within(PLENTY))
        < seen.shown.index("Approved on your phone.")
        < seen.shown.index(AS_ROOT)
    )
    assert guest.starts() == 1
    assert guest.record().startswith(f"outcome=approved result=success user={guest.twin} service=su ")
    guest.ended()


@side_by_side
def test_a_hang_up_that_the_caller_ignores_breaks_nothing_off(guest: Guest) -> None:
    su = enter_password(guest.start("su", process=Process(ignored=(signal.SIGHUP,))))
    su.expect_exact(approve_within(PLENTY))
    su.process.send_signal(signal.SIGHUP)
    guest.stage.sandbox.approve(guest.request())
    su.expect_exact(AS_ROOT)
    assert su.finish() == 0


@side_by_side
def test_root_is_asked_nothing(guest: Guest) -> None:
    su = Terminal(["su", guest.name, "-c", "/usr/bin/id -un"])
    assert (su.finish(), su.shown) == (0, f"{guest.name}\n")
    assert guest.starts() == 0
    assert guest.records(expected=0) == []


@side_by_side
def test_the_target_may_be_anybody(guest: Guest) -> None:
    other = guest.stage.guest(Phone.APPROVES)
    seen = guest.play("su", other.name, "-c", "/usr/bin/id -un")
    assert seen.shown.splitlines()[-1] == other.name
    assert (guest.starts(), other.starts()) == (0, 1)

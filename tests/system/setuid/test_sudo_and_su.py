"""sudo and su with the password and the phone: the real programs, the shipped files."""

from __future__ import annotations

import signal

from tests.support.deadline import APPROVED, DENIED, PLENTY, approve_within
from tests.support.setuid.people import AS_ROOT, SHOW_WHO, Process, enter_password
from tests.support.setuid.side_by_side import side_by_side
from tests.support.setuid.stage import Guest, Phone
from tests.support.terminal import Terminal
from tests.support.world import PASSWORD


def approved(guest: Guest, program: str, user: str) -> None:
    """The caller approves on the phone, and the command runs; the record names `user` as PAM_USER."""
    guest.set_phone(Phone.APPROVES)
    seen = guest.play(program)
    assert seen.got_in, seen
    assert seen.status == 0
    assert seen.shown.index(approve_within(PLENTY)) < seen.shown.index(APPROVED) < seen.shown.index(AS_ROOT)
    assert guest.starts() == 1
    assert guest.record().startswith(f"outcome=approved result=success user={user} service={program} ")
    guest.ended()


@side_by_side
def test_an_approval_of_the_caller_of_sudo_runs_the_command(guest: Guest) -> None:
    approved(guest, "sudo", guest.name)


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


def only_the_command_writes_to_standard_output(guest: Guest, call: str) -> None:
    guest.set_phone(Phone.APPROVES)
    for session in ("", "setsid --wait "):  # with a controlling terminal, and without
        shell = guest.run("/bin/sh", "-c", f"echo {PASSWORD} | {session}{call} 2>/dev/null | cat")
        assert (shell.finish(), shell.shown) == (0, "in as 0\n")
    assert guest.starts() == 2


@side_by_side
def test_nothing_of_ours_gets_into_the_output_of_a_command_of_sudo(guest: Guest) -> None:
    only_the_command_writes_to_standard_output(guest, f"sudo -kS sh -c '{SHOW_WHO}'")


@side_by_side
def test_nothing_of_ours_gets_into_the_output_of_a_command_of_su(guest: Guest) -> None:
    only_the_command_writes_to_standard_output(guest, f"su {guest.twin} -c '{SHOW_WHO}'")


@side_by_side
def test_an_approval_of_the_caller_of_su_runs_the_command(guest: Guest) -> None:
    approved(guest, "su", guest.twin)


@side_by_side
def test_root_calls_su_and_is_asked_nothing(guest: Guest) -> None:
    su = Terminal(["su", guest.name, "-c", "/usr/bin/id -un"])
    assert (su.finish(), su.shown) == (0, f"{guest.name}\n")
    assert guest.starts() == 0
    assert guest.records(expected=0) == []


@side_by_side
def test_a_hang_up_that_the_caller_ignores_breaks_nothing_off(guest: Guest) -> None:
    su = enter_password(guest.start("su", process=Process(ignored=(signal.SIGHUP,))))
    su.expect_exact(approve_within(PLENTY))
    su.process.send_signal(signal.SIGHUP)
    guest.stage.sandbox.approve(guest.request())
    su.expect_exact(AS_ROOT)
    assert su.finish() == 0


def is_denied_after_one_push(guest: Guest, program: str) -> None:
    guest.set_phone(Phone.DENIES)
    seen = guest.play(program)
    assert (seen.status, seen.got_in) == (1, False)
    assert DENIED in seen.shown
    assert guest.starts() == 1
    assert guest.record().startswith("outcome=denied result=denied ")
    guest.ended()


@side_by_side
def test_a_denial_of_sudo_runs_nothing_and_is_one_push(guest: Guest) -> None:
    is_denied_after_one_push(guest, "sudo")


@side_by_side
def test_a_denial_of_su_runs_nothing_and_is_one_push(guest: Guest) -> None:
    is_denied_after_one_push(guest, "su")

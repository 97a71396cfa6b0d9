"""sudo and su while the phone has the request."""

from __future__ import annotations

from tests.support.deadline import PLENTY, approve_within
from tests.support.setuid.people import AS_ROOT, enter_password
from tests.support.setuid.side_by_side import side_by_side
from tests.support.setuid.stage import Guest, Phone


def is_denied_after_one_push(guest: Guest, program: str) -> None:
    guest.set_phone(Phone.DENIES)
    seen = guest.play(program)
    assert (seen.status, seen.got_in) == (1, False)
    assert "Denied on your phone." in seen.shown
    assert guest.starts() == 1
    assert guest.record().startswith("outcome=denied result=denied ")
    guest.ended()


def reads_of_the_request(guest: Guest, program: str) -> None:
    login = enter_password(guest.start(program))
    login.expect_exact(approve_within(PLENTY))
    guest.stage.sandbox.approve(guest.request(program))
    login.expect_exact(AS_ROOT)
    assert login.finish() == 0


@side_by_side
def test_a_denial_of_sudo_runs_nothing_and_is_one_push(guest: Guest) -> None:
    is_denied_after_one_push(guest, "sudo")


@side_by_side
def test_a_denial_of_su_runs_nothing_and_is_one_push(guest: Guest) -> None:
    is_denied_after_one_push(guest, "su")


@side_by_side
def test_the_person_reads_of_the_request_of_sudo_before_it_is_answered(guest: Guest) -> None:
    reads_of_the_request(guest, "sudo")


@side_by_side
def test_the_person_reads_of_the_request_of_su_before_it_is_answered(guest: Guest) -> None:
    reads_of_the_request(guest, "su")

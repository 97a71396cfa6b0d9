"""sudo and su while the phone has the request."""

from __future__ import annotations

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


@side_by_side
def test_a_denial_of_sudo_runs_nothing_and_is_one_push(guest: Guest) -> None:
    is_denied_after_one_push(guest, "sudo")


@side_by_side
def test_a_denial_of_su_runs_nothing_and_is_one_push(guest: Guest) -> None:
    is_denied_after_one_push(guest, "su")

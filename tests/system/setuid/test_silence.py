"""sudo and su when nobody is at the phone."""

from __future__ import annotations

import pytest

from tests.support.deadline import NOBODY_ANSWERED
from tests.support.setuid.side_by_side import side_by_side
from tests.support.setuid.stage import Guest

pytestmark = pytest.mark.usefixtures("nobody_answers")


def is_denied_after_one_push(guest: Guest, program: str) -> None:
    seen = guest.play(program)
    assert (seen.status, seen.got_in) == (1, False)
    assert NOBODY_ANSWERED in seen.shown
    assert guest.starts() == 1
    assert guest.record().startswith("outcome=timed_out result=denied ")
    guest.ended()


@side_by_side
def test_sudo_runs_nothing_and_is_one_push(guest: Guest) -> None:
    is_denied_after_one_push(guest, "sudo")


@side_by_side
def test_su_runs_nothing_and_is_one_push(guest: Guest) -> None:
    is_denied_after_one_push(guest, "su")

"""Whose phone su asks: the target's; for root, by setting, the caller's."""

from __future__ import annotations

import pytest

from tests.support.setuid.people import SHOW_WHO
from tests.support.setuid.side_by_side import side_by_side
from tests.support.setuid.stage import Guest, Phone

pytestmark = pytest.mark.usefixtures("caller_approves")


@side_by_side
def test_the_callers_phone_is_asked_for_root_and_the_record_says_so(guest: Guest) -> None:
    guest.set_phone(Phone.APPROVES)
    seen = guest.play("su")
    assert seen.got_in, seen
    assert [session.user for session in guest.sessions()] == [f"token-of-{guest.name}"]
    record = guest.record()
    assert f" user={guest.twin} service=su " in record
    assert f" caller={guest.name} approver={guest.name} " in record


@side_by_side
def test_the_callers_denial_counts(guest: Guest) -> None:
    guest.set_phone(Phone.DENIES)
    seen = guest.play("su", "-", guest.twin, "-c", SHOW_WHO)
    assert (seen.status, seen.got_in) == (1, False)
    assert guest.starts() == 1

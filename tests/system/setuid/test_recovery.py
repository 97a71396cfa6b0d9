"""sudo and su when the phone does not help: a recovery code is asked for, by the real programs."""

from __future__ import annotations

import pytest

from tests.support.recovery import new_codes
from tests.support.setuid.people import AS_ROOT, enter_password
from tests.support.setuid.side_by_side import side_by_side
from tests.support.setuid.stage import Guest

pytestmark = pytest.mark.usefixtures("nobody_answers")

QUESTION = "IAMPASS recovery code (Enter: none): "


@side_by_side
def test_after_silence_sudo_lets_in_by_a_code_that_is_not_shown_and_good_once(guest: Guest) -> None:
    code = new_codes(guest.name)[0]
    sudo = enter_password(guest.start("sudo"))
    sudo.expect_exact(QUESTION)
    sudo.sendline(code)
    assert sudo.finish() == 0, sudo.shown
    assert sudo.lines[-2:] == [
        "The recovery code was accepted: 9 recovery codes are left.",
        AS_ROOT,
    ]
    assert code not in sudo.shown
    assert guest.record().startswith(f"outcome=recovered result=success user={guest.name} ")
    again = enter_password(guest.start("sudo"))
    again.expect_exact(QUESTION)
    again.sendline(code)
    assert again.finish() == 1
    assert AS_ROOT not in again.lines
    assert guest.starts() == 2

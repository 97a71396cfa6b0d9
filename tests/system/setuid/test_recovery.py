"""sudo and su when the phone does not help: a recovery code is asked for, by the real programs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.deadline import TIMEOUT
from tests.support.installation import Installation
from tests.support.recovery import new_codes
from tests.support.setuid.people import AS_ROOT, enter_password
from tests.support.setuid.side_by_side import side_by_side
from tests.support.setuid.stage import Guest, Stage, waiting
from tests.support.world import PATIENCE

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


@side_by_side
def test_in_su_the_code_is_that_of_whose_phone_was_asked(guest: Guest) -> None:
    wrong, right = new_codes(guest.twin)[0], new_codes(guest.name)[0]
    for code, status in ((wrong, 1), (right, 0)):
        su = enter_password(guest.start("su"))
        su.expect_exact(QUESTION)
        su.sendline(code)
        assert su.finish() == status, su.shown


# These are answered, after all of the above


@pytest.fixture
def time_enough(sudo_and_su: Installation) -> Iterator[None]:
    """Nobody's time runs out."""
    sudo_and_su.change()
    yield
    sudo_and_su.change(timeout=TIMEOUT)


def test_a_second_sudo_waits_for_its_turn_and_the_person_reads_that_another_login_comes_first(
    time_enough: None, stage: Stage
) -> None:
    guest = stage.guest()
    first = waiting("sudo", guest)
    request = guest.sessions()[0]
    second = enter_password(guest.start("sudo"))
    second.expect_exact("Another login in your name is decided before this one.")
    assert guest.starts() == 1
    guest.stage.sandbox.approve(request)
    assert first.finish() == 0, first.shown
    guest.stage.sandbox.approve(guest.stage.sandbox.wait_for_request(request.user, PATIENCE, after=request))
    assert second.finish() == 0, second.shown
    assert "nother login" not in first.shown
    assert [record.split()[0] for record in guest.records(2)] == ["outcome=approved"] * 2

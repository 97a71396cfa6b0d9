"""Policy for teams in real sudo and su: exemptions and methods of one service, and who is asked."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.installation import Installation
from tests.support.setuid.stage import Guest, Phone, Stage


@pytest.fixture(autouse=True)
def settings(sudo_and_su: Installation) -> Iterator[None]:
    yield
    sudo_and_su.change()


@pytest.fixture
def guest(stage: Stage) -> Guest:
    return stage.guest(Phone.DENIES)


def test_a_user_who_is_exempt_in_sudo_is_asked_in_su(guest: Guest, sudo_and_su: Installation) -> None:
    users = f"[{guest.name}, {guest.twin}]"
    sudo_and_su.change(services=f"{{sudo: {{exempt: {{users: {users}}}}}}}")
    assert guest.play("sudo").got_in
    assert guest.starts() == 0
    assert not guest.play("su").got_in
    assert guest.starts() == 1


def test_while_a_group_is_unknown_nobody_passes_as_not_asked(guest: Guest, sudo_and_su: Installation) -> None:
    sudo_and_su.change(asked="{groups: [no-such-group]}")
    assert not guest.play("sudo").got_in
    assert guest.starts() == 0
    assert guest.record().startswith("outcome=misconfigured result=denied ")
    assert "names the group no-such-group" in guest.record()

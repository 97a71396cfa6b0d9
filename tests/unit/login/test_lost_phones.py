"""A phone that was reported lost rings for nobody on this machine until IAMPASS has disabled it."""

from __future__ import annotations

import os
from typing import Callable

import pytest

from pam_iampass.agent.context import Configurations
from pam_iampass.agent.lost_phones import LostPhoneReports
from pam_iampass.audit.journal import Journal
from pam_iampass.outcome import PamCode
from tests.support.sandbox import HttpStatus, ReplacedKey
from tests.support.setting import ME, Setting, state_in
from tests.support.state_file import unwritable

LOST = ["Your phone was reported lost. Please ask your administrator."]
AWAY = HttpStatus(503)


@pytest.fixture
def lost(world: Setting) -> Setting:
    """The phone was reported lost, and would approve everything."""
    world.sandbox.auto = "approve"
    world.state.lost_phones.add(ME, str(world.folder / "iampass.yaml"))
    return world


def reports(world: Setting) -> LostPhoneReports:
    configurations = Configurations(owner=os.geteuid())
    journal = Journal(world.records)
    return LostPhoneReports(world.state.lost_phones, configurations.current, configurations.manager, journal)


def restart(world: Setting) -> None:
    """Another agent, after the first one was killed."""
    world.state.database.close()
    world.state = state_in(world.folder, world.records)
    world.state.database.open()


def test_no_login_asks_it_also_of_an_agent_that_starts_later(lost: Setting) -> None:
    for _ in range(2):
        assert lost.login().errors == LOST
        restart(lost)
    assert "start" not in lost.calls
    lost.state.lost_phones.discard(ME)
    assert lost.login().code == PamCode.SUCCESS, "the next phone is asked"
    restart(lost)
    assert lost.login().code == PamCode.SUCCESS


def test_iampass_is_told_again_until_it_has_disabled_it(lost: Setting) -> None:
    told = reports(lost)
    lost.sandbox.misbehave("lost_device", AWAY, times=None)
    for _ in range(2):
        told.tell()
        assert lost.login().errors == LOST
    lost.sandbox.behave()
    told.tell()
    assert not lost.sandbox.users[Setting.token]
    assert lost.state.lost_phones.all() == {}
    lost.sandbox.add_user(Setting.token)  # the next phone
    told.tell()
    assert lost.login().code == PamCode.SUCCESS
    notes = [record["MESSAGE"] for record in lost.records.fields if "lost phone" in record["MESSAGE"]]
    assert [note.partition(":")[0] for note in notes] == [
        f'IAMPASS has not disabled the lost phone of "{ME}" yet; logins that need it are denied',
        f'IAMPASS has disabled the lost phone of "{ME}"',
    ]


def no_phone(world: Setting) -> None:
    world.sandbox.add_user(Setting.token, device=False)
    world.sandbox.misbehave("lost_device", ReplacedKey("status", False), times=None)


def no_such_person(world: Setting) -> None:
    world.sandbox.delete_user(Setting.token)


def no_token(world: Setting) -> None:
    world.write("users.yaml", "{}\n")


@pytest.mark.parametrize("how", [no_phone, no_such_person, no_token])
def test_who_has_no_phone_at_iampass_is_not_kept_out_for_ever(
    lost: Setting, how: Callable[[Setting], None]
) -> None:
    how(lost)
    reports(lost).tell()
    assert lost.state.lost_phones.all() == {}


def test_the_agent_tells_iampass_again_if_it_declines_although_there_is_a_phone(lost: Setting) -> None:
    lost.sandbox.misbehave("lost_device", ReplacedKey("status", False, acts=False), times=None)
    reports(lost).tell()
    assert lost.login().errors == LOST


def test_if_nothing_can_be_written_it_counts_and_the_next_phone_is_disabled_once_at_most(
    lost: Setting,
) -> None:
    told = reports(lost)
    with unwritable(lost.state.database):
        told.tell()
        lost.sandbox.add_user(Setting.token)
        told.tell()
        assert lost.sandbox.users[Setting.token]

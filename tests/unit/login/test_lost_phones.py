"""A phone that was reported lost rings for nobody on this machine until IAMPASS has disabled it."""

from __future__ import annotations

import os
from typing import Callable

import pytest

from pam_iampass.agent.context import Configurations
from pam_iampass.agent.lost_phones import LostPhoneReports
from pam_iampass.audit.journal import Journal
from pam_iampass.client import ManagementAPI
from pam_iampass.config.settings import load
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
    report(world, Setting.token)
    return world


def report(world: Setting, *tokens: str, name: str = ME) -> None:
    config = str(world.folder / "iampass.yaml")
    world.state.lost_phones.add(name, config, world.sandbox.application_id, tokens)


def forget(world: Setting) -> None:
    world.state.lost_phones.discard(*world.state.lost_phones.of(ME))


def reports(world: Setting) -> LostPhoneReports:
    configurations = Configurations(owner=os.geteuid())
    phones, journal = world.state.lost_phones, Journal(world.records)
    return LostPhoneReports(phones, configurations.manager_at_iampass, journal)


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
    forget(lost)
    assert lost.login().code == PamCode.SUCCESS, "the next phone is asked"
    restart(lost)
    assert lost.login().code == PamCode.SUCCESS


def test_it_rings_for_no_other_name_with_the_same_token_either(world: Setting) -> None:
    world.sandbox.auto = "approve"
    report(world, Setting.token, name="other")
    for _ in range(2):
        assert world.login().errors == LOST
        restart(world)
    assert "start" not in world.calls
    reports(world).tell()
    world.sandbox.add_user(Setting.token)  # the next phone
    assert world.login().code == PamCode.SUCCESS


def test_a_login_that_has_begun_before_the_report_for_another_name_is_denied_although_iampass_knows(
    world: Setting,
) -> None:
    def reported() -> str:
        report(world, Setting.token, name="other")
        reports(world).tell()
        return ""

    world.sandbox.auto = "approve"
    assert world.door(ssh_auth_info="publickey ssh-ed25519 AAAA", answers=(reported,)).finish().errors == LOST
    assert world.state.lost_phones.all() == {}


def test_iampass_is_told_once_of_a_phone_that_was_reported_for_two_names(lost: Setting) -> None:
    report(lost, Setting.token, name="other")
    reports(lost).tell()
    assert lost.calls.count("lost_device") == 1
    assert lost.state.lost_phones.all() == {}


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


@pytest.mark.parametrize("how", [no_phone, no_such_person])
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


def removed(world: Setting) -> None:
    world.write("users.yaml", "{}\n")


def replaced(world: Setting) -> None:
    world.write("users.yaml", f"{ME}: next\n")


def joined(world: Setting) -> None:
    world.configure(gateways=f"[{world.sandbox.url}]")


@pytest.mark.parametrize("how", [removed, replaced, joined])
def test_iampass_is_told_of_the_phone_that_was_lost_whatever_the_table_and_the_settings_say_now(
    lost: Setting, how: Callable[[Setting], None]
) -> None:
    lost.sandbox.add_user("next")
    report(lost, Setting.token, "of-a-service")
    lost.sandbox.add_user("of-a-service")
    how(lost)
    reports(lost).tell()
    phones = lost.sandbox.users
    assert (phones[Setting.token], phones["of-a-service"], phones["next"]) == (False, False, True)
    assert lost.state.lost_phones.all() == {}


def test_the_tokens_of_a_person_are_those_of_all_services(world: Setting) -> None:
    templates = {"unlisted_users": '"{user}@a"', "services": '{sudo: {unlisted_users: "{user}@b"}}'}
    world.configure(**templates)
    settings = load(world.folder / "iampass.yaml", owner=os.geteuid())
    table = settings.user_table(os.geteuid())
    assert settings.tokens_of(ME, table) == (Setting.token,)
    assert settings.tokens_of("zoe", table) == ("zoe@a", "zoe@b")


def no_token(world: Setting) -> None:
    forget(world)
    report(world)


def another_application(world: Setting) -> None:
    world.configure(application_id="another")


def joined_without_a_secret(world: Setting) -> None:
    joined(world)
    (world.folder / "application-secret").unlink()


@pytest.mark.parametrize("how", [no_token, another_application, joined_without_a_secret])
def test_a_phone_that_iampass_cannot_be_told_of_stays_lost_until_the_report_is_taken_back(
    lost: Setting, how: Callable[[Setting], None]
) -> None:
    how(lost)
    told = reports(lost)
    for _ in range(2):
        told.tell()
    assert lost.state.lost_phones.of(ME)
    (note,) = (record["MESSAGE"] for record in lost.records.fields)
    assert note.startswith(f'IAMPASS has not disabled the lost phone of "{ME}" yet')
    assert "lost_device" not in lost.calls
    lost.configure()
    lost.write("application-secret", lost.sandbox.application_secret)
    restart(lost)
    assert lost.login().errors == LOST
    forget(lost)
    assert lost.login().code == PamCode.SUCCESS


def test_a_report_without_a_token_is_over_once_it_is_made_with_one(lost: Setting) -> None:
    no_token(lost)
    report(lost, Setting.token)
    reports(lost).tell()
    assert lost.state.lost_phones.all() == {}


def test_a_phone_that_is_registered_while_iampass_is_told_of_others_stays(lost: Setting) -> None:
    report(lost, "other")
    configurations = Configurations(owner=os.geteuid())

    def manager(config: str, application: str) -> ManagementAPI:
        forget(lost)  # the command has told IAMPASS meanwhile
        return configurations.manager_at_iampass(config, application)

    LostPhoneReports(lost.state.lost_phones, manager, Journal(lost.records)).tell()
    assert lost.sandbox.users[Setting.token]
    assert not lost.records.fields


def test_if_nothing_can_be_written_the_phone_stays_lost_and_it_is_tried_again(lost: Setting) -> None:
    told = reports(lost)
    with unwritable(lost.state.database):
        for _ in range(2):
            told.tell()
            assert lost.login().errors == LOST
    told.tell()
    assert lost.state.lost_phones.all() == {}


def test_who_has_lost_the_phone_is_asked_for_a_recovery_code_where_no_prompt_has_offered_it(
    lost: Setting,
) -> None:
    code = lost.state.recovery_codes.renew(ME)[0]
    assert lost.login(answers=("",)).code == PamCode.ABORT
    told = lost.login(answers=(code,))
    assert (told.code, told.errors) == (PamCode.SUCCESS, LOST)
    assert "start" not in lost.calls
    outcomes = [fields["IAMPASS_OUTCOME"] for fields in lost.records.fields]
    assert outcomes == ["no_device", "recovered"]

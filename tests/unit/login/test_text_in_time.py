"""Logins in sshd that shows a text at once (OpenSSH 10.3): as in sudo, no Enter is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from pam_iampass.login.application import CODE_PROMPT
from pam_iampass.login.throttle_store import OTHER_LOGIN
from pam_iampass.outcome import PamCode
from tests.support.deadline import APPROVE_WITHIN, DEADLINE, DENIED, NOBODY_ANSWERED, PRESS_ENTER
from tests.support.door import AccountDoor, Answer, Told
from tests.support.sandbox import SessionState
from tests.support.setting import ME, Setting
from tests.unit.system.test_sshd_session import identity, program

KEY = "publickey ssh-ed25519 AAAA\n"
AWAY = "https://127.0.0.1:1"


@pytest.fixture
def installed(world: Setting, tmp_path: Path) -> Path:
    """An sshd-session of OpenSSH 10.6, at its place."""
    found = program(tmp_path, "OpenSSH_10.6p1")
    world.sshd_programs = (str(found),)
    return found


def in_sshd(world: Setting, executable: Path, *answers: Answer, **items: str) -> Told:
    """A login through the program of sshd that runs."""
    return world.login(answers=answers, ssh_auth_info=KEY, executable=identity(executable), **items)


def silent(world: Setting) -> list[str]:
    """Nobody answers on the phone; the codes of the person who logs in."""
    world.sandbox.auto, world.sandbox.request_timeout = "ignore", 0.1
    return world.state.recovery_codes.renew(ME)


def test_the_phone_rings_without_enter_and_the_text_says_so(world: Setting, installed: Path) -> None:
    told = in_sshd(world, installed)
    assert (told.code, told.shown) == (PamCode.SUCCESS, [APPROVE_WITHIN])
    assert world.outcome() == ("approved", "success")


def test_the_person_reads_at_once_what_the_phone_does(world: Setting, installed: Path) -> None:
    world.sandbox.misbehave("poll", SessionState("identifying"), times=2)
    assert in_sshd(world, installed).said == [APPROVE_WITHIN, "Your phone is checking that it is you."]


def test_the_person_reads_at_once_that_another_login_is_decided_first(
    world: Setting, installed: Path
) -> None:
    world.sandbox.auto = "ask"
    world.configure(timeout="20s")
    other = world.door(rhost="192.0.2.66")
    request = world.sandbox.wait_for_request(Setting.token)
    own = world.door(answers=(), ssh_auth_info=KEY, executable=identity(installed))
    assert own.wait_for_text() == OTHER_LOGIN
    world.sandbox.deny(request)
    assert other.finish().code == PamCode.ABORT
    own.die()
    own.wait()


@pytest.mark.parametrize(
    "release", ["OpenSSH_10.2p1", "OpenSSH_10.0p2", "none"], ids=["10.2", "10.0", "not known"]
)
def test_enter_is_asked_for_where_the_installed_version_shows_nothing_in_time(
    world: Setting, installed: Path, tmp_path: Path, release: str
) -> None:
    assert in_sshd(world, program(tmp_path, release), "").shown == [PRESS_ENTER]


@pytest.mark.parametrize("known", [True, False], ids=["replaced by an upgrade", "nothing installed"])
def test_enter_is_asked_for_in_a_program_that_is_not_the_installed_one(
    world: Setting, installed: Path, tmp_path: Path, known: bool
) -> None:
    """Also where both are of OpenSSH 10.6, as after an upgrade: what runs may be anything."""
    runs = program(tmp_path, "OpenSSH_10.6p1", name="replaced")
    world.sshd_programs = world.sshd_programs if known else ()
    assert in_sshd(world, runs if known else installed, "").shown == [PRESS_ENTER]


def test_a_door_that_names_no_program_has_enter_asked_for(world: Setting, installed: Path) -> None:
    assert world.login(answers=("",), ssh_auth_info=KEY).asked == [PRESS_ENTER]


def test_the_settings_still_choose(world: Setting, installed: Path) -> None:
    world.configure(prompt="always")
    assert in_sshd(world, installed, "").asked == [PRESS_ENTER]
    world.configure(prompt="never")
    assert in_sshd(world, installed).shown == [APPROVE_WITHIN]


def test_in_the_account_phase_nothing_is_shown_before_the_end(world: Setting, installed: Path) -> None:
    world.door_class = AccountDoor
    assert in_sshd(world, installed).shown == []
    silent(world)
    told = in_sshd(world, installed)
    assert (told.code, told.asked, told.promised) == (PamCode.PERM_DENIED, [], [DEADLINE])


def test_a_code_is_asked_for_after_silence_and_lets_in(world: Setting, installed: Path) -> None:
    code = silent(world)[0]
    told = in_sshd(world, installed, code)
    assert told.code == PamCode.SUCCESS
    assert told.shown[:3] == [APPROVE_WITHIN, NOBODY_ANSWERED, CODE_PROMPT]
    assert (told.hidden, told.promised) == ([True], [DEADLINE, 60.0])
    assert world.outcome() == ("recovered", "success")
    assert world.calls.count("start") == 1


def test_a_code_is_asked_for_if_the_phone_could_not_be_asked(world: Setting, installed: Path) -> None:
    code = world.state.recovery_codes.renew(ME)[0]
    world.configure(server=AWAY)
    assert in_sshd(world, installed, code).asked == [CODE_PROMPT]
    assert world.outcome() == ("recovered", "success")


@pytest.mark.parametrize(
    "typed", ["", None, "\b\n\r\x7fINCORRECT\b\n\r"], ids=["Enter", "no answer", "refused"]
)
def test_without_a_code_the_login_is_denied_at_once(world: Setting, installed: Path, typed: Answer) -> None:
    """Also if sshd has refused the login, and answers in the person's place."""
    silent(world)
    assert in_sshd(world, installed, typed).code == PamCode.MAXTRIES
    assert world.outcome() == ("timed_out", "denied")
    assert world.calls.count("start") == 1


def test_a_refusal_on_the_phone_is_no_silence(world: Setting, installed: Path) -> None:
    world.state.recovery_codes.renew(ME)
    world.sandbox.auto = "deny"
    told = in_sshd(world, installed)
    assert (told.code, told.asked) == (PamCode.MAXTRIES, [])
    assert told.errors == [DENIED]


def test_recovery_ask_never_asks_nobody(world: Setting, installed: Path) -> None:
    silent(world)
    world.configure(recovery="{ask: never}")
    assert in_sshd(world, installed).asked == []

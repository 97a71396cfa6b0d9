"""Logins with a recovery code: at sshd's prompt, and elsewhere when the phone has not helped."""

from __future__ import annotations

import contextlib
import socket

import pytest

from pam_iampass.agent import wire
from pam_iampass.agent.application import RemoteApplication
from pam_iampass.audit.journal import WARNING
from pam_iampass.login.application import PamMessage, Unanswered
from pam_iampass.outcome import PamCode
from tests.support.deadline import DEADLINE, PRESS_ENTER
from tests.support.door import Answer, Told
from tests.support.setting import ME, Setting
from tests.support.state_file import unwritable

KEY = "publickey ssh-ed25519 AAAA\n"
QUESTION = "IAMPASS recovery code (Enter: none): "
WRONG = "This recovery code is wrong or was already used."
AWAY = "https://127.0.0.1:1"


@pytest.fixture
def codes(world: Setting) -> list[str]:
    """The codes of the person who logs in."""
    return world.state.recovery_codes.renew(ME)


def left(world: Setting) -> int:
    stored = world.state.recovery_codes.stored(ME)
    return stored.left if stored else 0


def outcomes(world: Setting) -> list[str]:
    return [fields["IAMPASS_OUTCOME"] for fields in world.records.fields if "IAMPASS_OUTCOME" in fields]


def in_sshd(world: Setting, typed: Answer, **items: str) -> Told:
    return world.login(answers=(typed,), ssh_auth_info=KEY, **items)


# In sshd: at the prompt


def test_a_code_at_the_prompt_lets_in_and_no_phone_rings(world: Setting, codes: list[str]) -> None:
    told = in_sshd(world, codes[0])
    assert told.code == PamCode.SUCCESS
    assert told.asked == [PRESS_ENTER]
    assert told.said == ["The recovery code was accepted: 9 recovery codes are left."]
    assert world.outcome() == ("recovered", "success")
    assert world.calls == []
    assert left(world) == 9


def test_the_record_is_loud_and_says_how_many_are_left_but_no_code(world: Setting, codes: list[str]) -> None:
    in_sshd(world, codes[0])
    record = world.only_record()
    assert record["PRIORITY"] == str(WARNING)
    assert record["IAMPASS_REASON"] == "9 recovery codes are left"
    for code in codes:
        assert code not in str(record)
        assert code.replace("-", "") not in str(record)


def test_the_last_codes_come_with_advice(world: Setting, codes: list[str]) -> None:
    said = [in_sshd(world, code).said for code in codes]
    advice = " Ask your administrator for new ones."
    assert said[6][0].endswith(": 3 recovery codes are left.")
    assert said[8] == ["The recovery code was accepted: 1 recovery code is left." + advice]
    assert said[9] == ["The recovery code was accepted: 0 recovery codes are left." + advice]


def test_the_prompt_tells_neither_who_has_codes_nor_who_is_listed(world: Setting) -> None:
    asked = [in_sshd(world, "").asked]
    codes = world.state.recovery_codes.renew(ME)
    asked += [in_sshd(world, code).asked for code in codes]
    asked.append(in_sshd(world, "").asked)
    world.write("users.yaml", "another-user: token\n")
    asked.append(in_sshd(world, "").asked)
    assert asked == [[PRESS_ENTER]] * 13
    assert world.records.fields[-1]["IAMPASS_OUTCOME"] == "unlisted"


def test_a_code_of_a_user_who_is_no_longer_listed_is_not_looked_at(world: Setting, codes: list[str]) -> None:
    world.write("users.yaml", "another-user: token\n")
    assert in_sshd(world, codes[0]).code == PamCode.MAXTRIES
    assert world.outcome() == ("unlisted", "denied")
    assert left(world) == 10


@pytest.mark.parametrize("typed", ["", " ", "yes", "hunter2", "\udcff", "1234-5678-9012", "a" * 17])
def test_what_is_not_shaped_like_a_code_means_enter(world: Setting, codes: list[str], typed: str) -> None:
    assert in_sshd(world, typed).code == PamCode.SUCCESS
    assert world.outcome() == ("approved", "success")
    assert left(world) == 10


def test_a_wrong_code_is_a_denial_without_a_request(world: Setting, codes: list[str]) -> None:
    told = in_sshd(world, "0000-0000-0000-0000")
    assert (told.code, told.errors) == (PamCode.MAXTRIES, [WRONG])
    assert world.outcome() == ("denied", "denied")
    assert world.calls == []


def test_a_code_works_during_backoff_at_the_cap_and_while_another_request_is_pending(
    world: Setting, codes: list[str]
) -> None:
    world.configure(timeout="20s", throttle="{spacing: 0s, requests_per_hour: 2}")
    world.sandbox.auto = "deny"
    world.login(service="test")
    world.sandbox.auto = "ask"
    attacker = world.door(ssh_connection="192.0.2.66 1 192.0.2.9 22")
    request = world.sandbox.wait_for_request(Setting.token)
    assert world.login(answers=("",), rhost="192.0.2.1", ssh_auth_info=KEY).code == PamCode.MAXTRIES
    assert in_sshd(world, codes[0], ssh_connection="192.0.2.1 1 192.0.2.9 22").code == PamCode.SUCCESS
    world.sandbox.deny(request)
    attacker.finish()
    outcomes = [record["IAMPASS_OUTCOME"] for record in world.records.fields]
    assert outcomes == ["denied", "throttled", "recovered", "denied"]


def test_a_code_that_cannot_be_spent_is_not_accepted(world: Setting, codes: list[str]) -> None:
    with unwritable(world.state.database):
        told = in_sshd(world, codes[0])
    assert told.code == PamCode.MAXTRIES
    assert outcomes(world) == ["misconfigured"]
    assert codes[0] not in str(world.records.fields)
    assert left(world) == 10


def test_wrong_codes_are_counted_even_if_nothing_can_be_written(world: Setting, codes: list[str]) -> None:
    world.configure(recovery="{attempts_per_hour: 1}")
    with unwritable(world.state.database):
        for _ in range(2):
            assert in_sshd(world, "0" * 16).code == PamCode.MAXTRIES
    assert outcomes(world) == ["misconfigured", "throttled"]


# Elsewhere: when the phone has not helped


def away(world: Setting, **settings: str) -> None:
    world.configure(server=AWAY, **settings)


def test_in_an_outage_a_code_is_asked_for_hidden_and_within_a_time(world: Setting, codes: list[str]) -> None:
    away(world)
    told = world.login(answers=(codes[0],))
    assert told.code == PamCode.SUCCESS
    assert (told.asked, told.hidden) == ([QUESTION], [True])
    assert told.promised == [DEADLINE, 60.0]
    assert told.errors[0].startswith("IAMPASS is unreachable")
    assert world.outcome() == ("recovered", "success")
    reason = world.only_record()["IAMPASS_REASON"]
    assert reason.startswith("9 recovery codes are left; before that: start: ")


@pytest.mark.parametrize("answer", ["", "yes", None])
def test_a_user_who_types_no_code_is_denied_with_the_earlier_outcome(
    world: Setting, codes: list[str], answer: Answer
) -> None:
    away(world)
    told = world.login(answers=(answer,))
    assert told.code == PamCode.ABORT
    assert len(told.errors) == 1, "it is shown once"
    assert world.outcome() == ("unavailable", "denied")


def test_a_wrong_code_denies_and_says_what_went_before(world: Setting, codes: list[str]) -> None:
    away(world)
    told = world.login(answers=("0" * 16,))
    assert told.errors[1:] == [WRONG]
    assert world.outcome() == ("denied", "denied")
    assert "wrong recovery code; before that: start: " in world.only_record()["IAMPASS_REASON"]


def test_before_the_code_prompt_the_session_has_ended_and_its_place_in_the_queue_is_free(
    world: Setting, codes: list[str]
) -> None:
    world.sandbox.auto, world.sandbox.request_timeout = "ignore", 0.1
    seen: list[object] = []

    def type_it() -> str:
        seen.append(world.open_sessions)
        seen.append(world.state.throttle.state(ME).pending)
        return codes[0]

    assert world.login(answers=(type_it,)).code == PamCode.SUCCESS
    assert seen == [0, ()]
    assert world.only_record()["IAMPASS_REASON"].endswith("; before that: the phone did not answer in time")


def test_without_a_registered_phone_and_during_backoff_a_code_is_asked_for(
    world: Setting, codes: list[str]
) -> None:
    world.sandbox.auto = "deny"
    for _ in range(2):
        world.login()
    told = world.login(answers=(codes[0],))
    assert (told.asked, told.code) == ([QUESTION], PamCode.SUCCESS)
    world.sandbox.add_user(Setting.token, device=False)
    told = world.login(answers=(codes[1],), rhost="192.0.2.1")
    assert (told.asked, told.code) == ([QUESTION], PamCode.SUCCESS)


def test_a_refusal_is_an_answer_and_no_code_is_asked_for(world: Setting, codes: list[str]) -> None:
    world.sandbox.auto = "deny"
    assert world.login().asked == []


@pytest.mark.parametrize(
    ("ask", "after_silence", "after_outage"),
    [("never", 0, 0), ("unavailable", 0, 1), ("unanswered", 1, 1)],
)
def test_the_setting_says_when_a_code_is_asked_for(
    world: Setting, codes: list[str], ask: str, after_silence: int, after_outage: int
) -> None:
    world.sandbox.auto, world.sandbox.request_timeout = "ignore", 0.1
    world.configure(recovery=f"{{ask: {ask}}}")
    assert len(world.login().asked) == after_silence
    away(world, recovery=f"{{ask: {ask}}}")
    assert len(world.login().asked) == after_outage


def test_nobody_is_asked_where_there_were_never_any_codes(world: Setting) -> None:
    away(world)
    assert world.login().asked == []


def test_whether_a_user_has_codes_does_not_show_in_what_is_asked(world: Setting, codes: list[str]) -> None:
    world.state.recovery_codes.renew("bob")
    away(world)
    asked = [world.login(answers=("0" * 16,)).asked]
    world.state.recovery_codes.revoke(ME)
    told = world.login(answers=("0" * 16,))
    assert [*asked, told.asked] == [[QUESTION]] * 2
    assert told.errors[1:] == [WRONG]


def test_in_sshd_nobody_is_asked_a_second_time(world: Setting, codes: list[str]) -> None:
    away(world)
    assert in_sshd(world, "").asked == [PRESS_ENTER]


def test_an_outage_that_is_tolerated_needs_no_code(world: Setting, codes: list[str]) -> None:
    away(world, unavailable="ignore")
    told = world.login(service="login", uid="0")
    assert (told.code, told.asked) == (PamCode.IGNORE, [])


def test_a_question_that_nobody_answers_is_over_after_its_time() -> None:
    ours, doors = socket.socketpair()
    with ours, doors, contextlib.ExitStack() as after_reply:
        handle = RemoteApplication(ours, {}, after_reply)
        with pytest.raises(Unanswered, match="not answered in time"):
            handle.conversation(PamMessage(RemoteApplication.PAM_PROMPT_ECHO_OFF, "code: "), 0.05)
        assert doors.recv(100) == wire.ask("code: ", echo=False).encode()

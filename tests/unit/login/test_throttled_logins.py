"""Logins that meet the throttle: real frames, a real sandbox, real state on the disk."""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Callable

import pytest

from pam_iampass.agent.context import Configurations
from pam_iampass.audit.journal import Journal
from pam_iampass.client.errors import NotFound
from pam_iampass.login import decisions, throttle_store
from pam_iampass.login.application import PamApplication
from pam_iampass.login.at_iampass import MOST_REFUSED, REFUSED_SECONDS, RefusedStarts
from pam_iampass.login.context import Configuration, ContextFactory, LoginContext
from pam_iampass.login.decider import Request, Sent, start_failed
from pam_iampass.login.policy import Phone
from pam_iampass.login.throttle import ThrottleState
from pam_iampass.login.throttle_store import OTHER_LOGIN as OTHERS
from pam_iampass.module import Module
from pam_iampass.outcome import Login, PamCode
from tests.support.deadline import DENIED, TIMEOUT
from tests.support.sandbox import HttpStatus, Junk
from tests.support.setting import ME, Setting, state_in
from tests.support.state_file import busy, unwritable

KEY = "publickey ssh-ed25519 AAAA\n"
TOO_MANY = "Too many requests: none was sent. Wait {}, or use a recovery code."


def outcomes(world: Setting) -> list[str]:
    return [record["IAMPASS_OUTCOME"] for record in world.records.fields if "IAMPASS_OUTCOME" in record]


# Cool-off


def test_after_two_refusals_in_a_row_no_request_goes_out(world: Setting) -> None:
    world.sandbox.auto = "deny"
    for _ in range(2):
        assert world.login().errors == [DENIED]
    calls = world.calls
    told = world.login()
    assert told.code == PamCode.ABORT
    assert re.fullmatch(TOO_MANY.format("(2[0-9]|30) seconds"), told.errors[0])
    assert world.calls == calls
    assert outcomes(world) == ["denied", "denied", "throttled"]
    reason = world.records.fields[-1]["IAMPASS_REASON"]
    assert reason.startswith("backoff: 2 consecutive requests from this origin were not approved; ")


def no_phone(world: Setting) -> None:
    world.sandbox.add_user(Setting.token, device=False)


def status(number: int) -> Callable[[Setting], None]:
    return lambda world: world.sandbox.misbehave("start", HttpStatus(number), times=None)


def junk(world: Setting) -> None:
    world.sandbox.misbehave("start", Junk(b"{", "application/json"), times=None)


def unknown(world: Setting) -> None:
    world.write("users.yaml", f"{ME}: nobody-knows-this\n")


@pytest.mark.parametrize(
    "prepare",
    [no_phone, junk, *map(status, (302, 400, 429, 500, 502, 503, 504))],
    ids=["no phone", "junk", "302", "400", "429", "500", "502", "503", "504"],
)
def test_every_start_that_left_this_machine_and_was_not_approved_counts_and_leads_to_the_backoff(
    world: Setting, prepare: Callable[[Setting], None]
) -> None:
    prepare(world)
    for _ in range(2):
        assert world.login().code == PamCode.ABORT
    calls = world.calls
    assert world.login().code == PamCode.ABORT
    assert world.calls == calls
    assert outcomes(world)[-1] == "throttled"
    found = world.state.throttle.state(ME)
    assert len(found.requests) == 2
    assert [failures.count for failures in found.failures.values()] == [2]


def other_application(world: Setting) -> None:
    world.configure(application_id="another")


def wrong_secret(world: Setting) -> None:
    world.write("application-secret", "wrong")


def mend(world: Setting) -> None:
    world.sandbox.behave()
    world.write("application-secret", world.sandbox.application_secret)
    world.write("users.yaml", f"{ME}: {Setting.token}\n")
    world.configure()


REFUSED = pytest.mark.parametrize(
    "prepare",
    [unknown, other_application, wrong_secret, *map(status, (401, 403, 404))],
    ids=["unknown", "application", "secret", "401", "403", "404"],
)


@REFUSED
def test_starts_that_iampass_refuses_count_for_nobody_and_once_that_is_mended_the_next_one_rings(
    world: Setting, prepare: Callable[[Setting], None]
) -> None:
    prepare(world)
    for _ in range(4):
        assert world.login().code == PamCode.ABORT
    found = world.state.throttle.state(ME)
    assert (found.requests, found.failures) == ({}, {})
    mend(world)
    assert world.login().code == PamCode.SUCCESS


def keep_settings(world: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all logins use the settings as they are now, as an agent does until a file changes."""
    made, read = world.contexts(), Configurations(owner=os.geteuid())
    configuration = read.current(str(world.folder / "iampass.yaml"))
    kept: ContextFactory = lambda *given: replace(made(*given), configure=lambda: configuration)  # noqa: E731
    monkeypatch.setattr(world, "contexts", lambda: kept)


@REFUSED
def test_iampass_is_not_asked_for_ever_and_people_are_told_why_it_refuses(
    world: Setting, prepare: Callable[[Setting], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(world)
    keep_settings(world, monkeypatch)
    told = [world.login().errors[0] for _ in range(MOST_REFUSED + 1)]
    assert world.calls.count("start") == MOST_REFUSED
    first, last = told[0], told[-1]
    assert re.fullmatch(rf"{re.escape(first)} IAMPASS is asked again in \d+ seconds?\.", last)
    asked, not_asked = world.records.fields[-2:]
    assert not_asked["IAMPASS_OUTCOME"] == asked["IAMPASS_OUTCOME"] != "throttled"
    assert not_asked["IAMPASS_REASON"].startswith(asked["IAMPASS_REASON"])
    mend(world)
    monkeypatch.undo()
    assert world.login().code == PamCode.SUCCESS


def refused_request(token: str) -> Request:
    nothing: Any = None
    return Request(nothing, "alice", "", nothing, Phone(token, ()), nothing, nothing)


def test_after_a_minute_a_refused_start_is_made_again_and_nobody_elses_is_held_back() -> None:
    now = [0.0]
    refused = RefusedStarts(lambda: now[0])
    alice, bob = refused_request("token-of-alice"), refused_request("token-of-bob")
    for now[0] in range(MOST_REFUSED):
        assert refused.find(alice) is None
        refused.add(alice, decisions.misconfigured("401"))
    assert (refused.find(alice) is None, refused.find(bob)) == (False, None)
    now[0] = REFUSED_SECONDS
    assert refused.find(alice) is None
    refused.add(alice, decisions.misconfigured("401"))
    assert refused.find(alice) is not None, "the other four are not a minute old"


def test_a_start_that_was_refused_after_another_attempt_may_have_rung_counts() -> None:
    for may_have_started, sent in ((True, Sent.MAY_HAVE_RUNG), (False, Sent.RANG_NOBODY)):
        error = NotFound("start", may_have_started=may_have_started)
        answer = start_failed(error, refused_request("x"), "IAMPASS", may_be_outage=True)
        assert answer.sent is sent


def test_an_outage_before_anything_has_left_this_machine_counts_for_nothing(world: Setting) -> None:
    world.configure(server="https://127.0.0.1:1")
    for _ in range(4):
        world.login()
    assert outcomes(world) == ["unavailable"] * 4
    found = world.state.throttle.state(ME)
    assert (found.requests, found.failures) == ({}, {})


# One request at a time


def test_two_logins_from_two_origins_are_approved_one_after_the_other(world: Setting) -> None:
    world.sandbox.auto = "ask"
    world.configure(timeout="20s", throttle="{spacing: 1s}")
    first = world.door(rhost="192.0.2.1")
    request = world.sandbox.wait_for_request(Setting.token)
    second = world.door(rhost="192.0.2.2")
    assert second.wait_for_text() == OTHERS
    assert world.calls.count("start") == 1
    world.sandbox.approve(request)
    told = first.finish()
    assert (told.code, told.said.count(OTHERS)) == (PamCode.SUCCESS, 0)
    ended = world.sandbox.wait_for_end(request)
    other = world.sandbox.wait_for_request(Setting.token, after=request)
    assert ended.ended_at is not None
    assert other.started_at >= ended.ended_at
    polls = [call.at for call in world.sandbox.calls if call.kind == "poll" and call.at < other.started_at]
    assert other.started_at >= polls[-1] + 1.0, "not at once"
    world.sandbox.approve(other)
    assert second.finish().code == PamCode.SUCCESS
    assert outcomes(world) == ["approved", "approved"]


def test_an_origin_that_starts_logins_all_the_time_does_not_keep_the_owner_out(world: Setting) -> None:
    world.sandbox.auto = "ask"
    world.configure(timeout="20s")
    attackers = [world.door(rhost="192.0.2.66") for _ in range(5)]
    request = world.sandbox.wait_for_request(Setting.token)
    owner = world.door(rhost="192.0.2.1")
    assert owner.wait_for_text() == OTHERS
    world.sandbox.deny(request)
    owners = world.sandbox.wait_for_request(Setting.token, after=request)
    world.sandbox.approve(owners)
    assert owner.finish().code == PamCode.SUCCESS
    world.sandbox.deny(world.sandbox.wait_for_request(Setting.token, after=owners))
    assert [door.finish().code for door in attackers] == [PamCode.ABORT] * 5
    assert world.calls.count("start") == 3, "after two refusals the others are not asked about"
    assert sorted(outcomes(world)) == ["approved", "denied", "denied", *["throttled"] * 3]


def test_before_the_prompt_is_answered_nothing_tells_whether_another_login_waits(world: Setting) -> None:
    world.sandbox.auto = "ask"
    world.configure(timeout="20s", prompt="always", throttle="{spacing: 0s, logins_at_once: 1}")
    alone = world.login(answers=(None,), rhost="192.0.2.1")
    with ThreadPoolExecutor(1) as pool:
        owner = pool.submit(world.door(rhost="192.0.2.1").finish)
        request = world.sandbox.wait_for_request(Setting.token)
        for rhost in ("192.0.2.1", "192.0.2.2"):
            told = world.login(answers=(None,), rhost=rhost)
            assert (told.shown, told.code) == (alone.shown, alone.code)
        world.sandbox.approve(request)
        assert owner.result().code == PamCode.SUCCESS
    assert len(alone.shown) == 1


def test_a_login_whose_turn_does_not_come_sends_nothing_and_says_why(world: Setting) -> None:
    world.sandbox.auto = "ask"
    world.configure(timeout="20s")
    first = world.door(rhost="192.0.2.1")
    request = world.sandbox.wait_for_request(Setting.token)
    world.configure(timeout=TIMEOUT)
    told = world.login(rhost="192.0.2.2")
    assert told.code == PamCode.ABORT
    assert told.errors == [
        "Other logins in your name came first; no request was sent. Deny requests that you do not recognize."
    ]
    assert outcomes(world) == ["throttled"]
    world.sandbox.approve(request)
    assert first.finish().code == PamCode.SUCCESS
    assert world.calls.count("start") == 1


def test_to_hang_up_after_reading_that_another_login_waits_counts_as_a_failure(world: Setting) -> None:
    world.sandbox.auto = "ask"
    world.configure(timeout="20s")
    owner = world.door(rhost="192.0.2.1")
    request = world.sandbox.wait_for_request(Setting.token)
    for _ in range(2):
        attacker = world.door(rhost="192.0.2.66")
        assert attacker.wait_for_text() == OTHERS
        attacker.die()
        attacker.wait()
    told = world.login(rhost="192.0.2.66")
    assert re.fullmatch(TOO_MANY.format("(2[0-9]|30) seconds"), told.errors[0])
    assert told.said == []
    world.sandbox.approve(request)
    assert owner.finish().code == PamCode.SUCCESS
    assert outcomes(world) == ["cancelled", "cancelled", "throttled", "approved"]


# State that cannot be used


def test_once_it_can_be_written_again_everything_that_was_counted_is_there(world: Setting) -> None:
    world.sandbox.auto = "deny"
    with unwritable(world.state.database):
        world.login()
    world.login()
    notes = [fields["MESSAGE"] for fields in world.records.fields if fields.get("PRIORITY") == "5"]
    assert notes == ["the agent's state can be written again"]
    world.state.database.close()
    started_again = state_in(world.folder)
    started_again.database.open()
    assert len(started_again.throttle.state(ME).requests) == 2
    started_again.database.close()


def test_an_exempt_login_leaves_no_state(world: Setting) -> None:
    world.configure(exempt=f"{{users: [{ME}]}}")
    world.login()
    assert world.state.throttle.state(ME).is_empty


# Places


@pytest.mark.parametrize(("stage", "prompts"), [("prompt", 0), ("request", 1)])
def test_a_crowd_is_turned_away_from_that_origin_only(world: Setting, stage: str, prompts: int) -> None:
    world.configure(throttle="{spacing: 0s, logins_at_once: 1}")
    with world.state.throttle.stage(stage, ME, Login(ME, "test", "192.0.2.1"), 1):
        told = world.login(ssh_auth_info=KEY, ssh_connection="192.0.2.1 1 192.0.2.9 22")
        assert len(told.asked) == prompts
        assert told.errors == ["Too many logins in your name at once. Finish the others, then try again."]
        assert world.outcome() == ("throttled", "denied")
        assert world.calls == []
        assert world.login(rhost="192.0.2.2").code == PamCode.SUCCESS
    assert world.login(rhost="192.0.2.1").code == PamCode.SUCCESS


# A lost phone


def test_a_login_that_waits_for_a_lost_phone_is_denied_although_the_phone_approves(world: Setting) -> None:
    world.configure(timeout="20s")
    world.sandbox.auto = "ask"
    door = world.door()
    request = world.sandbox.wait_for_request(Setting.token)
    world.state.phone_lost(ME)
    world.sandbox.approve(request)
    ended = door.finish()
    assert ended.code == PamCode.ABORT
    assert ended.errors == ["Your phone was reported lost. Please ask your administrator."]
    assert (
        world.records.fields[-1]["IAMPASS_REASON"] == "the phone was reported lost (pam-iampass phone lost)"
    )
    world.sandbox.wait_for_end(request)


def test_a_login_at_its_prompt_when_the_phone_is_reported_lost_asks_no_phone(world: Setting) -> None:
    def reported_lost() -> str:
        world.state.phone_lost(ME)
        return ""

    told = world.door(ssh_auth_info=KEY, answers=(reported_lost,)).finish()
    assert told.errors == ["Your phone was reported lost. Please ask your administrator."]
    assert "start" not in world.calls
    world.sandbox.auto = "approve"
    assert world.login().code == PamCode.SUCCESS, "the next phone is asked"


def test_a_user_who_is_removed_while_a_login_looks_them_up_is_not_let_in(world: Setting) -> None:
    def parts(config: str, left_open: Callable[[str], None]) -> LoginContext:
        context = world.contexts()(config, left_open)

        def meanwhile() -> Configuration:
            world.state.phone_lost(ME)
            return context.configure()

        return replace(context, configure=meanwhile)

    def authenticate(pamh: PamApplication, flags: int, argv: list[str]) -> int:
        return Module(Journal(world.records), parts, None).pam_sm_authenticate(pamh, flags, argv)

    door = world.door_class(authenticate, f"config={world.folder / 'iampass.yaml'}", user=ME, service="test")
    assert door.finish().code == PamCode.ABORT
    assert "start" not in world.calls


def test_while_a_slow_disk_keeps_the_file_busy_logins_by_phone_go_on_and_are_counted_in_it_later(
    world: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throttle_store, "PATIENCE", 0.1)
    world.state.throttle.write()  # once an hour it writes what has not changed too
    world.sandbox.auto = "approve"
    with busy(world.state.database):
        assert world.login().code == PamCode.SUCCESS
        world.sandbox.auto = "deny"
        assert world.login().code == PamCode.ABORT
        assert len(world.state.throttle.state(ME).failures) == 1
    world.state.throttle.write()
    with world.state.database.reading() as connection:
        ((state,),) = connection.execute("SELECT state FROM limits").fetchall()
    stored = ThrottleState.from_json(json.loads(state))
    assert (len(stored.failures), len(stored.requests)) == (1, 1)


def test_a_lost_phone_counts_and_the_administrator_is_told_even_if_nothing_can_be_written(
    world: Setting,
) -> None:
    world.configure(timeout="20s")
    world.sandbox.auto = "ask"
    door = world.door()
    world.sandbox.wait_for_request(Setting.token)
    with unwritable(world.state.database):
        _pending, _sessions, problem = world.state.phone_lost(ME)
        assert problem
        assert door.finish().code == PamCode.ABORT
    assert world.state.phone_lost(ME)[2] == ""

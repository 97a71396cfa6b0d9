"""Logins that meet the throttle: real frames, a real sandbox, real state on the disk."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_iampass.login.concurrency import AtCapacity, ConcurrencyLimit
from pam_iampass.login.verification import OTHER_LOGIN as OTHERS
from pam_iampass.outcome import Login, PamCode
from pam_iampass.relay.serve import serve
from pam_iampass.sandbox.faults import HttpStatus
from pam_iampass.sandbox.sessions import SandboxSession
from pam_iampass.system.state_dir import file_stem
from tests.support.door import Door
from tests.support.setting import ME, Setting
from tests.support.state_files import unwritable

KEY = "publickey ssh-ed25519 AAAA\n"
TOO_MANY = "Too many requests: none was sent. Wait {}, or use a recovery code."
NOT_SET_UP = "The phone check is misconfigured on this machine. Please ask your administrator."


def outcomes(world: Setting) -> list[str]:
    return [record["IAMPASS_OUTCOME"] for record in world.records.fields]


def state(world: Setting) -> Path:
    return Path(world.dirs.state)


def last_session(world: Setting) -> SandboxSession | None:
    return world.sandbox.sessions[-1] if world.sandbox.sessions else None


def hang_up_when_it_rings(world: Setting) -> None:
    last = last_session(world)
    door = world.door()
    request = world.sandbox.wait_for_request(Setting.token, after=last)
    door.die()
    door.wait()
    world.sandbox.wait_for_end(request)


# Cool-off


def test_after_two_refusals_in_a_row_no_request_goes_out(world: Setting) -> None:
    world.sandbox.auto = "deny"
    for _ in range(2):
        assert world.login().errors == ["Denied on your phone."]
    calls = world.calls
    told = world.login()
    assert told.code == PamCode.ABORT
    assert re.fullmatch(TOO_MANY.format("(2[0-9]|30) seconds"), told.errors[0])
    assert world.calls == calls
    assert outcomes(world) == ["denied", "denied", "throttled"]
    reason = world.records.fields[-1]["IAMPASS_REASON"]
    assert reason.startswith(
        "backoff: 2 consecutive requests from this origin were refused, unanswered or abandoned; "
    )


def test_in_sshd_the_backoff_is_displayed_after_enter_and_ends_the_connection(world: Setting) -> None:
    world.sandbox.auto = "deny"
    for _ in range(2):
        world.login(ssh_auth_info=KEY)
    told = world.login(ssh_auth_info=KEY)
    assert told.code == PamCode.MAXTRIES
    assert re.fullmatch(TOO_MANY.format("(2[0-9]|30) seconds"), told.errors[0])
    assert len(told.asked) == 1


def test_silence_counts_like_a_refusal(world: Setting) -> None:
    world.configure(timeout="1s")
    world.sandbox.auto = "ignore"
    for _ in range(3):
        world.login()
    assert outcomes(world) == ["timed_out", "timed_out", "throttled"]


def test_repeated_requests_that_are_aborted_start_the_backoff(world: Setting) -> None:
    world.sandbox.auto = "ask"
    world.configure(timeout="20s")
    for _ in range(2):
        hang_up_when_it_rings(world)
    calls = world.calls
    assert world.login().code == PamCode.ABORT
    assert world.calls == calls
    assert outcomes(world) == ["cancelled", "cancelled", "throttled"]


def test_repeated_superseding_from_the_same_origin_starts_the_backoff(world: Setting) -> None:
    world.sandbox.auto = "ask"
    world.configure(timeout="20s")
    first = world.door()
    request = world.sandbox.wait_for_request(Setting.token)
    second = world.door()
    world.sandbox.wait_for_request(Setting.token, after=request)
    third = world.login()
    assert re.fullmatch(TOO_MANY.format("(2[0-9]|30) seconds"), third.errors[0])
    for door in (first, second):
        assert door.finish().errors == ["No longer waiting: another login from the same origin took over."]
    assert world.calls.count("start") == 2
    assert world.open_sessions == 0


def test_a_stop_of_the_agent_while_the_phone_rings_is_nobodys_refusal(world: Setting) -> None:
    world.sandbox.auto = "ask"
    world.configure(timeout="20s")
    for _ in range(3):
        its, ours = socket.socketpair()
        stopped, stopper = os.pipe()
        login = threading.Thread(target=serve, args=(its, world.authenticate, stopped), daemon=True)
        login.start()
        door = Door(ours, f"config={world.folder / 'iampass.yaml'}", user=ME, service="test")
        world.sandbox.wait_for_request(Setting.token, after=last_session(world))
        os.write(stopper, b".")
        assert door.finish().code == PamCode.ABORT
        login.join(20)
        os.close(stopped)
        os.close(stopper)
    assert outcomes(world) == ["unavailable"] * 3
    assert world.calls.count("start") == 3


def test_from_elsewhere_the_person_logs_in_all_the_same(world: Setting) -> None:
    world.sandbox.auto = "deny"
    for _ in range(3):
        world.login(rhost="192.0.2.1")
    world.sandbox.auto = "approve"
    assert world.login(rhost="192.0.2.2").code == PamCode.SUCCESS
    assert world.login(rhost="192.0.2.1").code == PamCode.ABORT


def test_an_approval_ends_the_row_of_refusals(world: Setting) -> None:
    for answer in ("deny", "approve", "deny", "approve"):
        world.sandbox.auto = answer
        world.login()
    assert outcomes(world) == ["denied", "approved", "denied", "approved"]


def test_an_outage_is_nobodys_refusal(world: Setting) -> None:
    world.sandbox.misbehave("start", HttpStatus(503), times=None)
    for _ in range(4):
        world.login()
    assert outcomes(world) == ["unavailable"] * 4


def test_no_phone_and_a_token_that_iampass_does_not_know_are_no_refusals(world: Setting) -> None:
    world.sandbox.add_user(Setting.token, device=False)
    for _ in range(3):
        world.login()
    world.write("users.yaml", f"{ME}: nobody-knows-this\n")
    for _ in range(3):
        world.login()
    assert outcomes(world) == ["no_device"] * 3 + ["denied"] * 3


def test_a_cap_on_requests_that_were_not_approved(world: Setting) -> None:
    world.configure(throttle="{requests_per_hour: 2}")
    world.login()
    world.sandbox.auto = "deny"
    for number in range(3):
        told = world.login(rhost=f"192.0.2.{number}")
    assert outcomes(world) == ["approved", "denied", "denied", "throttled"]
    assert told.errors == [TOO_MANY.format("60 minutes")]


# One pending request


def test_a_newer_login_from_the_same_origin_takes_over_once_the_older_session_has_ended(
    world: Setting,
) -> None:
    world.sandbox.auto = "ask"
    world.configure(timeout="20s")
    older = world.door()
    first = world.sandbox.wait_for_request(Setting.token)
    newer = world.door()
    second = world.sandbox.wait_for_request(Setting.token, after=first)
    ended = world.sandbox.wait_for_end(first)
    assert ended.ended_at is not None
    assert ended.ended_at <= second.started_at
    told = older.finish()
    assert told.code == PamCode.ABORT
    assert told.errors == ["No longer waiting: another login from the same origin took over."]
    world.sandbox.approve(second)
    assert newer.finish().code == PamCode.SUCCESS
    assert outcomes(world) == ["throttled", "approved"]
    assert [call for call in world.calls if call != "poll"] == ["start", "end", "start", "end"]


def test_a_login_from_another_origin_leaves_the_first_alone_and_both_are_informed(world: Setting) -> None:
    world.sandbox.auto = "ask"
    world.configure(timeout="20s")
    first = world.door(rhost="192.0.2.1")
    request = world.sandbox.wait_for_request(Setting.token)
    second = world.door(rhost="192.0.2.2")
    other = world.sandbox.wait_for_request(Setting.token, after=request)
    third = world.door(rhost="192.0.2.3")
    last = world.sandbox.wait_for_request(Setting.token, after=other)
    for session in (request, other, last):
        world.sandbox.approve(session)
    told = [door.finish() for door in (first, second, third)]
    assert [each.code for each in told] == [PamCode.SUCCESS] * 3
    assert [each.said.count(OTHERS) for each in told] == [0, 1, 1]


def test_in_sshd_the_other_login_is_told_of_before_the_prompt(world: Setting) -> None:
    world.sandbox.auto = "ask"
    world.configure(timeout="20s")
    said_at_the_prompt: list[int] = []
    with contextlib.ExitStack() as ended:
        other = world.door(rhost="192.0.2.1")
        request = world.sandbox.wait_for_request(Setting.token)
        ended.callback(other.finish)
        ended.callback(world.sandbox.deny, request)

        def press_enter() -> str:
            said_at_the_prompt.append(world.calls.count("start"))
            world.sandbox.auto = "approve"
            return ""

        told = world.login(answers=(press_enter,), rhost="192.0.2.2", ssh_auth_info=KEY)
    assert said_at_the_prompt == [1]
    assert told.said == [OTHERS]


def test_hanging_up_releases_the_lease_at_once(world: Setting) -> None:
    world.sandbox.auto = "ask"
    world.configure(timeout="20s")
    hang_up_when_it_rings(world)
    world.sandbox.auto = "approve"
    told = world.login()
    assert told.code == PamCode.SUCCESS
    assert OTHERS not in told.said
    assert outcomes(world) == ["cancelled", "approved"]


# State that cannot be used


@pytest.fixture(params=["missing", "open to others", "of somebody else", "torn", "full"])
def broken(world: Setting, request: pytest.FixtureRequest) -> Iterator[Setting]:
    folder, stem = state(world), file_stem(ME)
    if request.param == "missing":
        folder.rmdir()
    elif request.param == "open to others":
        folder.chmod(0o755)
    elif request.param == "of somebody else":
        os.chown(folder, 1, 1)
    elif request.param == "torn":
        (folder / f"{stem}.json").write_text('{"version": 1, "salt"')
        (folder / f"{stem}.json").chmod(0o600)
    else:
        with unwritable(folder, ME):
            yield world
            return
    yield world


@pytest.mark.parametrize("policy", ["deny", "ignore"])
def test_state_that_cannot_be_used_denies_with_a_remedy_and_makes_no_phone_ring(
    broken: Setting, policy: str
) -> None:
    broken.configure(unavailable=policy, unlisted_users=policy)
    told = broken.login()
    assert (told.code, told.errors) == (PamCode.ABORT, [NOT_SET_UP])
    assert broken.outcome() == ("misconfigured", "denied")
    reason = broken.only_record()["IAMPASS_REASON"]
    assert any(
        remedy in reason for remedy in ("systemd-tmpfiles --create", "throttle clear", "look at the disk")
    )
    assert broken.calls == []


def test_a_login_that_needs_no_state_asks_for_none(broken: Setting) -> None:
    broken.configure(exempt=f"{{users: [{ME}]}}")
    assert broken.login().code == PamCode.IGNORE
    broken.configure(unlisted_users="ignore")
    broken.write("users.yaml", "somebody-else: token\n")
    assert broken.login().code == PamCode.IGNORE
    broken.login(user="no-such-account")
    broken.login("first_factor=publickey")
    assert outcomes(broken) == ["exempt", "unlisted", "denied", "denied"]


def test_an_exempt_login_leaves_no_state(world: Setting) -> None:
    world.configure(exempt=f"{{users: [{ME}]}}")
    world.login()
    assert list(state(world).iterdir()) == []


def test_state_that_breaks_while_the_phone_rings_changes_no_decision(world: Setting) -> None:
    world.sandbox.auto = "ask"
    world.configure(timeout="20s")
    door = world.door()
    request = world.sandbox.wait_for_request(Setting.token)
    shutil.rmtree(state(world))
    world.sandbox.approve(request)
    assert door.finish().code == PamCode.SUCCESS


# Places


def test_so_many_logins_of_one_person_and_origin_at_once_and_no_more() -> None:
    concurrency = ConcurrencyLimit()
    here, elsewhere = Login("alice", "sshd", "a"), Login("alice", "sshd", "b")
    with concurrency.acquire("alice", here, 1):
        with pytest.raises(AtCapacity), concurrency.acquire("alice", here, 1):
            pass
        with concurrency.acquire("alice", elsewhere, 1), concurrency.acquire("bob", here, 1):
            pass
    with concurrency.acquire("alice", here, 1):
        pass


def test_a_crowd_is_turned_away_before_any_prompt_and_from_that_origin_only(world: Setting) -> None:
    world.configure(throttle="{logins_at_once: 1}")
    with world.concurrency.acquire(ME, Login(ME, "test", "192.0.2.1"), 1):
        told = world.login(ssh_auth_info=KEY, rhost="192.0.2.1")
        assert told.asked == []
        assert told.errors == ["Too many logins in your name at once. Finish the others, then try again."]
        assert world.outcome() == ("throttled", "denied")
        assert world.calls == []
        assert world.login(rhost="192.0.2.2").code == PamCode.SUCCESS
    assert world.login(rhost="192.0.2.1").code == PamCode.SUCCESS

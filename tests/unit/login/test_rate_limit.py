"""How often a phone may ring: the rules with a clock of the test's own, and the agent's file.

Who is next is in `test_turns.py`.
"""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_iampass.config.settings import ThrottleSettings as Limits
from pam_iampass.login.application import ApplicationGone, Stopping
from pam_iampass.login.rate_limit import (
    QueuedLogin,
    RateLimit,
    RateLimits,
    RequestResult,
    Throttled,
    result_of,
)
from pam_iampass.login.rate_limit_state import MOST_KEPT, RateLimitState
from pam_iampass.outcome import Decision, Login, Outcome, Result, denied
from pam_iampass.system.boot import since_boot
from pam_iampass.system.database import Database

LIMITS = Limits(cool_off=30.0, longest_cool_off=900.0, requests_per_hour=30, logins_at_once=10, spacing=0.0)
HERE = Login("alice", "sshd", rhost="192.0.2.1")
ELSEWHERE = replace(HERE, rhost="192.0.2.2")


class World:
    """The limits in a file in a folder, and a clock of the test's own."""

    def __init__(self, folder: Path, boot: str = "b00") -> None:
        self.folder = folder
        self.file = folder / "state" / "state.db"
        self.file.parent.mkdir(mode=0o700, exist_ok=True)
        self.now = 100_000.0
        self.start(boot)

    def start(self, boot: str = "b00") -> None:
        """Start, as an agent does."""
        self.database = Database(str(self.file), boot=boot)
        self.limits = RateLimits(self.database, lambda: self.now)
        self.database.open()

    def restart(self, boot: str = "b00") -> None:
        self.database.close()
        self.start(boot)

    def throttle(self, login: Login = HERE, user: str = "alice") -> RateLimit:
        return RateLimit(self.limits, user, login, self.limits.now())

    @contextlib.contextmanager
    def queued(
        self, login: Login = HERE, user: str = "alice", limits: Limits = LIMITS
    ) -> Iterator[QueuedLogin]:
        with self.throttle(login, user).queued(limits, 60.0) as queued:
            yield queued

    @contextlib.contextmanager
    def request(
        self, login: Login = HERE, user: str = "alice", limits: Limits = LIMITS
    ) -> Iterator[QueuedLogin]:
        with self.queued(login, user, limits) as queued:
            assert queued.has_turn
            yield queued

    def play(self, ending: RequestResult, login: Login = HERE, limits: Limits = LIMITS) -> None:
        with self.request(login, limits=limits) as queued:
            queued.record(ending)


@pytest.fixture
def world(trusted_folder: Path) -> Iterator[World]:
    found = World(trusted_folder)
    yield found
    found.database.close()


# Cool-off


def test_the_first_failure_in_a_row_is_free_and_then_the_wait_doubles_up_to_its_limit(world: World) -> None:
    waits = []
    for _ in range(9):
        world.play(RequestResult.FAILED)
        try:
            world.play(RequestResult.NOT_SENT)
            waits.append(0.0)
        except Throttled as throttled:
            waits.append(throttled.wait)
            world.now += throttled.wait
    assert waits == [0, 30, 60, 120, 240, 480, 900, 900, 900]


def test_an_approval_ends_the_row(world: World) -> None:
    for ending in (
        RequestResult.FAILED,
        RequestResult.APPROVED,
        RequestResult.FAILED,
        RequestResult.APPROVED,
    ):
        world.play(ending)


@pytest.mark.parametrize("ending", [RequestResult.STOPPED, RequestResult.NOT_SENT])
def test_what_nobody_is_to_blame_for_is_no_failure(world: World, ending: RequestResult) -> None:
    for _ in range(10):
        world.play(ending)


def test_after_an_hour_of_peace_a_failure_is_the_first_again(world: World) -> None:
    world.play(RequestResult.FAILED)
    world.now += 3600
    world.play(RequestResult.FAILED)
    world.play(RequestResult.FAILED)


@pytest.mark.parametrize(
    "login",
    [ELSEWHERE, replace(HERE, service="sudo"), replace(HERE, rhost=None), replace(HERE, rhost="here")],
)
def test_a_backoff_holds_for_one_origin_only(world: World, login: Login) -> None:
    world.play(RequestResult.FAILED)
    world.play(RequestResult.FAILED)
    world.play(RequestResult.APPROVED, login)
    with pytest.raises(Throttled):
        world.play(RequestResult.APPROVED)


def test_a_backoff_of_zero_disables_it(world: World) -> None:
    for _ in range(10):
        world.play(RequestResult.FAILED, limits=replace(LIMITS, cool_off=0.0))


def test_another_person_is_not_kept_out(world: World) -> None:
    world.play(RequestResult.FAILED)
    world.play(RequestResult.FAILED)
    with world.request(user="bob") as queued:
        assert not queued.others_wait()


@given(
    st.lists(
        st.tuples(st.sampled_from(RequestResult), st.floats(-1e6, 1e6, allow_nan=False)),
        min_size=1,
        max_size=30,
    )
)
def test_no_clock_and_no_history_keeps_anybody_from_the_phone_for_longer_than_the_limits(
    history: list[tuple[RequestResult, float]],
) -> None:
    state, now = RateLimitState(), 0.0
    for ending, step in history:
        now += step
        state.forget(now)
        if ending is RequestResult.FAILED:
            state.fail("place", now)
        assert state.backoff("place", 30.0, 900.0, now) <= 900.0
    state.forget(now)
    assert 0.0 <= state.backoff("place", 30.0, 900.0, now) <= 900.0


def test_the_clock_is_that_of_the_machines_start(world: World) -> None:
    before, uptime, after = since_boot(), Path("/proc/uptime").read_text().split()[0], since_boot()
    assert before - 1.0 < float(uptime) < after + 1.0


# The cap


def test_the_hourly_limit_counts_requests_from_all_origins(world: World) -> None:
    few = replace(LIMITS, requests_per_hour=3)
    for number in range(3):
        world.now += 10
        world.play(RequestResult.STOPPED, replace(HERE, rhost=f"192.0.2.{number}"), few)
    with pytest.raises(Throttled, match="3 requests within an hour were not approved") as caught:
        world.play(RequestResult.STOPPED, limits=few)
    assert caught.value.wait == 3600 - 20
    world.now += caught.value.wait
    world.play(RequestResult.STOPPED, limits=few)


@pytest.mark.parametrize("ending", [RequestResult.APPROVED, RequestResult.NOT_SENT])
def test_approved_requests_and_those_that_never_went_out_do_not_count(
    world: World, ending: RequestResult
) -> None:
    for _ in range(5):
        world.play(ending, limits=replace(LIMITS, requests_per_hour=1))


def test_a_request_counts_from_its_beginning_so_that_a_killed_process_counts(world: World) -> None:
    one = replace(LIMITS, requests_per_hour=1)
    with world.request(limits=one), pytest.raises(Throttled), world.request(ELSEWHERE, limits=one):
        pass
    with pytest.raises(Throttled), world.request(limits=one):
        pass


# Requests that are broken off


def test_a_login_that_ends_without_a_result_counts_as_a_failure_and_asking_again_makes_it_no_worse(
    world: World,
) -> None:
    for _ in range(2):
        with world.request():
            pass  # killed
    began = world.now
    for waited in (0.0, 10.0, 29.9):
        world.now = began + waited
        with pytest.raises(Throttled, match="2 consecutive requests") as caught, world.request():
            pass
        assert caught.value.wait == pytest.approx(30.0 - waited), "asking again makes it no longer"
    world.now = began + 30.0
    world.play(RequestResult.APPROVED)


# Recovery codes have a counter of their own


def test_the_hourly_limit_of_wrong_codes_holds_for_one_origin(world: World) -> None:
    for _ in range(5):
        world.throttle().attempt(5)
    with pytest.raises(Throttled, match="5 wrong recovery codes") as caught:
        world.throttle().attempt(5)
    assert caught.value.wait == 3600
    world.throttle(ELSEWHERE).attempt(5)
    world.now += 3600
    world.throttle().attempt(5)


def test_a_right_code_does_not_count(world: World) -> None:
    for _ in range(10):
        world.throttle().attempt(1)
        world.throttle().attempt_was_right()
    world.throttle(ELSEWHERE).attempt_was_right()


def test_logins_from_ever_new_addresses_that_send_no_request_do_not_fill_the_state_of_the_person(
    world: World,
) -> None:
    for number in range(MOST_KEPT + 5):
        world.play(RequestResult.NOT_SENT, replace(HERE, rhost=f"2001:db8:{number:x}::1"))
    assert len(world.throttle().state().turns) == MOST_KEPT


def test_only_so_many_attempts_are_remembered(world: World) -> None:
    state = RateLimitState()
    for number in range(MOST_KEPT + 5):
        state.attempt(f"place{number}", 1.0)
        state.fail(f"place{number}", 1.0)
    assert len(state.attempts) == len(state.failures) == MOST_KEPT
    assert f"place{MOST_KEPT + 4}" in state.failures
    assert state.attempts[-1].origin == f"place{MOST_KEPT + 4}"


# What is on the disk


def test_no_address_of_a_login_is_in_the_file(world: World) -> None:
    with world.request() as queued:
        queued.record(RequestResult.FAILED)
        everything = b"".join(path.read_bytes() for path in world.file.parent.iterdir())
    assert b"alice" in everything
    assert b"192.0.2" not in everything
    assert b"sshd" not in everything
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in world.file.parent.iterdir())


def test_an_agent_that_starts_again_has_counted_what_was_before_and_nobody_waits(world: World) -> None:
    for _ in range(2):
        world.play(RequestResult.FAILED)
        world.now += 1.0
    world.throttle().attempt(5)
    with world.request(ELSEWHERE):
        before = world.throttle().state()
        world.restart()
    with pytest.raises(Throttled, match="2 consecutive requests"):
        world.play(RequestResult.APPROVED)
    state = world.throttle().state()
    assert (state.failures, state.requests, state.attempts) == (
        before.failures,
        before.requests,
        before.attempts,
    )
    assert state.pending == []


def test_an_approval_leaves_nothing_in_the_file(world: World) -> None:
    for ending in (RequestResult.FAILED, RequestResult.APPROVED, RequestResult.NOT_SENT):
        world.play(ending)
    with world.database.reading() as connection:
        kinds = connection.execute("SELECT kind, count(*) FROM limits GROUP BY kind").fetchall()
    assert kinds == [("request", 1)], "the failed one counts against the hour"


def test_that_a_phone_was_lost_outlasts_a_restart_and_more_than_an_hour(world: World) -> None:
    world.throttle().phone_lost()
    lost = world.now
    world.now += 4000
    world.limits.write()
    world.restart()
    assert world.throttle().state().lost == lost
    world.play(RequestResult.APPROVED)


def test_after_a_reboot_everything_is_forgotten(world: World) -> None:
    world.play(RequestResult.FAILED)
    world.play(RequestResult.FAILED)
    world.restart(boot="b01")
    world.play(RequestResult.APPROVED)
    with world.database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM limits").fetchone() == (0,)


def test_a_name_that_is_no_utf_8_counts_as_any_other(world: World) -> None:
    name = "b\udcfcrger"
    with world.request(user=name) as queued:
        queued.record(RequestResult.FAILED)
    world.restart()
    assert len(world.throttle(user=name).state().failures) == 1


def test_people_of_whom_nothing_counts_any_more_are_forgotten(world: World) -> None:
    for number in range(5):
        with world.request(user=f"user{number}") as queued:
            queued.record(RequestResult.FAILED)
    world.now += 3700
    world.play(RequestResult.FAILED)
    assert set(world.limits._states) == {b"alice"}
    with world.database.reading() as connection:
        assert connection.execute("SELECT DISTINCT person FROM limits").fetchall() == [(b"alice",)]


def test_the_same_origin_has_another_key_in_another_users_file(world: World) -> None:
    keys = []
    for user in ("alice", "bob"):
        with world.request(user=user) as queued:
            queued.record(RequestResult.FAILED)
        keys += list(world.throttle(user=user).state().failures)
    assert len(set(keys)) == 2


def test_clearing_leaves_logins_that_are_pending(world: World) -> None:
    world.play(RequestResult.FAILED)
    world.play(RequestResult.FAILED)
    with world.request(ELSEWHERE):
        world.throttle().clear()
        assert len(world.throttle().state().pending) == 1
    world.play(RequestResult.APPROVED)


APPROVED = Decision(Outcome.APPROVED, Result.SUCCESS)


@pytest.mark.parametrize(
    ("end", "left", "result"),
    [
        (APPROVED, True, RequestResult.APPROVED),
        *(
            (denied(outcome, ""), left, RequestResult.FAILED if left else RequestResult.NOT_SENT)
            for outcome in (
                Outcome.DENIED,
                Outcome.TIMED_OUT,
                Outcome.UNAVAILABLE,
                Outcome.NO_DEVICE,
                Outcome.MISCONFIGURED,
            )
            for left in (True, False)
        ),
        (Decision(Outcome.UNAVAILABLE, Result.IGNORED), False, RequestResult.NOT_SENT),
        (ApplicationGone(), True, RequestResult.FAILED),
        (ApplicationGone(), False, RequestResult.NOT_SENT),
        (Stopping(), True, RequestResult.STOPPED),
        (Stopping(), False, RequestResult.NOT_SENT),
        (SystemExit(), True, RequestResult.FAILED),
        (SystemExit(), False, RequestResult.FAILED),
        (MemoryError(), False, RequestResult.FAILED),
    ],
    ids=repr,
)
def test_every_request_that_may_have_left_this_machine_and_was_not_approved_is_a_failure(
    end: Decision | BaseException, left: bool, result: RequestResult
) -> None:
    assert result_of(end, left) is result

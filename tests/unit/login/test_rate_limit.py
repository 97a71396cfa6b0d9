"""How often a phone may ring: the rules with a clock of the test's own, on real files and locks.

Who is next is in `test_turns.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_iampass.config.settings import ThrottleSettings as Limits
from pam_iampass.errors import StateError
from pam_iampass.login.application import ApplicationGone, Stopping
from pam_iampass.login.rate_limit import REMEDY, QueuedLogin, RateLimit, Throttled
from pam_iampass.login.rate_limit_json import CorruptState, decoded, encoded
from pam_iampass.login.rate_limit_state import MOST_KEPT, RateLimitState
from pam_iampass.login.request_result import RequestResult, result_of
from pam_iampass.outcome import Decision, Login, Outcome, Result, denied
from pam_iampass.system import state_dir
from pam_iampass.system.boot import since_boot
from pam_iampass.system.state_dir import HeldLock, StateDir, file_stem
from tests.support.state_files import STEPS, resume, stopped_before
from tests.support.world import wait_until

LIMITS = Limits(cool_off=30.0, longest_cool_off=900.0, requests_per_hour=30, logins_at_once=10, spacing=0.0)
HERE = Login("alice", "sshd", rhost="192.0.2.1")
ELSEWHERE = replace(HERE, rhost="192.0.2.2")


@dataclass
class World:
    """A folder, and a clock of the test's own."""

    folder: Path
    now: float = 100_000.0

    def throttle(self, login: Login = HERE, user: str = "alice") -> RateLimit:
        return RateLimit(StateDir(str(self.folder), REMEDY), user, login, lambda: self.now)

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

    def files(self) -> list[str]:
        return sorted(os.listdir(self.folder))

    @property
    def file(self) -> Path:
        return self.folder / f"{file_stem('alice')}.json"


@pytest.fixture
def world(trusted_folder: Path) -> World:
    folder = trusted_folder / "state"
    folder.mkdir(mode=0o700)
    return World(folder)


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


def test_a_moment_before_its_end_the_backoff_still_holds(world: World) -> None:
    world.play(RequestResult.FAILED)
    world.play(RequestResult.FAILED)
    world.now += 29.9
    with pytest.raises(Throttled, match="2 consecutive requests") as caught:
        world.play(RequestResult.APPROVED)
    assert 0 < caught.value.wait <= 0.11
    world.now += 0.1
    world.play(RequestResult.APPROVED)


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
    state, now = RateLimitState("00"), 0.0
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


@pytest.mark.usefixtures("patient")
def test_many_writers_at_the_same_moment_lose_nothing(world: World) -> None:
    def log_in(number: int) -> None:
        with World(world.folder).queued(replace(HERE, rhost=f"192.0.2.{number}")) as queued:
            queued.leave(failed=True)

    threads = [threading.Thread(target=log_in, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = world.throttle().state()
    assert len(state.failures) == 20
    assert state.pending == []


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


def test_codes_are_checked_during_backoff_at_the_cap_and_while_a_request_is_pending(world: World) -> None:
    world.play(RequestResult.FAILED)
    with world.request(limits=replace(LIMITS, requests_per_hour=2)) as queued:
        queued.record(RequestResult.FAILED)
        with pytest.raises(Throttled), world.request():
            pass
        world.throttle().attempt(1)


def test_logins_from_ever_new_addresses_that_send_no_request_do_not_fill_the_state_of_the_person(
    world: World,
) -> None:
    for number in range(MOST_KEPT + 5):
        world.play(RequestResult.NOT_SENT, replace(HERE, rhost=f"2001:db8:{number:x}::1"))
    assert len(world.throttle().state().turns) == MOST_KEPT


def test_only_so_many_attempts_are_remembered(world: World) -> None:
    state = RateLimitState("00")
    for number in range(MOST_KEPT + 5):
        state.attempt(f"place{number}", 1.0)
        state.fail(f"place{number}", 1.0)
    assert len(state.attempts) == len(state.failures) == MOST_KEPT
    assert f"place{MOST_KEPT + 4}" in state.failures
    assert state.attempts[-1].origin == f"place{MOST_KEPT + 4}"


# What is on the disk


def test_no_name_and_no_address_stands_in_the_folder(world: World) -> None:
    with world.request() as queued:
        queued.record(RequestResult.FAILED)
        names = " ".join(world.files())
        everything = names + "".join(path.read_text() for path in world.folder.iterdir())
    assert "alice" not in everything
    assert "192.0.2" not in everything
    assert "sshd" not in everything
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in world.folder.iterdir())


def test_the_same_origin_has_another_key_in_another_users_file(world: World) -> None:
    keys = []
    for user in ("alice", "bob"):
        with world.request(user=user) as queued:
            queued.record(RequestResult.FAILED)
        keys += list(world.throttle(user=user).state().failures)
    assert len(set(keys)) == 2


def test_a_missing_folder_is_an_error_that_says_how_to_make_it(trusted_folder: Path) -> None:
    with pytest.raises(StateError) as caught:
        World(trusted_folder / "nothing").play(RequestResult.APPROVED)
    assert str(caught.value).endswith("does not exist; systemd-tmpfiles --create")
    assert caught.value.diagnostics().endswith("\n    systemd-tmpfiles --create")


def test_a_folder_that_is_open_to_others_is_refused(world: World) -> None:
    world.folder.chmod(0o750)
    with pytest.raises(StateError, match="is open to others"):
        world.throttle().state()


def test_a_folder_of_another_user_is_refused(world: World) -> None:
    os.chown(world.folder, 1, 1)
    with pytest.raises(StateError, match="belongs to user 1"):
        world.throttle().state()


def test_a_folder_of_root_is_refused_where_the_module_is_not_root(world: World) -> None:
    os.seteuid(65534)
    try:
        with pytest.raises(StateError, match="belongs to user 0, not to user 65534"):
            world.throttle().state()
    finally:
        os.seteuid(0)


WHOLE = {
    "version": 2,
    "salt": "00",
    "failures": {},
    "requests": [],
    "pending": [],
    "attempts": [],
    "turns": {},
    "next_turn": 0,
}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "null",
        "[]",
        "\0" * 20,
        "\xff",
        "[" * 100_000,
        "{}",
        *(
            json.dumps({name: value for name, value in WHOLE.items() if name != left_out})
            for left_out in WHOLE
        ),
        json.dumps({**WHOLE, "version": 3}),
        json.dumps({**WHOLE, "salt": 5}),
        json.dumps({**WHOLE, "failures": {"x": [0, 1.0]}}),
        json.dumps({**WHOLE, "failures": {"x": [1, "1"]}}),
        json.dumps({**WHOLE, "failures": {"x": [1, float("nan")]}}),
        json.dumps({**WHOLE, "failures": {"x": [1, 10**400]}}),
        json.dumps({**WHOLE, "failures": [1]}),
        json.dumps({**WHOLE, "requests": [["../../etc/passwd", 1.0]]}),
        json.dumps({**WHOLE, "requests": [["x"]]}),
        json.dumps({**WHOLE, "pending": [["x", "y", 1.0, 2.0, 1, False]]}),
        json.dumps({**WHOLE, "pending": [["x", "y", 1.0, 2.0]]}),
        json.dumps({**WHOLE, "turns": {"x": None}}),
        json.dumps({**WHOLE, "next_turn": "0"}),
        json.dumps({**WHOLE, "attempts": [["x", True]]}),
    ],
)
def test_a_file_that_is_torn_or_forged_denies_and_can_be_cleared(world: World, content: str) -> None:
    world.file.write_text(content, encoding="latin-1")
    world.file.chmod(0o600)
    with pytest.raises(StateError) as caught:
        world.play(RequestResult.APPROVED)
    assert str(caught.value).endswith("; pam-iampass throttle clear alice")
    world.throttle().clear()
    world.play(RequestResult.APPROVED)


@pytest.mark.parametrize("kind", ["link", "pipe", "open to others", "of another user", "too large"])
def test_a_file_that_is_not_ours_is_refused(world: World, kind: str) -> None:
    if kind == "link":
        world.file.symlink_to("/etc/hostname")
    elif kind == "pipe":
        os.mkfifo(world.file, 0o600)
    else:
        world.file.write_bytes(b" " * (1024 * 1024 + 1 if kind == "too large" else 1))
        world.file.chmod(0o644 if kind == "open to others" else 0o600)
        if kind == "of another user":
            os.chown(world.file, 1, 1)
    with pytest.raises(StateError):
        world.play(RequestResult.APPROVED)
    world.throttle().clear()
    world.play(RequestResult.APPROVED)


def test_a_folder_in_the_place_of_the_file_cannot_be_cleared_and_says_so(world: World) -> None:
    world.file.mkdir()
    with pytest.raises(StateError, match="is not a regular file"):
        world.play(RequestResult.APPROVED)
    with pytest.raises(StateError, match="cannot be removed"):
        world.throttle().clear()


def test_clearing_leaves_logins_that_are_pending(world: World) -> None:
    world.play(RequestResult.FAILED)
    world.play(RequestResult.FAILED)
    with world.request(ELSEWHERE):
        world.throttle().clear()
        assert len(world.throttle().state().pending) == 1
    world.play(RequestResult.APPROVED)


def test_what_a_process_that_died_left_half_written_is_overwritten(world: World) -> None:
    lock = world.folder / f"{file_stem('alice')}.lock"
    lock.touch(0o600)
    half = world.folder / HeldLock(lock.name, lock.stat().st_ino).temporary
    half.write_text("half")
    world.play(RequestResult.FAILED)
    assert half.name not in world.files()
    assert len(world.throttle().state().requests) == 1


@pytest.mark.parametrize("step", STEPS)
def test_a_login_that_is_stopped_while_it_counts_keeps_nobody_out_and_counts_nothing_when_it_wakes(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(state_dir, "LOCK_PATIENCE", 0.2)
    with stopped_before(step, World.play, world, RequestResult.FAILED) as stopped:
        world.play(RequestResult.FAILED)
        assert resume(stopped) == 1
    assert len(world.throttle().state().requests) == 1


@pytest.mark.usefixtures("patient")
def test_a_lock_that_was_replaced_while_another_waited_for_it_is_no_lock(world: World) -> None:
    """Two who each have one of their own would tear the file."""
    name, inside, entered = "x.lock", threading.Event(), []

    def wait_for_the_old_one() -> None:
        with StateDir(str(world.folder), REMEDY).opened("") as folder, folder.locked(name):
            entered.append("old")
            inside.set()

    with StateDir(str(world.folder), REMEDY).opened("") as folder:
        waiting = threading.Thread(target=wait_for_the_old_one)
        with contextlib.ExitStack() as first:
            first.enter_context(folder.locked(name))
            waiting.start()
            wait_until(lambda: _opened(world.folder / name) == 2, "the second waits")
            second = contextlib.ExitStack()
            second.enter_context(folder.locked("next"))
            (world.folder / "next").rename(world.folder / name)
        with second:
            assert not inside.wait(0.3), "the new lock is held"
    waiting.join(20)
    assert entered == ["old"]


def _opened(file: Path) -> int:
    return sum(
        os.path.realpath(f"/proc/self/fd/{number}") == str(file) for number in os.listdir("/proc/self/fd")
    )


@given(st.binary(max_size=200))
def test_whatever_bytes_a_file_has_it_is_a_state_or_broken(data: bytes) -> None:
    with contextlib.suppress(CorruptState):
        assert isinstance(decoded(data), RateLimitState)


def test_the_counters_of_version_0_1_are_kept(world: World) -> None:
    now = world.now - 1
    origin = file_stem("00sshd\0from 192.0.2.1")
    old = {"version": 1, "salt": "00", "failures": {origin: [2, now]}, "requests": [["a", now]]}
    pending = [[origin, "a", now, False]]
    world.file.write_text(json.dumps({**old, "pending": pending, "attempts": [[origin, now]]}))
    world.file.chmod(0o600)
    with pytest.raises(Throttled, match="2 consecutive requests"):
        world.play(RequestResult.APPROVED)
    world.play(RequestResult.FAILED, ELSEWHERE)
    state = world.throttle().state()
    assert (len(state.requests), len(state.attempts), state.pending) == (2, 1, [])


def test_what_is_written_reads_the_same(world: World) -> None:
    state = RateLimitState("ab")
    state.fail("place", 1.5)
    state.attempt("place", 2.5)
    assert decoded(encoded(state)) == state


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

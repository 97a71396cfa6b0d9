"""The throttle of all people: its file, its threads, and the logins that wait."""

from __future__ import annotations

import json
import select
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pam_iampass.config.settings import ThrottleSettings as Limits
from pam_iampass.login.application import ApplicationGone, Stopping
from pam_iampass.login.throttle import Cause, Refusal, RequestResult, Scope
from pam_iampass.login.throttle_store import OTHER_LOGIN, QueuedLogin, ThrottleStore, result_of
from pam_iampass.outcome import Decision, Login, Outcome, Result, denied
from pam_iampass.system.boot import since_boot
from pam_iampass.system.database import Database

LIMITS = Limits(cool_off=30.0, longest_cool_off=900.0, requests_per_hour=30, logins_at_once=10, spacing=0.0)
SPACED = replace(LIMITS, spacing=3.0)
HERE = Login("alice", "sshd", rhost="192.0.2.1")
ELSEWHERE = replace(HERE, rhost="192.0.2.2")


class World:
    """The throttle in a file in a folder, and a clock of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "state" / "state.db"
        self.file.parent.mkdir(mode=0o700, exist_ok=True)
        self.now = 100_000.0
        self.start()

    def start(self, boot: str = "b00") -> None:
        """Start, as an agent does."""
        self.database = Database(str(self.file), boot=boot)
        self.throttle = ThrottleStore(self.database, lambda: self.now)
        self.database.open()

    @property
    def rows(self) -> dict[bytes, dict[str, int]]:
        """How many failures, requests and wrong codes are stored, of each person of whom there are some."""
        with self.database.reading() as connection:
            rows = connection.execute("SELECT person, state FROM limits").fetchall()
        return {
            person: {kind: len(found) for kind, found in json.loads(state).items() if found}
            for person, state in rows
        }

    def restart(self, boot: str = "b00") -> None:
        self.database.close()
        self.start(boot)

    def join(
        self, login: Login = HERE, user: str = "alice", limits: Limits = LIMITS
    ) -> QueuedLogin | Refusal:
        queued = QueuedLogin(self.throttle, user, login, self.now, limits)
        return queued.join(60.0) or queued

    @contextmanager
    def queued(
        self, login: Login = HERE, user: str = "alice", limits: Limits = LIMITS
    ) -> Iterator[QueuedLogin]:
        queued = self.join(login, user, limits)
        assert isinstance(queued, QueuedLogin)
        try:
            yield queued
        finally:
            queued.end()

    def play(self, result: RequestResult, login: Login = HERE, user: str = "alice") -> None:
        with self.queued(login, user) as queued:
            assert queued.has_turn
            queued.record(result)


@pytest.fixture
def world(own_folder: Path) -> Iterator[World]:
    found = World(own_folder)
    yield found
    found.database.close()


def test_the_clock_is_that_of_the_machines_start() -> None:
    before, uptime, after = since_boot(), Path("/proc/uptime").read_text().split()[0], since_boot()
    assert before - 1.0 < float(uptime) < after + 1.0


def test_another_person_is_not_kept_out(world: World) -> None:
    world.play(RequestResult.FAILED)
    world.play(RequestResult.FAILED)
    assert isinstance(world.join(), Refusal)
    world.play(RequestResult.APPROVED, user="bob")


# What is on the disk


@pytest.mark.parametrize("result", [*RequestResult, None])
def test_what_a_gateway_counts_neither_counts_here_nor_is_kept_waiting(
    world: World, result: RequestResult | None
) -> None:
    for _ in range(2):
        world.play(RequestResult.FAILED)
    before = world.throttle.state("alice"), world.rows
    queued = QueuedLogin(world.throttle, "alice", HERE, world.now, LIMITS, Scope.ORIGIN)
    assert queued.join(60.0) is None
    assert queued.has_turn
    assert (world.throttle.state("alice").requests, world.rows) == (before[0].requests, before[1])
    if result is not None:
        queued.record(result)
    queued.end()
    after = world.throttle.state("alice")
    assert (replace(after, turns=before[0].turns), world.rows) == before


def test_no_address_of_a_login_is_in_the_file(world: World) -> None:
    world.play(RequestResult.FAILED)
    everything = b"".join(path.read_bytes() for path in world.file.parent.iterdir())
    assert b"alice" in everything
    assert b"192.0.2" not in everything
    assert b"sshd" not in everything
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in world.file.parent.iterdir())


def test_an_agent_that_starts_again_has_counted_what_was_before_and_nobody_waits(world: World) -> None:
    for _ in range(2):
        world.play(RequestResult.FAILED)
        world.now += 1.0
    world.throttle.attempt("alice", HERE, 5)
    with world.queued(ELSEWHERE):
        before = world.throttle.state("alice")
        world.restart()
    refusal = world.join()
    assert isinstance(refusal, Refusal)
    assert "2 consecutive requests" in refusal.reason
    forgotten = replace(before, pending=(), turns={}, next_turn=0.0, agents_from=0.0)
    assert world.throttle.state("alice") == forgotten


def test_an_approval_leaves_nothing_in_the_file(world: World) -> None:
    for result in (RequestResult.FAILED, RequestResult.APPROVED, RequestResult.NOT_SENT):
        world.play(result)
    assert world.rows == {b"alice": {"requests": 1}}, "the failed one counts against the hour"


def test_that_a_phone_was_lost_outlasts_a_restart_and_more_than_an_hour(world: World) -> None:
    world.throttle.phone_lost("alice")
    lost = world.now
    world.now += 4000
    world.throttle.write()
    world.restart()
    assert world.throttle.state("alice").lost == lost
    world.play(RequestResult.APPROVED)


def test_after_a_reboot_everything_is_forgotten(world: World) -> None:
    world.play(RequestResult.FAILED)
    world.play(RequestResult.FAILED)
    world.restart(boot="b01")
    world.play(RequestResult.APPROVED)
    assert world.rows == {}


def test_a_name_that_is_no_utf_8_counts_as_any_other(world: World) -> None:
    name = "b\udcfcrger"
    world.play(RequestResult.FAILED, user=name)
    world.restart()
    assert len(world.throttle.state(name).failures) == 1


def test_people_of_whom_nothing_counts_any_more_are_forgotten(world: World) -> None:
    for number in range(5):
        world.play(RequestResult.FAILED, user=f"user{number}")
    world.now += 3700
    world.play(RequestResult.FAILED)
    assert set(world.throttle._states) == {b"alice"}
    assert set(world.rows) == {b"alice"}


# Waiting


@dataclass
class Waiting:
    """A login that waits, with the clock of its world."""

    world: World
    queued: QueuedLogin
    left: float = 60.0
    said: list[str] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    ends: BaseException | None = None
    decision: Decision | None = None

    def pause(self, seconds: float, _woken: int | None = None, /) -> None:
        self.pauses.append(seconds)
        self.world.now += seconds
        self.left -= seconds
        if self.ends is not None:
            raise self.ends

    def wait(self, *, visible: bool = True) -> Decision | Refusal | None:
        announce = self.said.append if visible else None
        return self.queued.wait(lambda: self.left, self.pause, announce, lambda: self.decision)


def test_a_user_who_need_not_wait_reads_nothing(world: World) -> None:
    with world.queued() as queued:
        waiting = Waiting(world, queued)
        assert waiting.wait() is None
    assert (queued.waited, waiting.said, waiting.pauses) == (False, [], [])


def test_a_user_who_waits_only_for_the_seconds_after_a_decision_reads_nothing(world: World) -> None:
    with world.queued(ELSEWHERE, limits=SPACED) as queued:
        queued.record(RequestResult.APPROVED)
    with world.queued(limits=SPACED) as queued:
        waiting = Waiting(world, queued)
        assert waiting.wait() is None
        assert queued.has_turn
    assert (queued.waited, waiting.said) == (True, [])
    assert 2.9 < sum(waiting.pauses) < 3.5


@pytest.mark.parametrize("visible", [True, False])
def test_a_login_whose_turn_does_not_come_says_so_once_sends_nothing_and_counts_for_nothing(
    world: World, visible: bool
) -> None:
    with world.queued(ELSEWHERE):
        with world.queued() as queued:
            waiting = Waiting(world, queued)
            assert waiting.wait(visible=visible) == Refusal(Cause.NO_TURN)
        state = world.throttle.state("alice")
    assert waiting.said == [OTHER_LOGIN] * visible
    assert waiting.left == pytest.approx(10.0, abs=0.5), "time to answer must be left"
    assert (len(state.pending), len(state.requests), state.failures) == (1, 1, {})


COVERED = Decision(Outcome.COVERED, Result.IGNORED)


@pytest.mark.parametrize("has_turn", [False, True])
def test_a_login_that_is_covered_before_it_has_asked_gives_up_its_place_and_counts_for_nothing(
    world: World, has_turn: bool
) -> None:
    with world.queued(ELSEWHERE) as first, world.queued() as queued:
        if has_turn:
            first.record(RequestResult.APPROVED)
            first.end()
        assert Waiting(world, queued, decision=COVERED).wait() is COVERED
        assert queued.has_turn is has_turn
        state = world.throttle.state("alice")
        others = 0 if has_turn else 1
        assert (len(state.pending), len(state.requests), state.failures) == (others, others, {})


@pytest.mark.parametrize(
    ("end", "visible", "failures"),
    [(ApplicationGone(), True, 1), (ApplicationGone(), False, 0), (Stopping(), True, 0)],
    ids=repr,
)
def test_to_leave_after_having_read_that_another_login_waits_counts_as_a_failure(
    world: World, end: BaseException, visible: bool, failures: int
) -> None:
    with world.queued(ELSEWHERE):
        with world.queued() as queued, pytest.raises(type(end)):
            Waiting(world, queued, ends=end).wait(visible=visible)
        state = world.throttle.state("alice")
    assert sum(found.count for found in state.failures.values()) == failures
    assert (len(state.pending), len(state.requests)) == (1, 1)


def test_a_login_that_waits_is_woken_when_the_turn_is_over_and_by_nothing_before(world: World) -> None:
    woken = []

    def pause(seconds: float, descriptor: int | None = None, /) -> None:
        assert seconds > 40.0, "nobody looks at the clock meanwhile"
        world.play(RequestResult.APPROVED, user="bob")
        woken.append(bool(select.select([descriptor], [], [], 0)[0]))
        first.end()
        woken.append(bool(select.select([descriptor], [], [], 0)[0]))

    with world.queued() as first, world.queued(ELSEWHERE) as queued:
        assert queued.wait(lambda: 60.0, pause, None, lambda: None) is None
        assert queued.has_turn
    assert woken == [False, True]


def test_logins_in_many_threads_all_have_their_turn_one_at_a_time(world: World) -> None:
    at_once, most, done = [], [], []

    def log_in(number: int) -> None:
        def pause(seconds: float, woken: int | None = None, /) -> None:
            select.select([] if woken is None else [woken], [], [], min(seconds, 20.0))

        with world.queued(replace(HERE, rhost=f"192.0.2.{number}")) as queued:
            queued.wait(lambda: 60.0, pause, None, lambda: None)
            at_once.append(number)
            most.append(len(at_once))
            done.append(number)
            queued.record(RequestResult.APPROVED)
            at_once.remove(number)

    threads = [threading.Thread(target=log_in, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (max(most), sorted(done)) == (1, list(range(30)))


# The result


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

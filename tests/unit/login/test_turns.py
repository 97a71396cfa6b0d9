"""Whose turn it is to ask the phone: one request per person at a time, by origin."""

from __future__ import annotations

import select
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_iampass.login.application import ApplicationGone, Stopping
from pam_iampass.login.origin import client_address, origin_of
from pam_iampass.login.rate_limit import (
    MOST_PENDING,
    OTHER_LOGIN,
    AtCapacity,
    PhoneLost,
    QueuedLogin,
    RequestResult,
    Throttled,
    TurnDidNotCome,
    wait_for_turn,
)
from pam_iampass.login.rate_limit_state import TURN_PATIENCE, Pending, RateLimitState
from pam_iampass.outcome import Login
from tests.unit.login.test_rate_limit import ELSEWHERE, HERE, LIMITS, World

SPACED = replace(LIMITS, spacing=3.0)


@pytest.fixture
def world(trusted_folder: Path) -> Iterator[World]:
    found = World(trusted_folder)
    yield found
    found.database.close()


class Logins:
    """Logins of one person that are in the queue, by name."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.queued: dict[str, QueuedLogin] = {}
        self._ends: dict[str, ExitStack] = {}

    def come(self, name: str, login: Login = HERE, limits: object = LIMITS) -> QueuedLogin:
        self._ends[name] = ExitStack()
        self.queued[name] = self._ends[name].enter_context(self.world.queued(login, limits=limits))  # type: ignore[arg-type]
        self.world.now += 0.01
        return self.queued[name]

    def end(self, name: str, result: RequestResult = RequestResult.APPROVED) -> None:
        """The login is decided, and its session is over."""
        self.queued.pop(name).record(result)
        self._ends.pop(name).close()

    def next(self) -> str | None:
        """Let all try; the one that has its turn now."""
        for queued in self.queued.values():
            if not any(each.has_turn for each in self.queued.values()):
                queued.try_turn()
        holders = [name for name, queued in self.queued.items() if queued.has_turn]
        assert len(holders) < 2
        return holders[0] if holders else None


@pytest.fixture
def logins(world: World) -> Iterator[Logins]:
    found = Logins(world)
    yield found
    for end in found._ends.values():
        end.close()


def test_a_second_login_has_its_turn_when_the_first_has_ended(logins: Logins) -> None:
    assert logins.come("first").has_turn
    second = logins.come("second", ELSEWHERE)
    assert not second.has_turn
    second.try_turn()
    assert not second.has_turn
    logins.end("first")
    second.try_turn()
    assert second.has_turn


def test_a_login_that_is_decided_keeps_its_turn_until_its_session_has_ended(logins: Logins) -> None:
    logins.come("first")
    logins.come("second", ELSEWHERE)
    logins.queued["first"].record(RequestResult.APPROVED)
    assert logins.next() == "first"


@pytest.mark.parametrize("result", [RequestResult.APPROVED, RequestResult.FAILED, RequestResult.STOPPED])
def test_the_next_request_is_sent_some_seconds_after_the_decision(
    logins: Logins, result: RequestResult
) -> None:
    logins.come("first", limits=SPACED)
    logins.come("second", ELSEWHERE, SPACED)
    logins.end("first", result)
    logins.world.now += 2.9
    assert logins.next() is None
    third = logins.come("third", limits=SPACED)
    assert not third.has_turn, "this holds for a login that comes later as well"
    logins.world.now += 0.1
    assert logins.next() == "second"


def test_after_a_login_that_sent_nothing_the_next_one_need_not_wait(logins: Logins) -> None:
    logins.come("first", limits=SPACED)
    logins.come("second", limits=SPACED)
    logins.end("first", RequestResult.NOT_SENT)
    assert logins.next() == "second"


# Turns go round by origin


def test_logins_of_one_origin_have_their_turns_in_the_order_in_which_they_came(logins: Logins) -> None:
    for name in ("first", "second", "third"):
        logins.come(name)
    for name in ("first", "second", "third"):
        assert logins.next() == name
        logins.end(name)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), min_size=1, max_size=12))
def test_while_an_origin_waits_every_other_one_has_at_most_one_turn(arrivals: list[tuple[int, int]]) -> None:
    state, now, number, history = RateLimitState(), 0.0, 0, []
    for origin, count in arrivals:
        for _ in range(count):
            number, now = number + 1, now + 1e-6
            state.pending.append(Pending(str(origin), str(number), now, 1e9))
        while state.pending and state.turn_holder() is None:
            now += 1e-6
            assert sum(state.begin_turn(login.ident, now) for login in state.pending) == 1
            holder = state.turn_holder()
            assert holder is not None
            waiting = {login.origin for login in state.pending if login is not holder}
            history.append((holder.origin, waiting))
            holder.decided = True
            state.end(holder, now)
            if len(history) % 3 == 0:
                break
    for place, (first, _waiting) in enumerate(history):
        for later, (again, _) in enumerate(history[place + 1 :], place + 1):
            if again == first:
                others = {holder for holder, _ in history[place + 1 : later]}
                stayed = set.intersection(*(waiting for _, waiting in history[place:later])) - {first}
                assert stayed <= others, "who waited all the time has had a turn in between"
                break


@pytest.mark.parametrize(
    ("host", "same", "other"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"),
        ("fe80::1%eth0", "fe80::2%eth1", "fec0::1"),
        ("host.example", "host.example", "other.example"),
        ("a:b", "a:b", "a:c"),
        (None, "127.0.0.1", "here"),
        ("127.0.0.1", "127.255.255.254", "192.0.2.1"),
        ("::1", "::ffff:127.0.0.2", "::2"),
    ],
)
def test_an_origin_is_a_service_and_a_host_or_the_network_in_which_an_ipv6_host_chooses_its_address(
    host: str | None, same: str, other: str
) -> None:
    """All loopback addresses are this machine."""
    here = replace(HERE, rhost=host)
    assert origin_of(here) == origin_of(replace(here, rhost=same))
    assert origin_of(here) != origin_of(replace(here, rhost=other))
    assert origin_of(here) != origin_of(replace(here, service="su"))


def test_in_sshd_the_origin_is_the_address_and_no_host_name() -> None:
    """With `UseDNS yes` PAM_RHOST is a name, which whoever has the address chooses; AF_UNIX has no address."""
    in_sshd = replace(HERE, ssh_auth_info="", address="192.0.2.1", rhost="a.example")
    assert origin_of(in_sshd) == origin_of(replace(in_sshd, rhost="b.example"))
    assert origin_of(in_sshd) != origin_of(replace(in_sshd, address="192.0.2.2"))
    without = replace(in_sshd, address="", rhost="UNKNOWN")
    assert origin_of(without) == origin_of(replace(without, address="127.0.0.1"))


@pytest.mark.parametrize(
    ("connection", "address"),
    [
        ("::ffff:192.0.2.1 1 ::ffff:192.0.2.9 22", "192.0.2.1"),
        ("2001:DB8:0::1 1 2001:db8::9 22", "2001:db8::1"),
        ("UNKNOWN 65535 UNKNOWN 65535", ""),
        ("a.example 1 192.0.2.9 22", ""),
        (None, ""),
    ],
)
def test_only_a_literal_address_of_the_ssh_connection_is_one(connection: str | None, address: str) -> None:
    assert client_address(connection) == address


# Those who do not move


def test_a_login_that_does_not_take_its_turn_is_passed_by(logins: Logins) -> None:
    logins.come("holder")
    logins.come("stopped", replace(HERE, rhost="192.0.2.3"))
    waiting = logins.come("waiting", ELSEWHERE)
    logins.end("holder")
    waiting.try_turn()
    logins.world.now += TURN_PATIENCE - 0.1
    waiting.try_turn()
    assert not waiting.has_turn
    logins.world.now += 0.2
    waiting.try_turn()
    assert waiting.has_turn


def test_a_login_that_hangs_with_its_turn_is_ignored_some_seconds_after_its_time(logins: Logins) -> None:
    logins.come("hangs")
    logins.world.now += 74.9
    waiting = logins.come("waiting", ELSEWHERE)
    waiting.try_turn()
    assert not waiting.has_turn
    logins.world.now += 0.1
    waiting.try_turn()
    assert waiting.has_turn


def test_a_login_that_breaks_off_while_it_waits_counts_for_nothing(world: World) -> None:
    with world.request(ELSEWHERE) as held:
        with world.queued(HERE):
            pass
        held.record(RequestResult.APPROVED)
        assert len(world.throttle().state().pending) == 1
    with world.request():
        assert world.throttle().state().failures == {}


def test_of_a_hundred_logins_that_wait_no_more_are_taken(world: World) -> None:
    with ExitStack() as waiting:
        for _ in range(MOST_PENDING):
            waiting.enter_context(world.queued())
        with pytest.raises(AtCapacity), world.queued(ELSEWHERE):
            pass


# What is checked again


def test_a_backoff_that_begins_while_a_login_waits_holds_for_it(logins: Logins) -> None:
    for name in ("first", "second", "third"):
        logins.come(name)
    for name in ("first", "second"):
        assert logins.next() == name
        logins.end(name, RequestResult.FAILED)
    with pytest.raises(Throttled, match="2 consecutive requests"):
        logins.next()


def test_a_login_that_waits_counts_against_the_hour_only_from_its_turn_on(logins: Logins) -> None:
    logins.come("first")
    logins.come("second")
    assert len(logins.world.throttle().state().requests) == 1
    logins.queued.pop("second").leave(failed=False)
    logins.end("first")
    assert logins.world.throttle().state().requests == []


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

    def pause(self, seconds: float, _woken: int | None = None, /) -> None:
        self.pauses.append(seconds)
        self.world.now += seconds
        self.left -= seconds
        if self.ends is not None:
            raise self.ends

    def wait(self, *, visible: bool = True) -> bool:
        return wait_for_turn(
            self.queued, lambda: self.left, self.pause, self.said.append if visible else None
        )


def test_who_need_not_wait_reads_nothing(world: World) -> None:
    with world.request() as queued:
        waiting = Waiting(world, queued)
        assert waiting.wait() is False
    assert (waiting.said, waiting.pauses) == ([], [])


def test_who_waits_only_for_the_seconds_after_a_decision_reads_nothing(world: World) -> None:
    world.play(RequestResult.APPROVED, ELSEWHERE, SPACED)
    with world.queued(limits=SPACED) as queued:
        waiting = Waiting(world, queued)
        assert waiting.wait() is True
    assert waiting.said == []
    assert 2.9 < sum(waiting.pauses) < 3.5


@pytest.mark.parametrize("visible", [True, False])
def test_a_login_whose_turn_does_not_come_says_so_once_sends_nothing_and_counts_for_nothing(
    world: World, visible: bool
) -> None:
    with world.request(ELSEWHERE):
        with world.queued() as queued, pytest.raises(TurnDidNotCome):
            (waiting := Waiting(world, queued)).wait(visible=visible)
        state = world.throttle().state()
    assert waiting.said == [OTHER_LOGIN] * visible
    assert waiting.left == pytest.approx(10.0, abs=0.5), "time to answer must be left"
    assert (len(state.pending), len(state.requests), state.failures) == (1, 1, {})


@pytest.mark.parametrize(
    ("end", "visible", "failures"),
    [
        (ApplicationGone(), True, 1),
        (ApplicationGone(), False, 0),
        (Stopping(), True, 0),
        (PhoneLost(), True, 0),
    ],
    ids=repr,
)
def test_to_leave_after_having_read_that_another_login_waits_counts_as_a_failure(
    world: World, end: BaseException, visible: bool, failures: int
) -> None:
    with world.request(ELSEWHERE):
        with world.queued() as queued, pytest.raises(type(end)):
            Waiting(world, queued, ends=end).wait(visible=visible)
        state = world.throttle().state()
    assert sum(found.count for found in state.failures.values()) == failures
    assert (len(state.pending), len(state.requests)) == (1, 1)


def test_a_login_that_waits_is_woken_when_the_turn_is_over_and_by_nothing_before(logins: Logins) -> None:
    logins.come("first")
    waiting = logins.come("waiting", ELSEWHERE)
    assert waiting.woken is not None
    assert waiting.patience() > 60.0, "nobody looks at the clock meanwhile"

    def is_woken() -> bool:
        return bool(select.select([waiting.woken], [], [], 0)[0])

    with logins.world.request(user="bob"):
        pass
    assert not is_woken()
    logins.end("first")
    assert is_woken()
    waiting.try_turn()
    assert waiting.has_turn


def test_of_logins_in_many_threads_one_at_a_time_has_the_turn_and_all_have_it(world: World) -> None:
    at_once, most, done = [], [], []

    def log_in(number: int) -> None:
        def pause(seconds: float, woken: int | None = None, /) -> None:
            select.select([] if woken is None else [woken], [], [], min(seconds, 20.0))

        with world.queued(replace(HERE, rhost=f"192.0.2.{number}")) as queued:
            wait_for_turn(queued, lambda: 60.0, pause, None)
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


# A lost phone


def test_a_lost_phone_ends_all_logins_that_are_pending_and_no_later_one(logins: Logins) -> None:
    asking, waiting = logins.come("asking"), logins.come("waiting", ELSEWHERE)
    asking.check_phone()
    assert logins.world.throttle().phone_lost() == 2
    with pytest.raises(PhoneLost):
        asking.check_phone()
    with pytest.raises(PhoneLost):
        waiting.try_turn()
    logins.world.now += 0.01
    later = logins.come("later")
    later.check_phone()


def test_of_a_lost_phone_nothing_is_kept_from_before_a_reboot(logins: Logins) -> None:
    logins.world.throttle().phone_lost()
    logins.world.now = 10.0
    logins.come("first").check_phone()

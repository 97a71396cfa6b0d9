"""How often a phone may ring, and whose turn it is: the rules, with a clock of the test's own."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pam_iampass.config.settings import ThrottleSettings as Limits
from pam_iampass.login import throttle
from pam_iampass.login.throttle import (
    AFTER_OWN,
    MOST_KEPT,
    MOST_PENDING,
    TURN_PATIENCE,
    Cause,
    Failures,
    Pending,
    Refusal,
    RequestResult,
    Scope,
    ThrottleState,
    client_address,
    decided,
    ended,
    joined,
    origin_key,
    origin_of,
    summary,
)
from pam_iampass.outcome import Login

LIMITS = Limits(cool_off=30.0, longest_cool_off=900.0, requests_per_hour=30, logins_at_once=10, spacing=0.0)
SPACED = replace(LIMITS, spacing=3.0)
LOGIN = Login("alice", "sshd", rhost="192.0.2.1")
LOGIN_IN_SSHD = replace(LOGIN, ssh_auth_info="", address="192.0.2.1")


class Person:
    """The logins of one person, by name."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.limits = limits
        self.scope = Scope.PERSON
        self.state = ThrottleState()
        self.now = 100_000.0
        self.logins: dict[str, Pending] = {}

    def come(
        self,
        name: str,
        origin: str = "here",
        host: str = "",
        *,
        is_usual: bool = False,
        is_agents: bool = False,
    ) -> Refusal | None:
        """A login wants its turn; it is over 75 s later at the latest."""
        self.now += 0.01
        until = self.now + 75.0
        kinds = {"is_usual": is_usual, "is_agents": is_agents}
        self.logins[name] = Pending(origin, name, self.now, self.now, until, host=host, **kinds)
        return self._after(throttle.joined(self.current, self.logins[name], self.limits, self.scope))

    def tries(self, name: str) -> Refusal | None:
        return self._after(throttle.tried(self.current, self.logins[name], self.limits, self.now, self.scope))

    def next(self) -> str | None:
        """Let all try; the one that has its turn now."""
        self.now += 1e-6
        for login in self.current.pending:
            assert self.tries(login.ident) is None
        return self.holder

    def decide(self, name: str, result: RequestResult) -> None:
        self.state = throttle.decided(self.current, self.logins[name], result, self.limits, self.now)

    def end(self, name: str, result: RequestResult | None = RequestResult.APPROVED) -> None:
        """The login is decided, unless it was broken off, and its session is over."""
        if result is not None:
            self.decide(name, result)
        self.state = throttle.ended(self.current, self.logins[name], self.now)

    def play(self, result: RequestResult | None, origin: str = "here") -> Refusal | None:
        """A login that has its turn at once, from its beginning to its end."""
        name = str(self.now)
        refusal = self.come(name, origin)
        if refusal is None:
            assert self.holder == name
            self.end(name, result)
        return refusal

    def attempt(self, most: int, origin: str = "here") -> Refusal | None:
        return self._after(throttle.attempted(self.current, origin, most, self.now))

    @property
    def current(self) -> ThrottleState:
        return self.state.current(self.now)

    @property
    def holder(self) -> str | None:
        holders = [login.ident for login in self.current.pending if login.has_turn]
        assert len(holders) < 2
        return holders[0] if holders else None

    def _after(self, found: ThrottleState | Refusal) -> Refusal | None:
        if isinstance(found, Refusal):
            return found
        self.state = found
        return None


@pytest.fixture
def person() -> Person:
    return Person()


# Accounts that act for the person


def test_its_requests_wait_behind_all_others(person: Person) -> None:
    person.come("first")
    person.come("agents", "agent", is_agents=True)
    person.come("own", "here")
    person.come("later", "elsewhere")
    for name in ("first", "later", "own"):
        assert person.holder == name
        person.end(name)
        person.next()
    assert person.holder is None
    person.now += AFTER_OWN - 0.1
    assert person.next() is None
    assert person.current.next_chance(person.logins["agents"], person.now) < 0.2
    person.now += 0.2
    assert person.next() == "agents"
    assert not person.current.is_withdrawn(person.logins["agents"])
    person.come("own again")
    assert person.current.is_withdrawn(person.logins["agents"])
    person.end("agents", RequestResult.STOPPED)
    assert person.next() == "own again"


def test_its_logins_take_no_place_of_its_owners(person: Person) -> None:
    for number in range(MOST_PENDING):
        assert person.come(f"agents {number}", f"agent {number}", is_agents=True) is None
    assert person.come("one more", "agent", is_agents=True) == Refusal(Cause.AT_CAPACITY)
    assert person.come("own") is None


def test_a_request_that_was_broken_off_is_one_of_the_owner_too(person: Person) -> None:
    person.come("own")
    person.end("own", None)
    person.come("agents", "agent", is_agents=True)
    assert person.next() is None


# The backoff


def test_the_first_failure_in_a_row_is_free_and_then_the_wait_doubles_up_to_its_limit(person: Person) -> None:
    waits = []
    for _ in range(9):
        assert person.play(RequestResult.FAILED) is None
        refusal = person.play(RequestResult.NOT_SENT)
        waits.append(round(refusal.wait) if refusal else 0)
        person.now += refusal.wait if refusal else 0
    assert waits == [0, 30, 60, 120, 240, 480, 900, 900, 900]


def test_an_approval_ends_the_row(person: Person) -> None:
    for result in (RequestResult.FAILED, RequestResult.APPROVED) * 2:
        assert person.play(result) is None


@pytest.mark.parametrize("result", [RequestResult.STOPPED, RequestResult.NOT_SENT])
def test_what_nobody_is_to_blame_for_is_no_failure(person: Person, result: RequestResult) -> None:
    assert [person.play(result) for _ in range(10)] == [None] * 10


def test_after_an_hour_of_peace_a_failure_is_the_first_again(person: Person) -> None:
    person.play(RequestResult.FAILED)
    person.now += 3600
    assert person.play(RequestResult.FAILED) is None
    assert person.play(RequestResult.FAILED) is None


def test_a_backoff_holds_for_one_origin_only(person: Person) -> None:
    person.play(RequestResult.FAILED)
    person.play(RequestResult.FAILED)
    assert person.play(RequestResult.APPROVED, "elsewhere") is None
    assert person.play(RequestResult.APPROVED) is not None


def test_a_backoff_of_zero_disables_it() -> None:
    person = Person(replace(LIMITS, cool_off=0.0))
    assert [person.play(RequestResult.FAILED) for _ in range(10)] == [None] * 10


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
    person = Person(replace(LIMITS, requests_per_hour=100))
    for number, (result, step) in enumerate(history):
        person.now = max(person.now + step, 0.0)
        refusal = person.come(str(number))
        assert refusal is None or 0.0 < refusal.wait <= 900.0
        if refusal is None:
            person.end(str(number), result)
    assert 0.0 <= person.current.backoff(Pending("here", "next", 0.0), LIMITS, person.now) <= 900.0


def test_a_login_that_ends_without_a_result_counts_as_a_failure_and_asking_again_makes_it_no_worse(
    person: Person,
) -> None:
    for _ in range(2):
        person.play(None)  # killed
    began = person.now
    for waited in (0.0, 10.0, 29.0):
        person.now = began + waited
        refusal = person.play(None)
        assert refusal is not None
        assert "2 consecutive requests" in refusal.reason
        assert refusal.wait == pytest.approx(30.0 - waited, abs=0.1), "asking again makes it no longer"
    person.now = began + 30.0
    assert person.play(RequestResult.APPROVED) is None


# The hourly limit


def test_the_hourly_limit_counts_requests_from_all_origins() -> None:
    person = Person(replace(LIMITS, requests_per_hour=3))
    for number in range(3):
        person.now += 10
        assert person.play(RequestResult.STOPPED, f"origin{number}") is None
    refusal = person.play(RequestResult.STOPPED)
    assert refusal is not None
    assert refusal.reason.startswith("3 requests within an hour were not approved")
    assert refusal.wait == pytest.approx(3600 - 20, abs=0.1)
    person.now += refusal.wait
    assert person.play(RequestResult.STOPPED) is None


@pytest.mark.parametrize("result", [RequestResult.APPROVED, RequestResult.NOT_SENT])
def test_approved_requests_and_those_that_never_went_out_do_not_count(result: RequestResult) -> None:
    person = Person(replace(LIMITS, requests_per_hour=1))
    assert [person.play(result) for _ in range(5)] == [None] * 5


def test_a_request_counts_from_its_beginning_so_that_a_killed_process_counts() -> None:
    person = Person(replace(LIMITS, requests_per_hour=1))
    assert person.come("first") is None
    assert person.come("second", "elsewhere") is not None
    person.end("first", None)
    assert person.come("third") is not None


# Recovery codes have a counter of their own


def test_the_hourly_limit_of_wrong_codes_holds_for_one_origin(person: Person) -> None:
    assert [person.attempt(5) for _ in range(5)] == [None] * 5
    assert person.attempt(5) == Refusal(
        Cause.LIMIT, "5 wrong recovery codes within an hour from this origin", 3600.0
    )
    assert person.attempt(5, "elsewhere") is None
    person.now += 3600
    assert person.attempt(5) is None


def test_a_right_code_does_not_count(person: Person) -> None:
    assert throttle.attempt_was_right(person.state, "here") == person.state
    assert person.attempt(2) is None
    for _ in range(10):
        assert person.attempt(2) is None
        person.state = throttle.attempt_was_right(person.state, "here")
    assert len(person.state.attempts) == 1


# What is kept is bounded


def test_logins_from_ever_new_addresses_that_send_no_request_do_not_fill_the_state_of_the_person(
    person: Person,
) -> None:
    for number in range(MOST_KEPT + 5):
        person.play(RequestResult.NOT_SENT, f"origin{number}")
    assert len(person.state.turns) == MOST_KEPT


def test_only_so_many_failures_and_attempts_are_remembered() -> None:
    person = Person(replace(LIMITS, requests_per_hour=10_000))
    for number in range(MOST_KEPT + 5):
        person.play(RequestResult.FAILED, f"origin{number}")
        person.attempt(5, f"origin{number}")
    assert len(person.state.attempts) == len(person.state.failures) == MOST_KEPT
    assert f"origin{MOST_KEPT + 4}" in person.state.failures
    assert person.state.attempts[-1].origin == f"origin{MOST_KEPT + 4}"


def test_at_most_a_hundred_logins_wait(person: Person) -> None:
    for number in range(MOST_PENDING):
        assert person.come(str(number)) is None
    assert person.come("one more", "elsewhere") == Refusal(Cause.AT_CAPACITY)


# Whose turn it is


def test_a_second_login_has_its_turn_when_the_first_has_ended(person: Person) -> None:
    person.come("first")
    assert person.holder == "first"
    person.come("second", "elsewhere")
    assert person.next() == "first"
    person.end("first")
    assert person.next() == "second"


def test_a_login_that_is_decided_keeps_its_turn_until_its_session_has_ended(person: Person) -> None:
    person.come("first")
    person.come("second", "elsewhere")
    person.decide("first", RequestResult.APPROVED)
    assert person.next() == "first"


@pytest.mark.parametrize("result", [RequestResult.APPROVED, RequestResult.FAILED, RequestResult.STOPPED])
def test_the_next_request_is_sent_some_seconds_after_the_decision(result: RequestResult) -> None:
    person = Person(SPACED)
    person.come("first")
    person.come("second", "elsewhere")
    person.end("first", result)
    person.now += 2.9
    assert person.next() is None
    person.come("third")
    assert person.next() is None, "this holds for a login that comes later as well"
    person.now += 0.1
    assert person.next() == "second"


def test_after_a_login_that_sent_nothing_the_next_one_need_not_wait() -> None:
    person = Person(SPACED)
    person.come("first")
    person.come("second")
    person.end("first", RequestResult.NOT_SENT)
    assert person.next() == "second"


def test_logins_of_one_origin_have_their_turns_in_the_order_in_which_they_came(person: Person) -> None:
    for name in ("first", "second", "third"):
        person.come(name)
    for name in ("first", "second", "third"):
        assert person.next() == name
        person.end(name)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), min_size=1, max_size=12))
def test_while_an_origin_waits_every_other_one_has_at_most_one_turn(arrivals: list[tuple[int, int]]) -> None:
    person, history = Person(), []
    for number, (origin, count) in enumerate(arrivals):
        for each in range(count):
            person.come(f"{number}.{each}", str(origin))
        while (holder := person.next()) is not None:
            waiting = {login.origin for login in person.state.pending if login.ident != holder}
            history.append((person.logins[holder].origin, waiting))
            person.end(holder)
            if len(history) % 3 == 0:
                break
    for place, (first, _waiting) in enumerate(history):
        for later, (again, _) in enumerate(history[place + 1 :], place + 1):
            if again == first:
                others = {holder for holder, _ in history[place + 1 : later]}
                stayed = set.intersection(*(waiting for _, waiting in history[place:later])) - {first}
                assert stayed <= others, "who waited all the time has had a turn in between"
                break


def test_logins_of_two_origins_that_have_come_at_one_moment_have_their_turns_by_their_idents(
    person: Person,
) -> None:
    person.come("first")
    person.come("c", "one")
    person.now = person.logins["c"].since - 0.01
    person.come("b", "another")
    assert person.logins["b"].since == person.logins["c"].since
    person.end("first")
    assert person.next() == "b"


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=20), st.booleans(), st.integers(0, 5), st.integers(0, 19)
)
def test_neither_an_origin_on_many_hosts_nor_a_host_with_many_origins_comes_before_another_login_twice(
    attackers: list[int], one_origin: bool, host: int, turns: int
) -> None:
    person = Person()
    for place, each in enumerate(attackers):
        where = ("attacker", f"host {each}") if one_origin else (f"attacker {each}", "host 6")
        person.come(str(place), *where)
    for _ in range(min(turns, len(attackers) - 1)):
        person.end(str(person.next()))
    assert person.next() is not None
    person.come("own", "home", f"host {host}")
    person.end(str(person.holder))
    assert person.current.first(person.now) == person.logins["own"]
    assert person.next() == "own"


def test_a_login_from_a_usual_origin_waits_for_one_of_all_others_at_most(person: Person) -> None:
    person.come("0", "office", is_usual=True)
    for number in range(10):
        person.come(f"attacker {number}", f"attacker {number}")
    for number in range(1, 5):
        person.come(str(number), "office", is_usual=True)
        assert str(number) in have_turns(person, 2)


def test_a_usual_origin_that_always_waits_keeps_nobody_from_a_turn_elsewhere(person: Person) -> None:
    for number in range(5):
        person.come(str(number), "office", is_usual=True)
    person.come("new", "hotel")
    assert "new" in have_turns(person, 2)


ELSEWHERE = {
    "a new address on her host": ("attacker {}", "Y", False),
    "a usual address on another host": ("usual {}", "X", True),
    "her address on another host": ("home", "X", False),
}


@given(
    st.lists(st.sampled_from(sorted(ELSEWHERE)), min_size=1, max_size=20),
    st.lists(st.sampled_from(sorted(ELSEWHERE)), max_size=10),
    st.integers(0, 19),
)
@example(["a new address on her host"] * 4 + ["a usual address on another host"] * 4, [], 0)
def test_turns_from_elsewhere_and_of_usual_origins_on_another_host_do_not_put_a_usual_login_back(
    before: list[str], meanwhile: list[str], turns: int
) -> None:
    person = Person()

    def come(names: list[str]) -> None:
        for each in names:
            origin, host, is_usual = ELSEWHERE[each]
            number = len(person.logins)
            person.come(str(number), origin.format(number % 4), host, is_usual=is_usual)

    come(before)
    for _ in range(min(turns, len(before) - 1)):
        person.end(str(person.next()))
    assert person.next() is not None
    person.come("own", "home", "Y", is_usual=True)
    come(meanwhile)
    # At most one of the other host goes first, and one from elsewhere after the holder of the turn and after that one.
    earlier = []
    while person.holder != "own":
        earlier.append(person.holder)
        person.end(str(person.holder))
        person.next()
    assert len(earlier) <= 4


def have_turns(person: Person, number: int) -> list[str | None]:
    """The logins that have the next turns, each when the one before has ended."""
    found = []
    for _ in range(number):
        person.end(str(person.holder))
        found.append(person.next())
    return found


def test_at_a_gateway_a_login_waits_for_those_of_its_own_origin_only(person: Person) -> None:
    person.scope = Scope.ORIGIN
    for name, origin in (("first", "here"), ("second", "here"), ("other", "elsewhere")):
        person.come(name, origin)
    having = [login.ident for login in person.current.pending if login.has_turn]
    assert having == ["first", "other"]
    of_origin = person.current.within(Scope.ORIGIN, person.logins["second"])
    assert of_origin.next_chance(person.logins["second"], person.now) > TURN_PATIENCE
    person.end("other")
    person.tries("second")
    assert not person.current.has_turn(person.logins["second"])
    person.end("first")
    person.tries("second")
    assert person.current.has_turn(person.logins["second"])


# Those who do not move


def test_a_login_that_does_not_take_its_turn_is_passed_by(person: Person) -> None:
    person.come("holder")
    person.come("stopped", "third")
    person.come("waiting", "elsewhere")
    person.end("holder")
    person.tries("waiting")
    person.now += TURN_PATIENCE - 0.1
    person.tries("waiting")
    assert person.holder is None
    person.now += 0.2
    person.tries("waiting")
    assert person.holder == "waiting"


def test_a_login_that_hangs_with_its_turn_is_ignored_some_seconds_after_its_time(person: Person) -> None:
    person.come("hangs")
    person.now += 74.9
    person.come("waiting", "elsewhere")
    assert person.next() == "hangs"
    person.now += 0.1
    assert person.next() == "waiting"
    person.end("hangs", RequestResult.FAILED)
    assert person.state.failures["here"].count == 1, "what it records later counts nevertheless"


def test_a_login_that_breaks_off_while_it_waits_counts_for_nothing(person: Person) -> None:
    person.come("holder", "elsewhere")
    person.come("waiting")
    person.end("waiting", None)
    assert (len(person.state.pending), person.state.failures) == (1, {})


@pytest.mark.parametrize("failed", [False, True])
def test_a_login_that_leaves_before_it_has_sent_a_request_counts_only_if_it_is_to(
    person: Person, failed: bool
) -> None:
    for name in ("has its turn", "waits"):
        person.come(name)
        person.state = throttle.left(person.current, person.logins[name], person.now, failed=failed)
    assert (person.state.pending, person.state.requests) == ((), {})
    assert sum(found.count for found in person.state.failures.values()) == 2 * failed


# What is checked again


def test_a_backoff_that_begins_while_a_login_waits_holds_for_it(person: Person) -> None:
    for name in ("first", "second", "third"):
        person.come(name)
    for name in ("first", "second"):
        assert person.next() == name
        person.end(name, RequestResult.FAILED)
    refusal = person.tries("third")
    assert refusal is not None
    assert "2 consecutive requests" in refusal.reason


def test_a_lost_phone_ends_all_logins_that_are_pending_and_no_later_one(person: Person) -> None:
    person.come("asking")
    person.come("waiting", "elsewhere")
    person.state = throttle.phone_lost(person.current, person.now)
    assert person.tries("waiting") == Refusal(Cause.PHONE_LOST)
    assert person.come("later") is None


def test_a_login_that_began_before_a_phone_was_lost_does_not_join(person: Person) -> None:
    login = Pending("here", "one", person.now, person.now + 1.0, person.now + 75.0)
    state = throttle.phone_lost(person.state, person.now)
    assert throttle.joined(state, login, LIMITS) == Refusal(Cause.PHONE_LOST)


def test_a_reboot_forgets_that_a_phone_was_lost(person: Person) -> None:
    person.state = throttle.phone_lost(person.current, person.now)
    person.now = 10.0
    assert person.come("first") is None


def test_clearing_leaves_logins_that_are_pending(person: Person) -> None:
    person.play(RequestResult.FAILED)
    person.play(RequestResult.FAILED)
    person.attempt(5)
    person.come("waiting", "elsewhere")
    person.state = throttle.cleared(person.current)
    assert [login.ident for login in person.state.pending] == ["waiting"]
    assert person.state.attempts == ()
    assert person.come("here") is None


# Where a login comes from


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
    here = replace(LOGIN, rhost=host)
    assert origin_of(here) == origin_of(replace(here, rhost=same))
    assert origin_of(here) != origin_of(replace(here, rhost=other))
    assert origin_of(here) != origin_of(replace(here, service="su"))


def test_in_sshd_the_origin_is_the_address_and_no_host_name() -> None:
    """With `UseDNS yes` PAM_RHOST is a name, which whoever has the address chooses; AF_UNIX has no address."""
    in_sshd = replace(LOGIN, ssh_auth_info="", address="192.0.2.1", rhost="a.example")
    assert origin_of(in_sshd) == origin_of(replace(in_sshd, rhost="b.example"))
    assert origin_of(in_sshd) != origin_of(replace(in_sshd, address="192.0.2.2"))
    without = replace(in_sshd, address="", rhost="UNKNOWN")
    assert origin_of(without) == origin_of(replace(without, address="127.0.0.1"))


def test_the_origin_of_a_login_from_elsewhere_is_the_same_on_all_machines() -> None:
    assert (
        throttle.origin("sshd", "192.0.2.1", "web1")
        == throttle.origin("sshd", "192.0.2.1", "web2")
        == origin_of(LOGIN_IN_SSHD)
    )
    for here in (None, "127.0.0.1", "::1"):
        assert throttle.origin("sudo", here, "web1") != throttle.origin("sudo", here, "web2")


def test_the_same_origin_has_another_key_for_another_user() -> None:
    assert origin_key("alice", LOGIN) != origin_key("bob", LOGIN)


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


def test_hosts_that_are_new_to_a_person_count_as_one_where_the_person_logs_in() -> None:
    state = ThrottleState(failures={f"here {host}": Failures(1, 1.0) for host in ("a", "b", "c", "used")})
    login = Pending("here", "own 1", 2.0, host="own", is_familiar=True, strange_hosts=3)
    assert state.failures_of(login).count == 2
    assert state.failures_of(replace(login, is_familiar=False)).count == 4
    assert state.hosts_failing(login) == ["a", "b", "c", "used"]


def test_an_approval_on_one_of_several_hosts_ends_the_row_there_only() -> None:
    state, now = ThrottleState(), 100_000.0

    def login(host: str) -> Pending:
        return Pending("there", f"{host}-{now}", now, now, now + 60, host=host, is_familiar=True)

    def request(host: str, result: RequestResult) -> None:
        nonlocal state, now
        now += 1
        own = login(host)
        asking = replace(state.current(now), pending=(replace(own, has_turn=True),))
        state = ended(decided(asking, own, result, LIMITS, now), own, now)

    def failing(host: str) -> int:
        return state.failures_of(login(host)).count

    for host in ("other", "third", "other", "own"):
        request(host, RequestResult.FAILED)
    assert (failing("own"), failing("other"), failing("third")) == (3, 4, 3)
    for _ in range(2):
        request("own", RequestResult.APPROVED)
        assert (failing("own"), failing("other"), failing("third")) == (0, 3, 2)
    request("own", RequestResult.FAILED)
    assert failing("own") == 1, "what others had said before is not counted again"
    request("other", RequestResult.FAILED)
    assert failing("own") == 2
    assert [place["failures"] for place in summary(state, LIMITS, LIMITS, now)["places"]] == [3, 1, 1]


def test_a_stolen_password_rings_little_more_often_on_hosts_where_the_person_logs_in() -> None:
    def rings(hosts: int, *, is_familiar: bool) -> list[int]:
        """How often the phone rings in each of four hours if every host is tried all the time, and nobody answers."""
        state, rung = ThrottleState(), [0, 0, 0, 0]
        for second in range(0, 4 * 3600, 5):
            for host in range(hosts):
                now = 100_000.0 + second
                login = Pending(
                    "there",
                    f"{host}-{second}",
                    now,
                    now,
                    now + 60,
                    host=f"host{host}",
                    is_familiar=is_familiar,
                )
                found = joined(state.current(now), login, LIMITS)
                if isinstance(found, ThrottleState) and found.has_turn(login):
                    rung[second // 3600] += 1
                    state = ended(decided(found, login, RequestResult.FAILED, LIMITS, now), login, now)
        return rung

    one = rings(1, is_familiar=True)
    assert rings(10, is_familiar=False) == one
    first, *later = rings(10, is_familiar=True)
    assert first <= 16 < 2 * one[0]
    assert max(later) <= 12 <= 3 * one[-1]


# A state that is stored


def test_a_state_is_the_same_after_it_was_stored_and_knows_what_is_oldest(person: Person) -> None:
    for origin in ("z", "y", "x"):
        person.play(RequestResult.FAILED, origin)
        assert person.attempt(5, origin) is None
    person.come("waits", "here", "web1")
    person.state = throttle.phone_lost(person.current, person.now)
    stored = json.dumps(person.state.to_json(), sort_keys=True)  # PostgreSQL, too, has an order of its own
    read = ThrottleState.from_json(json.loads(stored))
    assert read == person.state
    assert (list(read.failures), list(read.turns)[:3]) == (["z", "y", "x"], ["z", "y", "x"])


@pytest.mark.parametrize(
    "change",
    [
        {"failures": []},
        {"failures": {"here": {"count": 1}}},
        {"requests": {"one": "soon"}},
        {"pending": [{"origin": "here"}]},
        {"attempts": 5},
        {"lost": None},
    ],
    ids=str,
)
def test_what_is_no_state_is_not_read(change: dict[str, object]) -> None:
    stored = ThrottleState().to_json()
    assert ThrottleState.from_json(stored) == ThrottleState()
    with pytest.raises(ValueError, match=r"no state|convert"):
        ThrottleState.from_json({**stored, **change})
    with pytest.raises(ValueError, match="no state"):
        ThrottleState.from_json({name: value for name, value in stored.items() if name not in change})

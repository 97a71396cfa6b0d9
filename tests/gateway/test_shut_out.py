"""What a host that was taken over, or who knows some passwords, cannot do to other people: keep them out."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pam_iampass.client.status import Status
from pam_iampass.gateway.base import records
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.reasons import Reason
from pam_iampass.gateway.base.records import Kind
from pam_iampass.gateway.base.settings import GatewaySettings, GroupSettings
from pam_iampass.gateway.calls import codes
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import HostStatus, Invite
from pam_iampass.gateway.requests import asking, host_limits, turns
from pam_iampass.login.throttle import Pending
from pam_iampass.sandbox.sessions import EndedBy
from tests.gateway.test_codes import left, new_codes
from tests.gateway.test_turns import ask, ids, until
from tests.support.gateway import HOST, LIMITS, HostCaller, RunningGateway, new_request_id, settings_for
from tests.support.sandbox import Fault, Sandbox
from tests.support.world import wait_until

OTHER, THIRD = "h-bbbbbbbbbbbb", "h-cccccccccccc"
THIEVES = ("dave", "erin", "frank")
OFFICE = "192.0.2.7"


@pytest.fixture
def settings(conninfo: str, sandbox: Sandbox, tmp_path: Path) -> GatewaySettings:
    return settings_for(conninfo, sandbox, tmp_path)


@pytest.fixture
def bastion(
    settings: GatewaySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RunningGateway]:
    """A gateway with one host."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    with RunningGateway(settings) as running:
        running.populate()
        yield running


def join_people(running: RunningGateway, sandbox: Sandbox, *names: str) -> None:
    for name in names:
        sandbox.add_user(f"token-of-{name}")
        running.add_person(name, f"token-of-{name}")


def approved_lately(
    running: RunningGateway,
    names: Sequence[str],
    host: str = HOST,
    days: int = 1,
    outcome: str = "approved",
    **told: str,
) -> None:
    """As if people had approved logins to a host some days ago, of which the host has told this."""

    async def write(_: Gateway, connection: Connection) -> None:
        for name in names:
            fields = {"outcome": outcome, "service": "sshd", **told}
            await records.write(connection, Kind.DECISION, host=f"name-of-{host}", person=name, **fields)

    running.transaction(write)
    running.rows(f"UPDATE record SET at = at - interval '{days} days' WHERE host = 'name-of-{host}'")


def answers(
    running: RunningGateway, sandbox: Sandbox, person: str, host: str, told: dict[str, str], status: str
) -> bool:
    """Someone logs in as a person, whose answer becomes this status; whether the phone was asked."""
    begun = ask(running, host, person, **told)
    if not begun["authenticated"]:
        return False
    answer = {"active": sandbox.approve, "cancelled": sandbox.deny}[status]
    answer(sandbox.wait_for_request(f"token-of-{person}"))
    assert HostCaller(running).answer(begun) == status
    return True


def cancels(running: RunningGateway, sandbox: Sandbox, person: str, host: str = HOST, **told: str) -> bool:
    """Someone logs in as a person, who cancels; whether the phone was asked."""
    return answers(running, sandbox, person, host, told, "cancelled")


def approves(running: RunningGateway, sandbox: Sandbox, person: str, host: str = HOST, **told: str) -> bool:
    """A person logs in and approves; whether the phone was asked."""
    return answers(running, sandbox, person, host, told, "active")


def alerts(running: RunningGateway) -> list[tuple[str | None, str]]:
    return [(each["host"], each["reason"]) for each in running.records if each["kind"] == "alert"]


def a_minute_passes(running: RunningGateway) -> None:
    running.rows("UPDATE session SET began_at = began_at - interval '61 seconds'")


# The brake


def test_three_stolen_passwords_keep_nobody_from_a_bastion_that_they_use(
    bastion: RunningGateway, sandbox: Sandbox
) -> None:
    others = [f"person{number}" for number in range(12)]
    join_people(bastion, sandbox, *THIEVES, *others)
    approved_lately(bastion, (*THIEVES, *others))
    assert [cancels(bastion, sandbox, thief) for thief in THIEVES] == [True] * 3
    for _ in range(3):
        for thief in THIEVES:
            cancels(bastion, sandbox, thief)
        assert [approves(bastion, sandbox, other) for other in others[:4]] == [True] * 4
    assert [approves(bastion, sandbox, other) for other in others] == [True] * 12
    name = f"name-of-{HOST}"
    assert alerts(bastion) == [(name, "3 people have denied requests of this host: it is slowed down")]


def test_whoever_has_approved_on_a_slowed_host_has_few_requests_there(
    bastion: RunningGateway, sandbox: Sandbox
) -> None:
    join_people(bastion, sandbox, *THIEVES)
    approved_lately(bastion, THIEVES)
    rung = {thief: sum(cancels(bastion, sandbox, thief) for _ in range(6)) for thief in THIEVES}
    assert rung["dave"] == 6, "before the brake"
    assert rung["frank"] == 3


def test_those_who_cancel_do_not_take_the_turns_of_people_who_are_new_on_a_slowed_host(
    bastion: RunningGateway, sandbox: Sandbox
) -> None:
    join_people(bastion, sandbox, *THIEVES)
    for thief in THIEVES:
        assert cancels(bastion, sandbox, thief)
    a_minute_passes(bastion)
    assert not any(cancels(bastion, sandbox, thief) for thief in THIEVES)
    assert approves(bastion, sandbox, "alice")
    # Who has approved a moment ago is no stranger any more: the minute is free again.
    assert approves(bastion, sandbox, "bob")


@pytest.mark.parametrize(("approved", "joined"), [(31, 365), (29, 28)])
def test_of_people_who_are_new_on_a_slowed_host_one_a_minute_is_asked(
    bastion: RunningGateway, sandbox: Sandbox, approved: int, joined: int
) -> None:
    join_people(bastion, sandbox, *THIEVES)
    approved_lately(bastion, ["bob"], days=approved)
    bastion.change_host(joined_at=datetime.now(timezone.utc) - timedelta(days=joined))
    for thief in THIEVES:
        assert cancels(bastion, sandbox, thief)
    a_minute_passes(bastion)
    assert cancels(bastion, sandbox, "alice")
    assert ask(bastion, HOST, "bob")["reason"] == "HOST_THROTTLED"
    a_minute_passes(bastion)
    assert approves(bastion, sandbox, "bob")


def test_whoever_logs_in_through_another_host_is_not_new_on_a_slowed_one(
    bastion: RunningGateway, sandbox: Sandbox
) -> None:
    join_people(bastion, sandbox, *THIEVES)
    approved_lately(bastion, ["bob"], outcome="covered")
    for thief in THIEVES:
        assert cancels(bastion, sandbox, thief)
    a_minute_passes(bastion)
    assert cancels(bastion, sandbox, "alice")
    assert approves(bastion, sandbox, "bob")


def test_the_invite_of_a_slowed_host_stays_and_other_hosts_that_joined_by_it_are_named(
    bastion: RunningGateway, sandbox: Sandbox
) -> None:
    join_people(bastion, sandbox, *THIEVES)
    bastion.add_host(OTHER)
    bastion.add_host(THIRD)
    bastion.change_host(THIRD, status=HostStatus.SUSPENDED)
    now = datetime.now(timezone.utc)
    invite = Invite("i-test", "secret", "servers", 5, now, now + timedelta(hours=1))
    bastion.transaction(lambda gateway, connection: hosts.add_invite(gateway, connection, invite))
    for thief in THIEVES:
        assert cancels(bastion, sandbox, thief)
    assert bastion.rows("SELECT id, uses_left FROM invite") == [{"id": "i-test", "uses_left": 5}]
    what = (
        "3 people have denied requests of this host: it is slowed down;"
        f" name-of-{OTHER} joined by the same invite: pam-iampass-gateway host suspend NAME"
    )
    assert alerts(bastion) == [(f"name-of-{HOST}", what)]


def test_a_login_that_waits_for_its_turn_on_a_host_that_is_slowed_meanwhile_has_it(
    bastion: RunningGateway, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    recognized = turns.recognized

    async def counted(connection: Connection, before: turns.Turns, *more: Any, **how: Any) -> Pending:
        looked.append(before.person)
        return await recognized(connection, before, *more, **how)

    join_people(bastion, sandbox, *THIEVES)
    approved_lately(bastion, ["alice"])
    first, waits = ask(bastion, HOST, "alice"), ask(bastion, HOST, "alice", remote=OFFICE)
    assert waits["queued"]
    for thief in THIEVES:
        assert cancels(bastion, sandbox, thief)
    monkeypatch.setattr(turns, "recognized", counted)
    approved = sandbox.approve(sandbox.wait_for_request("token-of-alice"))
    caller = HostCaller(bastion)
    assert caller.answer(first) == "active"
    sandbox.approve(sandbox.wait_for_request("token-of-alice", after=approved))
    assert caller.answer(waits) == "active"
    assert looked == ["alice"], "once"


def test_a_host_that_is_stopped_by_itself_ends_nobodys_session(
    settings: GatewaySettings, sandbox: Sandbox
) -> None:
    groups = {"servers": GroupSettings(everybody=True, suspend_by_itself=True)}
    with RunningGateway(replace(settings, groups=groups)) as running:
        running.populate()
        join_people(running, sandbox, *THIEVES)
        begun = ask(running, HOST, "alice")
        sandbox.approve(sandbox.wait_for_request("token-of-alice"))
        caller = HostCaller(running)
        assert caller.answer(begun) == "active"
        rings = ask(running, HOST, "bob")
        for thief in THIEVES:
            assert cancels(running, sandbox, thief)
        sandbox.wait_for_end("token-of-bob")
        assert ask(running, HOST, "alice")["reason"] == "HOST_SUSPENDED"
        assert caller.state(begun)["session_status"] == "active"
        assert caller.answer(rings) == "closed"
        assert caller.end(begun) is True
        assert [each.ended_by for each in sandbox.sessions if each.user == "token-of-alice"] == [
            EndedBy.CLIENT
        ]
        (row,) = running.rows("SELECT status FROM host")
        assert row["status"] == HostStatus.STOPPED.value


def test_who_cancels_a_request_of_a_suspended_host_does_not_undo_that(
    settings: GatewaySettings, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = {"servers": GroupSettings(everybody=True, suspend_by_itself=True)}
    monkeypatch.setattr(host_limits, "_BRAKE_PEOPLE", 1)
    with RunningGateway(replace(settings, groups=groups)) as running:
        running.populate()
        begun = ask(running, HOST, "alice")
        session = running.session(begun)
        running.change_host(status=HostStatus.SUSPENDED)
        running.run(asking.write_status(running.gateway, session, Status.cancelled))
        (row,) = running.rows("SELECT status FROM host")
        assert row["status"] == HostStatus.SUSPENDED.value
        assert alerts(running) == []


def test_no_login_waits_for_its_turns_until_old_records_are_deleted(bastion: RunningGateway) -> None:
    assert HostCaller(bastion).end(ask(bastion, HOST, "alice")) is True
    conninfo = bastion.gateway.settings.database
    blocked = (
        "SELECT FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0 AND query LIKE '%record%'"
    )
    with psycopg.connect(conninfo, autocommit=True) as other, psycopg.connect(conninfo) as holding:
        other.execute(
            "INSERT INTO record (at, kind, fields) VALUES (now() - interval '9 years', 'act', '{}')"
        )
        other.execute("UPDATE turn SET changed_at = now() - interval '2 hours'")
        holding.execute("SELECT FROM record WHERE at < now() - interval '8 years' FOR UPDATE")
        with RunningGateway(bastion.gateway.settings):  # deletes what is old
            wait_until(lambda: other.execute(blocked).fetchall(), "nothing is deleted")
            # What a login does first. With NOWAIT it fails if somebody else has the row.
            assert other.execute("SELECT FROM turn WHERE person = 'alice' FOR UPDATE NOWAIT").fetchall()
            holding.rollback()
            wait_until(lambda: not other.execute("SELECT FROM turn").fetchall(), "turns are not deleted")


# Requests that nobody can answer


def test_a_phone_rings_for_long_enough_to_be_answered_whatever_a_host_asks_for(
    bastion: RunningGateway, sandbox: Sandbox
) -> None:
    join_people(bastion, sandbox, *THIEVES)
    for thief in THIEVES:
        assert cancels(bastion, sandbox, thief, timeout="1", duration_seconds="1")
    assert {session.duration for session in sandbox.sessions} == {15}
    assert len(alerts(bastion)) == 1
    assert ask(bastion, HOST, THIEVES[0])["reason"] == "HOST_THROTTLED"


def test_requests_that_end_before_anybody_can_answer_are_taken_to_be_withdrawn(
    bastion: RunningGateway, sandbox: Sandbox
) -> None:
    sandbox.request_timeout = 0.2
    for _ in range(5):
        assert alerts(bastion) == []
        begun = ask(bastion, HOST, "alice")
        assert HostCaller(bastion).answer(begun) == "timeout"
    (alert,) = until(lambda: alerts(bastion))
    assert alert == (f"name-of-{HOST}", "this host ends its requests before people have answered")


def test_a_host_has_few_people_asked_who_do_not_approve(settings: GatewaySettings, sandbox: Sandbox) -> None:
    limits = replace(LIMITS, host_requests_per_hour=5)
    with RunningGateway(replace(settings, limits=limits)) as running:
        running.populate()
        people = [f"person{number}" for number in range(6)]
        join_people(running, sandbox, *people)
        for person in people[:5]:
            ask(running, HOST, person)
        assert ask(running, HOST, people[5])["reason"] == "HOST_THROTTLED"
        host, what = alerts(running)[-1]
        assert host == f"name-of-{HOST}"
        assert what == "many requests of this host were not approved within an hour (host_requests_per_hour)"
        running.add_host(OTHER)
        assert approves(running, sandbox, people[5], OTHER)
        approved_lately(running, ["bob"])
        assert approves(running, sandbox, "bob"), "who uses the host is not kept out"
        assert ask(running, HOST, people[5])["reason"] == "HOST_THROTTLED"


def test_a_host_has_no_more_people_asked_if_their_requests_have_waited(
    settings: GatewaySettings, sandbox: Sandbox
) -> None:
    limits = replace(LIMITS, host_requests_per_hour=4)
    with RunningGateway(replace(settings, limits=limits)) as running:
        running.populate()
        people, caller = [f"person{number}" for number in range(6)], HostCaller(running)
        join_people(running, sandbox, *people)
        approved_lately(running, people[:1])
        for host, person in zip(ids(6), people):
            running.add_host(host)
            ask(running, host, person)
        waiting = [ask(running, HOST, person) for person in people]
        assert all(each["queued"] for each in waiting)
        for person in people[1:]:
            sandbox.deny(f"token-of-{person}")
        told = until(lambda: [each for each in (caller.state(each) for each in waiting) if "reason" in each])
        until(lambda: asked_by(running) == 4)
        assert [each["reason"] for each in told] == ["HOST_THROTTLED"]
        sandbox.deny(f"token-of-{people[0]}")
        assert until(lambda: asked_by(running) == 5), "who uses the host is not kept out"


def asked_by(running: RunningGateway) -> int:
    """The number of people whose phone is asked, or was, for the host."""
    statement = "SELECT id FROM session WHERE host_name = %s AND state IN ('open', 'ended')"
    return len(running.rows(statement, f"name-of-{HOST}"))


def test_a_host_has_no_more_people_asked_if_it_asks_for_all_at_once(
    settings: GatewaySettings, sandbox: Sandbox
) -> None:
    limits = replace(LIMITS, host_requests_per_hour=2)
    people = [f"person{number}" for number in range(4)]
    waiting = "SELECT count(*) AS number FROM pg_locks WHERE NOT granted"
    with RunningGateway(replace(settings, limits=limits)) as running:
        running.populate()
        join_people(running, sandbox, *people)
        with psycopg.connect(settings.database) as other, ThreadPoolExecutor(len(people)) as pool:
            other.execute("LOCK TABLE session IN SHARE MODE")  # it can be read meanwhile
            calls = [pool.submit(ask, running, HOST, person) for person in people]
            wait_until(lambda: running.rows(waiting)[0]["number"] == len(people), "not all starts wait")
            other.rollback()
            reasons = [call.result().get("reason") for call in calls]
        assert reasons.count("HOST_THROTTLED") == 2
        assert len(sandbox.sessions) == 2


def test_a_host_that_has_phones_ring_for_nothing_is_an_alert_before_it_is_at_its_limit(
    settings: GatewaySettings, sandbox: Sandbox
) -> None:
    limits = replace(LIMITS, host_requests_per_hour=20)
    with RunningGateway(replace(settings, limits=limits)) as running:
        running.populate()
        people = [f"person{number}" for number in range(6)]
        join_people(running, sandbox, *people)
        for person in people:
            assert alerts(running) == []
            assert ask(running, HOST, person)["authenticated"]
        what = "5 requests or more of this host were not approved within an hour (a quarter of host_requests_per_hour)"
        assert alerts(running) == [(f"name-of-{HOST}", what)]


def test_a_person_who_cancels_again_and_again_is_an_alert_whichever_hosts_ask(
    bastion: RunningGateway, sandbox: Sandbox
) -> None:
    bastion.add_host(OTHER)
    for host in (HOST, OTHER, HOST, OTHER, HOST):
        assert alerts(bastion) == []
        assert cancels(bastion, sandbox, "alice", host)
    what = (
        f"alice has denied 5 requests or more within an hour, of name-of-{HOST}, name-of-{OTHER}:"
        " somebody may have their password"
    )
    assert alerts(bastion) == [(None, what)]


def test_a_busy_host_may_have_as_many_requests_that_are_not_approved_as_are(
    settings: GatewaySettings, sandbox: Sandbox
) -> None:
    limits = replace(LIMITS, host_requests_per_hour=1)
    with RunningGateway(replace(settings, limits=limits)) as running:
        running.populate()
        people = [f"person{number}" for number in range(3)]
        join_people(running, sandbox, *THIEVES, *people)
        for person in ("alice", "bob"):
            assert approves(running, sandbox, person)
        assert [cancels(running, sandbox, person) for person in people[:2]] == [True, True]
        assert [
            each["authenticated"] for each in (ask(running, HOST, "dave"), ask(running, HOST, "erin"))
        ] == [
            False,
            False,
        ]
        assert len(alerts(running)) == 1
        assert approves(running, sandbox, "alice")
        assert not ask(running, HOST, "dave")["authenticated"], "however often one of them approves"


# What one host says of a person who logs in to others


def lies(running: RunningGateway, sandbox: Sandbox, person: str, times: int) -> int:
    """A host that was taken over has a person asked, as if the person had come from where they are; how often their
    phone was asked."""
    rung, caller = 0, HostCaller(running)
    for _ in range(times):
        begun = ask(running, OTHER, person, remote=OFFICE)
        if begun["authenticated"]:
            rung += 1
            assert caller.end(begun) is True
    return rung


@pytest.fixture
def two_hosts(settings: GatewaySettings) -> Iterator[RunningGateway]:
    """With pauses after requests that were not approved."""
    with RunningGateway(replace(settings, limits=replace(LIMITS, cool_off=300.0))) as running:
        running.populate()
        running.add_host(OTHER)
        yield running


def test_what_one_host_says_keeps_nobody_from_another_where_they_log_in(
    two_hosts: RunningGateway, sandbox: Sandbox
) -> None:
    people = ["alice", "bob", *THIEVES]
    join_people(two_hosts, sandbox, *THIEVES)
    approved_lately(two_hosts, people)
    for person in people:
        assert lies(two_hosts, sandbox, person, 3) == 2
    assert [approves(two_hosts, sandbox, person, remote=OFFICE) for person in people] == [True] * 5
    what = f"requests of name-of-{OTHER} to people who log in here, from the same address, are not approved"
    assert (f"name-of-{HOST}", what) in alerts(two_hosts)


def test_where_a_person_is_new_the_failures_of_other_hosts_count_in_full(
    two_hosts: RunningGateway, sandbox: Sandbox
) -> None:
    approved_lately(two_hosts, ["alice"], days=31)
    assert lies(two_hosts, sandbox, "alice", 2) == 2
    assert ask(two_hosts, HOST, "alice", remote=OFFICE)["reason"] == "HOST_THROTTLED"


def test_what_a_person_approves_on_one_host_forgets_no_failures_of_others(
    two_hosts: RunningGateway, sandbox: Sandbox
) -> None:
    two_hosts.add_host(THIRD)
    approved_lately(two_hosts, ["alice"])
    assert lies(two_hosts, sandbox, "alice", 3) == 2
    assert approves(two_hosts, sandbox, "alice", remote=OFFICE)
    for host in (OTHER, THIRD):
        assert ask(two_hosts, host, "alice", remote=OFFICE)["reason"] == "HOST_THROTTLED"
    assert approves(two_hosts, sandbox, "alice", remote=OFFICE)


def test_a_stolen_password_rings_no_more_often_on_a_hundred_hosts_where_the_person_logs_in(
    two_hosts: RunningGateway, sandbox: Sandbox
) -> None:
    hosts = ids(100)
    for host in hosts:
        two_hosts.add_host(host)
        approved_lately(two_hosts, ["alice"], host)
    rung = [host for host in hosts if cancels(two_hosts, sandbox, "alice", host, remote=OFFICE)]
    assert len(rung) == 2, "as often as from one host"


def test_logins_that_wait_on_one_host_take_no_place_of_those_on_another(
    bastion: RunningGateway, sandbox: Sandbox
) -> None:
    bastion.add_host(OTHER)
    first = ask(bastion, OTHER, "alice", remote=OFFICE)
    waiting = [ask(bastion, OTHER, "alice", remote=OFFICE) for _ in range(LIMITS.logins_at_once)]
    assert waiting[-1]["reason"] == "AT_CAPACITY"
    own = ask(bastion, HOST, "alice", remote=OFFICE)
    assert own["queued"]
    asked = sandbox.wait_for_request("token-of-alice")
    assert HostCaller(bastion).end(first) is True
    # A host that has had no turn goes before the one that has had the last.
    sandbox.approve(sandbox.wait_for_request("token-of-alice", after=asked))
    assert HostCaller(bastion).answer(own) == "active"


# Calls and codes


@dataclass(frozen=True)
class Held(Fault):
    """The response comes once a test wants it."""

    released: threading.Event
    acts: bool = True

    async def interfere(self, connection: asyncio.Transport, stopping: asyncio.Event) -> None:
        await asyncio.to_thread(self.released.wait)


def test_repeats_of_one_start_count_as_calls_of_their_host(
    settings: GatewaySettings, sandbox: Sandbox
) -> None:
    limits = replace(LIMITS, calls_at_once=8)
    with RunningGateway(replace(settings, limits=limits)) as running, ThreadPoolExecutor(10) as pool:
        running.populate()
        running.add_host(OTHER)
        released = threading.Event()
        sandbox.misbehave("start", Held(released), times=None)
        try:
            id = new_request_id()
            first = [pool.submit(ask, running, HOST, request_id=id) for _ in range(4)]
            until(lambda: len(running.gateway.starts) + sum(running.gateway.repeats.values()) == 4)
            assert ask(running, HOST, request_id=id)["reason"] == "HOST_THROTTLED"
            other = pool.submit(ask, running, OTHER, "bob")
            until(lambda: len(running.gateway.starts) == 2)
        finally:
            released.set()
        assert [each.result()["authenticated"] for each in (*first, other)] == [True] * 5
        assert not any(running.gateway.repeats.values())


def test_a_code_is_not_used_up_for_a_login_that_has_given_up(bastion: RunningGateway) -> None:
    code = new_codes(bastion)[0]
    asked = codes.AskedCode("alice", code, new_request_id(), None, time.monotonic(), {})
    assert bastion.run(codes.redeem(bastion.gateway, HOST, asked)) is Reason.TRY_AGAIN
    assert left(bastion) == 10
    assert bastion.records == []
    in_time: Any = replace(asked, gives_up_at=time.monotonic() + 60)
    assert bastion.run(codes.redeem(bastion.gateway, HOST, in_time)) == 9


def take_places(running: RunningGateway, hosts: Sequence[str], how_many: int) -> None:
    """Someone has alice's password, and logs in from as many networks, of which a /56 of IPv6 has 256."""
    for number in range(how_many):
        told = {"remote": f"2001:db8:0:{number:x}::1", "timeout": "300", "duration_seconds": "330"}
        assert ask(running, hosts[number // 33], "alice", **told)["authenticated"]


def test_a_stolen_password_takes_no_place_of_its_owner_on_a_host(
    bastion: RunningGateway, sandbox: Sandbox
) -> None:
    approved_lately(bastion, ["alice"], remote=OFFICE)
    take_places(bastion, [HOST], 33)
    assert ask(bastion, HOST, "alice", remote="198.51.100.9")["reason"] == "AT_CAPACITY"
    what = "logins of alice are refused: too many wait, and somebody may have the password"
    assert alerts(bastion) == [(f"name-of-{HOST}", what)]
    hers = ask(bastion, HOST, "alice", remote=OFFICE)
    sandbox.deny(sandbox.wait_for_request("token-of-alice"))
    sandbox.approve(sandbox.wait_for_request("token-of-alice"))
    assert HostCaller(bastion).answer(hers) == "active", "it comes before all the others"


def test_a_stolen_password_takes_no_place_of_its_owner_on_any_host_where_she_logs_in(
    bastion: RunningGateway,
) -> None:
    others = ids(4)
    for id in (OTHER, *others):
        bastion.add_host(id)
    approved_lately(bastion, ["alice"], OTHER, remote=OFFICE)
    take_places(bastion, others, 100)
    assert ask(bastion, HOST, "alice", remote=OFFICE)["reason"] == "AT_CAPACITY", "she is new there"
    assert ask(bastion, OTHER, "alice", remote=OFFICE)["queued"]


def test_logins_on_many_hosts_from_the_address_of_a_person_take_no_place_where_she_logs_in(
    bastion: RunningGateway,
) -> None:
    approved_lately(bastion, ["alice"], remote=OFFICE)
    for id in ids(10):
        bastion.add_host(id)
        assert ask(bastion, id, "alice", remote=OFFICE)["authenticated"]
    assert ask(bastion, HOST, "alice", remote=OFFICE)["queued"]


def test_a_stolen_password_uses_up_no_requests_of_its_owner(
    bastion: RunningGateway, sandbox: Sandbox
) -> None:
    approved_lately(bastion, ["alice"], remote=OFFICE)
    for number in range(5):
        for _ in range(2):
            assert cancels(bastion, sandbox, "alice", remote=f"198.51.100.{number}")
    assert ask(bastion, HOST, "alice", remote="198.51.100.9")["reason"] == "HOST_THROTTLED"
    what = "logins of alice are refused: too many were not approved within an hour, and somebody may have the password"
    assert (f"name-of-{HOST}", what) in alerts(bastion)
    assert approves(bastion, sandbox, "alice", remote=OFFICE)


def test_many_hosts_of_one_attacker_keep_nobody_from_a_host_where_they_log_in(
    two_hosts: RunningGateway, sandbox: Sandbox
) -> None:
    approved_lately(two_hosts, ["alice"], remote=OFFICE)
    two_hosts.add_host(THIRD)
    for host in (OTHER, THIRD):
        assert cancels(two_hosts, sandbox, "alice", host, remote=OFFICE)
    assert approves(two_hosts, sandbox, "alice", remote=OFFICE)
    assert any("to people who log in here" in what for _, what in alerts(two_hosts))

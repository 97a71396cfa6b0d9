"""Turns and limits over all hosts and gateways: one request a person at a time, and a phone that rings no more often
for a hundred hosts than for one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from threading import Event
from typing import Any, Callable
from urllib.parse import urlencode

import psycopg
import pytest

from pam_iampass.gateway.base import database, reach
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.settings import GatewaySettings
from pam_iampass.gateway.hosts.hosts import HostStatus
from pam_iampass.gateway.people import people
from pam_iampass.gateway.requests import asking, queue, turns
from pam_iampass.gateway.requests.sessions import State
from pam_iampass.login import throttle
from pam_iampass.sandbox.sessions import EndedBy
from tests.gateway.test_who_holds_what import put_back
from tests.sandbox.signer import signed
from tests.support.gateway import (
    HOST,
    LIMITS,
    HostCaller,
    RunningGateway,
    looks,
    new_request_id,
    settings_for,
)
from tests.support.gateway_process import GatewayProcess
from tests.support.sandbox import Fault, Hang, Held, HttpStatus, Junk, Reset, Sandbox
from tests.support.world import PATIENCE, wait_until

OTHER = "h-bbbbbbbbbbbb"
Look = Callable[[RunningGateway], None]
ATTACKER, PERSON = "192.0.2.66", "198.51.100.7"


def ids(number: int) -> list[str]:
    return [f"h-{place:012}" for place in range(number)]


@pytest.fixture
def settings(conninfo: str, sandbox: Sandbox, tmp_path: Path) -> GatewaySettings:
    return settings_for(conninfo, sandbox, tmp_path)


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> Event:
    """Gateways look whose turn it is only while this is set, as it is in the beginning."""
    waiting, looking = turns.waiting, Event()
    looking.set()

    async def looked(connection: Connection) -> list[turns.Turns]:
        return await waiting(connection) if looking.is_set() else []

    monkeypatch.setattr(turns, "waiting", looked)
    return looking


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Look:
    """Waits until the only gateway has looked whose turn it is, and has called IAMPASS for that."""
    whose_turn = looks(monkeypatch, turns, "waiting")

    def wait(running: RunningGateway) -> None:
        whose_turn()
        until(lambda: not running.gateway.starts)

    return wait


def ask(running: RunningGateway, host: str, person: str = "alice", **parameters: str) -> Any:
    """What a host is answered that has a person asked."""
    caller = HostCaller(running)
    query = urlencode({"request_id": new_request_id(), "service": "sshd", **parameters})
    target = f"/authentication/authenticate_user/{host}/{person}?{query}"
    headers = signed(host, running.application_secret, running.url + target)
    return caller.send("POST", target, {**headers, "Content-Type": "application/json"}, b"{}").authentication


def ringing(sandbox: Sandbox) -> int:
    return sum(session.undecided for session in sandbox.sessions)


def until(what: Any) -> Any:
    """What a function returns, once that is true."""
    return wait_until(what, "it has not happened in time")


def in_line(running: RunningGateway) -> int:
    (row,) = running.rows("SELECT count(*) AS queued FROM session WHERE state = 'queued'")
    return int(row["queued"])


def waits_for_turn(running: RunningGateway) -> bool:
    """Whether a start waits until another transaction gives the turns of its person free."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'"
    return bool(running.rows(waiting))


# An attacker who knows the password


@pytest.mark.parametrize("number", [1, 100])
def test_the_phone_rings_no_more_often_for_a_hundred_hosts_than_for_one(
    settings: GatewaySettings, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    # No start is refused for want of a connection.
    monkeypatch.setattr(reach, "CONNECT_SECONDS", PATIENCE)
    monkeypatch.setattr(database, "_WAIT_SECONDS", PATIENCE)
    limits = replace(LIMITS, cool_off=300.0)
    with RunningGateway(replace(settings, limits=limits)) as running:
        running.populate()
        for host in ids(number):
            running.add_host(host)
        with ThreadPoolExecutor(20) as pool:
            tries = [
                pool.submit(ask, running, ids(number)[each % number], remote=ATTACKER) for each in range(100)
            ]
            for rung in (1, 2):
                until(lambda rung=rung: len(sandbox.sessions) == rung)
                sandbox.deny("token-of-alice")
            replies = [each.result() for each in tries]
        until(lambda: in_line(running) == 0)
        assert len(sandbox.sessions) == 2
        refused = [reply["reason"] for reply in replies if not reply["authenticated"]]
        assert set(refused) <= {"AT_CAPACITY", "HOST_THROTTLED"}
        # Who tries it again is told how long it takes, as on one host.
        again = ask(running, ids(number)[0], remote=ATTACKER)
        assert (again["reason"], 200 < again["refusal"]["retry_after"] <= 300) == ("HOST_THROTTLED", True)
        # Those that have waited are told so, too.
        waited = [reply for reply in replies if reply.get("queued")]
        caller = HostCaller(running)
        states = [caller.state(each) for each in waited]
        told = [state for state in states if "reason" in state]
        assert {(state["session_status"], state["reason"]) for state in told} == {
            ("failed", "HOST_THROTTLED")
        }
        assert [state for state in told if not 200 < state["refusal"]["retry_after"] <= 300] == []
        # The person is not kept out.
        own = ask(running, ids(number)[-1], remote=PERSON)
        assert "queued" not in own
        sandbox.approve(sandbox.wait_for_request("token-of-alice"))
        assert caller.answer(own) == "active"


@pytest.mark.parametrize("flood", ["from one address on all hosts", "from one host with many addresses"])
def test_an_attacker_does_not_keep_the_person_from_a_turn(
    settings: GatewaySettings, sandbox: Sandbox, flood: str
) -> None:
    with RunningGateway(settings) as running:
        running.populate()
        for host in ids(40):
            running.add_host(host)
        for place, host in enumerate(ids(40)):
            if flood.startswith("from one address"):
                ask(running, host, remote=ATTACKER)
            else:
                ask(running, HOST, remote=f"192.0.2.{place}")
        assert ringing(sandbox) == 1
        assert in_line(running) == (9 if flood.startswith("from one address") else 32)
        own = ask(running, ids(1)[0], remote=PERSON)
        assert own["queued"] is True
        sandbox.deny("token-of-alice")
        until(lambda: len(sandbox.sessions) == 2)
        sandbox.approve(sandbox.wait_for_request("token-of-alice"))
        assert HostCaller(running).answer(own) == "active"
        assert ringing(sandbox) <= 1


def test_hosts_that_nobody_uses_do_not_keep_a_person_out(settings: GatewaySettings, sandbox: Sandbox) -> None:
    """Each starts what it may, and ends it at once: the phone hardly rings."""
    with RunningGateway(replace(settings, limits=replace(LIMITS, requests_per_hour=6))) as running:
        running.populate()
        caller = HostCaller(running)
        begun = ask(running, HOST, remote=PERSON)
        sandbox.approve(sandbox.wait_for_request("token-of-alice"))
        assert caller.answer(begun) == "active"
        for host in ids(4)[1:]:
            running.add_host(host)
            for _ in range(2):
                assert caller.end(ask(running, host, remote=ATTACKER)) is True
        assert ask(running, ids(4)[1], remote=PERSON)["reason"] == "HOST_THROTTLED", "a stranger there"
        for remote in ("198.51.100.77", PERSON):
            for _ in range(2):
                assert caller.end(ask(running, HOST, remote=remote)) is True
            assert ask(running, HOST, remote=remote)["reason"] == "HOST_THROTTLED", "a third more, not all"


def test_a_host_that_withdraws_its_requests_to_one_person_is_an_alert(
    settings: GatewaySettings, sandbox: Sandbox
) -> None:
    with several(settings, 1) as (running,):
        for _ in range(5):
            assert HostCaller(running).end(ask(running, HOST, remote=ATTACKER)) is True
        (found,) = (record for record in running.records if record["kind"] == "alert")
        assert (found["host"], "before people have answered" in found["reason"]) == (f"name-of-{HOST}", True)


def test_hosts_that_fail_make_neither_another_address_nor_another_second_person_wait(
    settings: GatewaySettings, sandbox: Sandbox
) -> None:
    with RunningGateway(replace(settings, limits=replace(LIMITS, cool_off=30.0))) as running:
        running.populate()
        running.add_host(OTHER)
        caller = HostCaller(running)
        for host in (HOST, OTHER):
            begun = ask(running, host, remote=ATTACKER, asker="mallory")
            sandbox.deny("token-of-alice")
            assert caller.answer(begun) == "cancelled"
        assert ask(running, HOST, remote=ATTACKER, asker="mallory")["reason"] == "HOST_THROTTLED"
        for other in ({"remote": ATTACKER, "asker": "bob"}, {"remote": PERSON}, {"remote": ""}):
            begun = ask(running, OTHER, **{name: text for name, text in other.items() if text})
            assert begun["authenticated"] is True
            sandbox.approve(sandbox.wait_for_request("token-of-alice"))
            assert caller.answer(begun) == "active"


# Several gateways


@contextmanager
def several(settings: GatewaySettings, number: int) -> Iterator[list[RunningGateway]]:
    with ExitStack() as stack:
        running = [stack.enter_context(RunningGateway(settings)) for _ in range(number)]
        running[0].populate()
        running[0].add_host(OTHER)
        yield running


def test_two_gateways_never_have_two_requests_of_a_person_on_the_phone(
    settings: GatewaySettings, sandbox: Sandbox
) -> None:
    most, done = 0, Event()

    def approve() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, ringing(sandbox))
            for session in sandbox.sessions:
                if session.undecided:
                    sandbox.approve(session)

    with several(settings, 2) as running, ThreadPoolExecutor(9) as pool:
        pool.submit(approve)
        try:
            begun = list(
                pool.map(lambda each: ask(running[each % 2], (HOST, OTHER)[each // 2 % 2]), range(8))
            )
            for each in begun:
                assert HostCaller(running[0]).answer(at(running[0], each)) == "active"
        finally:
            done.set()
    assert most == 1
    assert len(sandbox.sessions) == 8


def test_one_gateway_at_a_time_looks_whose_turn_it_is(settings: GatewaySettings, sandbox: Sandbox) -> None:
    with several(settings, 2) as running, ThreadPoolExecutor(1) as pool:
        ask(running[0], HOST)

        async def meanwhile(_: Gateway, connection: Connection) -> bool:
            await turns.locked(connection, "alice")
            asked.append(pool.submit(ask, running[1], OTHER))
            await asyncio.to_thread(until, lambda: waits_for_turn(running[1]) or asked[0].done())
            return asked[0].done()

        asked: list[Future[Any]] = []
        assert running[0].transaction(meanwhile) is False
        assert asked[0].result()["queued"] is True


def test_the_first_logins_of_a_person_wait_for_each_other(
    settings: GatewaySettings, sandbox: Sandbox
) -> None:
    """Also before the turns of the person have a row that could be locked."""
    with several(settings, 1) as running, ThreadPoolExecutor(1) as pool:

        async def meanwhile(_: Gateway, connection: Connection) -> bool:
            turns.lock(connection, "alice")
            await connection.flush()
            asked.append(pool.submit(ask, running[0], HOST))
            await asyncio.to_thread(until, lambda: waits_for_turn(running[0]) or asked[0].done())
            return asked[0].done()

        asked: list[Future[Any]] = []
        assert running[0].transaction(meanwhile) is False
        assert asked[0].result()["session_status"] == "pending"


def at(running: RunningGateway, begun: Any) -> Any:
    """A session, whose calls are made at this gateway."""
    return {
        **begun,
        **{
            name: f"{running.url}/session{begun[name].partition('/session')[2]}"
            for name in ("status_url", "logout_url")
        },
    }


def test_one_request_that_reaches_two_gateways_at_once_rings_once(
    settings: GatewaySettings, sandbox: Sandbox
) -> None:
    with several(settings, 2) as running, ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            once = new_request_id()
            replies = list(pool.map(lambda each, id=once: HostCaller(each).ask("alice", id), running))
            tokens = {reply.authentication.get("session_token") for reply in replies} - {None}
            assert len(tokens) == 1
            assert {reply.authentication.get("reason") for reply in replies} <= {None, "TRY_AGAIN"}
            sandbox.approve(sandbox.wait_for_request("token-of-alice"))
            until(lambda: ringing(sandbox) == 0)
            until(lambda: running[0].rows("SELECT 1 FROM turn WHERE state->'pending' = '[]'"))
    assert len(sandbox.sessions) == 5


def test_another_gateway_goes_on_when_one_dies_while_a_login_waits(
    settings: GatewaySettings, conninfo: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    with several(settings, 1) as (running,):
        first = ask(running, HOST)
        with GatewayProcess(conninfo, sandbox, tmp_path, "none") as process:
            waits = HostCaller(process).ask("alice").authentication
            assert waits["queued"] is True
            process.kill()
        sandbox.approve("token-of-alice")
        assert HostCaller(running).answer(first) == "active"
        until(lambda: len(sandbox.sessions) == 2)
        sandbox.approve(sandbox.wait_for_request("token-of-alice"))
        assert HostCaller(running).answer(at(running, waits)) == "active"


def test_a_request_that_has_waited_rings_at_most_once_if_its_gateway_is_killed(
    settings: GatewaySettings, conninfo: str, sandbox: Sandbox, tmp_path: Path, look: Look
) -> None:
    with several(settings, 1) as (running,):
        ask(running, HOST)
    with GatewayProcess(conninfo, sandbox, tmp_path, "before the call") as process:
        waits = HostCaller(process).ask("alice", timeout="30").authentication
        assert waits["queued"] is True
        sandbox.deny("token-of-alice")
        process.wait_until_stopped()
        process.kill()
    with RunningGateway(settings) as running:
        caller, waits = HostCaller(running), at(running, waits)
        assert running.session(waits).state is State.STARTING
        assert caller.state(waits)["session_status"] == "pending"
        assert "queued" not in caller.state(waits)
        later = ask(running, OTHER)
        look(running)
        assert caller.state(later)["queued"] is True
        assert len(sandbox.sessions) == 1
        running.turn_is_over("alice")
        until(lambda: len(sandbox.sessions) == 2)


@pytest.mark.parametrize("fault", [HttpStatus(500), Junk(), Reset()])
def test_a_start_that_iampass_has_answered_with_an_error_holds_no_turn(
    settings: GatewaySettings, sandbox: Sandbox, fault: Fault
) -> None:
    """As on one host: it may have begun, and counts."""
    with several(settings, 1) as (running,):
        sandbox.misbehave("start", fault)
        assert ask(running, HOST)["reason"] == "IAMPASS_AWAY"
        state = running.transaction(lambda _, connection: turns.locked(connection, "alice")).state
        assert [failures.count for failures in state.failures.values()] == [len(state.requests)] == [1]
        assert "queued" not in ask(running, OTHER)


def test_a_start_that_iampass_has_not_answered_holds_the_turn_as_long_as_its_login_would_wait(
    settings: GatewaySettings, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_START_SECONDS", 3.0)
    with several(settings, 1) as (running,):
        sandbox.misbehave("start", Hang())
        assert ask(running, HOST, timeout="60")["reason"] == "IAMPASS_AWAY"
        assert ask(running, OTHER)["queued"] is True
        holder = running.transaction(
            lambda _, connection: turns.locked(connection, "alice")
        ).state.turn_holder()
        assert holder is not None
        assert 30 < holder.until - holder.since <= 60
        running.turn_is_over("alice")
        until(lambda: len(sandbox.sessions) == 2)


# A login that waits


def test_a_request_has_its_turn_for_335_seconds_at_most_whatever_its_host_asks_for(
    settings: GatewaySettings, sandbox: Sandbox
) -> None:
    with RunningGateway(settings) as running:
        running.populate()
        assert ask(running, HOST, timeout="86400", duration_seconds="86400")["authenticated"]
        (row,) = running.rows("SELECT state FROM turn")
        (login,) = row["state"]["pending"]
        assert login["has_turn"]
        assert login["until"] - login["since"] <= 335


def test_who_asks_again_after_hanging_up_is_told_how_long_it_takes(
    settings: GatewaySettings, sandbox: Sandbox
) -> None:
    with RunningGateway(replace(settings, limits=replace(LIMITS, cool_off=300.0))) as running:
        running.populate()
        for _ in range(2):
            assert HostCaller(running).end(ask(running, HOST, remote=ATTACKER)) is True
        refusal = ask(running, HOST, remote=ATTACKER)["refusal"]
        assert (refusal["outcome"], 200 < refusal["retry_after"] <= 300) == ("throttled", True)


def test_a_login_that_has_given_up_while_it_waited_never_rings(
    settings: GatewaySettings, sandbox: Sandbox, look: Look
) -> None:
    with several(settings, 1) as (running,):
        caller = HostCaller(running)
        first, waits = ask(running, HOST), ask(running, OTHER)
        version = running.session(waits).version
        assert caller.end(waits) is True
        assert caller.end(waits) is False
        assert caller.state(waits)["session_status"] == "closed"
        assert running.session(waits).version > version
        assert caller.end(first) is True
        look(running)
        assert len(sandbox.sessions) == 1
        assert "cancelled" in [record.get("outcome") for record in running.records]


@pytest.mark.parametrize("given_up", [True, False])
def test_to_give_up_after_reading_of_another_login_counts_as_a_failure(
    settings: GatewaySettings, sandbox: Sandbox, given_up: bool
) -> None:
    with RunningGateway(replace(settings, limits=replace(LIMITS, cool_off=300.0))) as running:
        running.populate()
        caller = HostCaller(running)
        ask(running, HOST, remote=PERSON)
        for _ in range(2):
            waits = ask(running, HOST, remote=ATTACKER)
            assert (waits["queued"], waits["counts_given_up"]) == (True, True)
            assert caller.end(told_of_another(waits) if given_up else waits) is True
            assert caller.end(told_of_another(waits)) is False, "a repeat counts nothing"
        again = ask(running, HOST, remote=ATTACKER)
        assert again.get("reason") == ("HOST_THROTTLED" if given_up else None)
        assert len(sandbox.sessions) == 1


def test_a_host_may_give_up_no_more_logins_than_it_may_have_the_person_asked(
    settings: GatewaySettings, sandbox: Sandbox
) -> None:
    """Otherwise it could have one request keep the person waiting on hosts that are new to them, wherever they are."""
    with RunningGateway(replace(settings, limits=replace(LIMITS, requests_per_hour=9))) as running:
        running.populate()
        running.add_host(OTHER)
        caller = HostCaller(running)
        ask(running, HOST, remote=ATTACKER)
        for number in range(2):
            waits = ask(running, HOST, remote=f"198.51.100.{number}")
            assert caller.end(told_of_another(waits)) is True
        assert ask(running, HOST, remote="198.51.100.8")["reason"] == "HOST_THROTTLED"
        assert ask(running, OTHER, remote=PERSON)["queued"], "others are not kept waiting"
        assert len(sandbox.sessions) == 1


def told_of_another(waits: Any) -> Any:
    """A session whose host says, when it ends it, that the person was told of another login."""
    return {**waits, "logout_url": f"{waits['logout_url']}?given_up=yes"}


def test_a_turn_that_is_over_without_a_result_counts_as_a_failure(
    settings: GatewaySettings, sandbox: Sandbox
) -> None:
    with RunningGateway(replace(settings, limits=replace(LIMITS, cool_off=300.0))) as running:
        running.populate()
        for _ in range(2):
            assert ask(running, HOST, remote=ATTACKER)["session_status"] == "pending"
            running.turn_is_over("alice")
        assert ask(running, HOST, remote=ATTACKER)["reason"] == "HOST_THROTTLED"
        assert ask(running, HOST, remote=PERSON)["session_status"] == "pending"


def test_a_repeat_of_a_start_that_waits_is_answered_as_the_first_one(
    settings: GatewaySettings, sandbox: Sandbox
) -> None:
    with several(settings, 1) as (running,):
        caller, once = HostCaller(running), new_request_id()
        caller.ask("alice")
        waits = caller.ask("alice", once)
        assert caller.ask("alice", once).body == waits.body
        sandbox.deny("token-of-alice")
        until(lambda: len(sandbox.sessions) == 2)
        again = caller.ask("alice", once).authentication
        assert again["session_token"] == waits.authentication["session_token"]
        assert "queued" not in again
    assert len(sandbox.sessions) == 2


def test_a_login_whose_time_is_over_before_its_turn_never_rings(
    settings: GatewaySettings, sandbox: Sandbox, look: Look
) -> None:
    with several(settings, 1) as (running,):
        caller = HostCaller(running)
        first, waits = ask(running, HOST), ask(running, OTHER, timeout="1")
        assert caller.answer(waits) == "timeout"
        assert caller.state(waits)["reason"] == "NO_TURN"
        assert caller.end(first) is True
        look(running)
        assert len(sandbox.sessions) == 1
        assert running.records[0]["reason"] == "NO_TURN"
        assert running.records[0]["outcome"] == "throttled"


def test_a_login_whose_time_is_over_is_ended_whatever_else_the_person_does(
    settings: GatewaySettings, sandbox: Sandbox, looking: Event
) -> None:
    looking.clear()
    with several(settings, 1) as (running,):
        ask(running, HOST, timeout="60")
        waits = ask(running, OTHER, timeout="1", remote=PERSON)

        def overdue() -> int:
            return len(running.transaction(lambda _, connection: turns.locked(connection, "alice")).overdue)

        until(overdue)
        ask(running, HOST, timeout="60", remote="192.0.2.1")  # writes the person's turns
        assert overdue() == 1
        looking.set()
        assert HostCaller(running).answer(waits) == "timeout"
        assert HostCaller(running).state(waits)["reason"] == "NO_TURN"


def test_a_login_that_waits_for_a_turn_that_is_not_written_any_more_is_ended(
    settings: GatewaySettings, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_LATE_SECONDS", 0)
    with several(settings, 1) as (running,):
        ask(running, HOST, timeout="60")
        waits = ask(running, OTHER, timeout="1")
        running.rows("DELETE FROM turn")
        until(lambda: running.rows("SELECT 1 FROM session WHERE state = 'queued' AND deadline < now()"))
        assert HostCaller(running).poll(waits) == "pending"
        running.run(asking.give_up_starts(running.gateway))


def test_an_old_login_that_is_put_back_with_a_turn_never_rings(
    settings: GatewaySettings, sandbox: Sandbox, conninfo: str, looking: Event, look: Look
) -> None:
    looking.clear()
    with several(settings, 1) as (running,):
        caller = HostCaller(running)
        first, waits = ask(running, HOST), ask(running, OTHER, timeout="2")
        (session,) = running.rows("SELECT * FROM session WHERE state = 'queued'")
        (turn,) = running.rows("SELECT * FROM turn")
        looking.set()
        assert caller.answer(waits) == "timeout"
        assert caller.end(first) is True
        in_line = [each for each in turn["state"]["pending"] if each["ident"].endswith(str(session["id"]))]
        turn["state"] = {**turn["state"], "pending": [{**in_line[0], "until": time.time() + 1000}]}
        for table, row in (("session", session), ("turn", turn)):
            running.rows(f"DELETE FROM {table} WHERE person = 'alice'")
            put_back(conninfo, table, {**row, "waits": True} if table == "turn" else row)
        until(lambda: running.session(waits).reason == "NO_TURN")
        look(running)
    assert len(sandbox.sessions) == 1


@pytest.mark.parametrize("why", ["HOST_SUSPENDED", "UNKNOWN_USER", "HOST_THROTTLED", "tampered"])
def test_who_may_not_ask_any_more_when_the_turn_comes_does_not(
    settings: GatewaySettings, sandbox: Sandbox, why: str
) -> None:
    with several(settings, 1) as (running,):
        caller = HostCaller(running)
        first, waits = ask(running, HOST), ask(running, OTHER)
        if why == "HOST_SUSPENDED":
            running.change_host(OTHER, status=HostStatus.SUSPENDED)
        elif why == "UNKNOWN_USER":
            running.rows("DELETE FROM person WHERE name = 'alice'")
        elif why == "HOST_THROTTLED":
            running.change_host(OTHER, slowed_until=datetime(2100, 1, 1, tzinfo=timezone.utc))
            running.rows(  # as if somebody else had been asked there just now
                "INSERT INTO session SELECT (jsonb_populate_record(session, jsonb_build_object('id',"
                " gen_random_uuid(), 'person', 'bob', 'host_name', %s::text, 'request_id', 'another'))).*"
                " FROM session WHERE state = 'open'",
                f"name-of-{OTHER}",
            )
        else:
            running.rows("UPDATE session SET host = %s WHERE state = 'queued'", HOST)
        assert caller.end(first) is True
        until(lambda: running.rows("SELECT 1 FROM turn WHERE state->'pending' = '[]'"))
        assert [each.user for each in sandbox.sessions] == ["token-of-alice"]
        if why == "tampered":
            assert "alert" in [record["kind"] for record in running.records]
        else:
            assert running.session(waits).reason == why


def test_the_time_of_turns_does_not_go_back_when_the_databases_clock_does(
    settings: GatewaySettings, sandbox: Sandbox
) -> None:
    with several(settings, 1) as (running,):
        ask(running, HOST)
        running.rows("UPDATE turn SET changed_at = changed_at + interval '50 seconds'")
        before = running.transaction(lambda _, connection: turns.locked(connection, "alice"))
        assert before.now > time.time() + 15
        assert ask(running, OTHER)["queued"] is True
        again = running.transaction(lambda _, connection: turns.locked(connection, "alice"))
        assert again.now >= before.now
        assert ask(running, HOST)["queued"] is True
        assert len(sandbox.sessions) == 1


@pytest.mark.parametrize("when", ["while IAMPASS is called", "on the phone"])
def test_what_a_lost_phone_approves_lets_nobody_in(
    settings: GatewaySettings, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setattr("pam_iampass.gateway.requests.asking._START_SECONDS", PATIENCE)
    with several(settings, 1) as (running,), ThreadPoolExecutor() as pool:
        is_called, held = when == "while IAMPASS is called", Held()
        if is_called:
            sandbox.misbehave("start", held)
        asking = pool.submit(ask, running, HOST)
        sandbox.wait_for_calls("start")
        if not is_called:
            asking.result()
        lost_at = datetime.now(timezone.utc)
        running.transaction(lambda g, c: people.change(g, c, "alice", phone_lost_at=lost_at))
        held.until.set()
        if is_called:
            assert asking.result()["reason"] == "PHONE_LOST_MEANWHILE"
        else:
            sandbox.approve("token-of-alice")
            assert HostCaller(running).answer(asking.result()) == "closed"
        until(lambda: sandbox.sessions[0].ended_by is EndedBy.CLIENT)
        found = running.records[-1]
        assert (found["outcome"], found["reason"]) == ("denied", "PHONE_LOST_MEANWHILE")
        assert running.rows("SELECT 1 FROM session WHERE approved") == []


def test_between_two_requests_is_a_pause(settings: GatewaySettings, sandbox: Sandbox) -> None:
    with several(replace(settings, limits=replace(LIMITS, spacing=2.0)), 1) as (running,):
        first, second = ask(running, HOST), ask(running, OTHER)
        sandbox.deny("token-of-alice")
        assert HostCaller(running).answer(first) == "cancelled"
        until(lambda: len(sandbox.sessions) == 2)
        decided, began = running.session(first).decided_at, running.session(second).began_at
        assert decided is not None
        assert began - decided >= timedelta(seconds=2.0)


def test_a_login_that_waits_for_the_pause_need_not_once_an_administrator_has_cleared_the_limits(
    settings: GatewaySettings, sandbox: Sandbox
) -> None:
    with several(replace(settings, limits=replace(LIMITS, spacing=60.0)), 1) as (running,):
        first, second = ask(running, HOST), ask(running, OTHER)
        sandbox.deny("token-of-alice")
        assert HostCaller(running).answer(first) == "cancelled"
        assert HostCaller(running).state(second)["queued"]
        running.transaction(
            lambda _, connection: turns.change(connection, "alice", lambda state, _: throttle.cleared(state))
        )
        sandbox.approve(sandbox.wait_for_request("token-of-alice"))
        assert HostCaller(running).answer(second) == "active"
        decided, began = running.session(first).decided_at, running.session(second).began_at
        assert decided is not None
        assert began - decided < timedelta(seconds=60.0)


@pytest.mark.parametrize(
    "state",
    [
        "[1]",
        '{"pending": 1}',
        '{"failures": {"x": 1}}',
        "(SELECT jsonb_set(state, '{pending,0,since}', '\"x\"') FROM turn)",
        "(SELECT jsonb_set(state, '{pending,0,since}', 'null') FROM turn)",
        "(SELECT jsonb_set(state, '{turns,x}', '[]') FROM turn)",
    ],
)
def test_turns_that_no_gateway_has_written_stop_no_gateway_and_have_nobody_asked(
    settings: GatewaySettings, sandbox: Sandbox, state: str, look: Look
) -> None:
    with several(settings, 1) as (running,):
        begun = HostCaller(running).ask("bob").authentication
        running.rows("DELETE FROM turn")
        ask(running, HOST)
        ask(running, OTHER)
        written = state if state.startswith("(") else f"'{state}'::jsonb"
        running.rows(f"UPDATE turn SET state = {written} WHERE person = 'alice'")
        look(running)
        assert HostCaller(running).ask("alice").status == 500
        assert HostCaller(running).poll(begun) == "pending"
        assert [session.user for session in sandbox.sessions].count("token-of-alice") == 1


def test_the_logins_of_two_people_at_the_same_hosts_do_not_wait_for_each_other_in_a_circle(
    settings: GatewaySettings, sandbox: Sandbox, looking: Event
) -> None:
    near, far, *others = ids(4)
    people = {"alice": (others[0], near, far), "bob": (others[1], far, near)}
    limits = replace(LIMITS, host_requests_per_hour=1)
    waiting = "SELECT count(*) AS number FROM pg_locks WHERE NOT granted"
    with RunningGateway(replace(settings, limits=limits)) as running:
        running.populate()
        for host in ids(4):
            running.add_host(host)
        looking.clear()
        begun = [ask(running, host, person) for person, hosts in people.items() for host in hosts]
        for host, person in ((near, "dave"), (far, "erin")):  # its limit is reached
            sandbox.add_user(f"token-of-{person}")
            running.add_person(person, f"token-of-{person}")
            assert ask(running, host, person)["authenticated"]
        for person in people:
            running.turn_is_over(person)
        with psycopg.connect(settings.database) as other, ThreadPoolExecutor(len(people)) as pool:
            other.execute(
                "LOCK TABLE record IN SHARE MODE"
            )  # the alert about a limit waits, with the lock of its host
            taken = [pool.submit(running.run, queue.take_turn(running.gateway, person)) for person in people]
            until(lambda: running.rows(waiting)[0]["number"] == len(people))
            other.rollback()
            for each in taken:
                each.result()
        looking.set()
        caller = HostCaller(running)
        queued = [each for each in begun if each.get("queued")]
        until(lambda: all(caller.state(each).get("reason") == "HOST_THROTTLED" for each in queued))
        assert len(queued) == 4

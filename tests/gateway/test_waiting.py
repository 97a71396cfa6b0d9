"""Polls that the gateway holds until something changes: when they are answered, with what, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pam_iampass.client.status import Status
from pam_iampass.gateway.hosts.hosts import HostStatus
from pam_iampass.gateway.requests import asking
from tests.sandbox.signer import Reply
from tests.support.gateway import HostCaller, RunningGateway, settings_for
from tests.support.postgres import Postgres
from tests.support.sandbox import Hang, Sandbox
from tests.support.world import PATIENCE, wait_until

Pool = ThreadPoolExecutor


@pytest.fixture
def pool() -> Iterator[Pool]:
    with ThreadPoolExecutor(40) as threads:
        yield threads


HOURS = 9999
"""Seconds for which a call asks to be held: only an event ends that in a test."""


@pytest.fixture(autouse=True)
def held_for_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pam_iampass.gateway.calls.service.LONGEST_SECONDS", HOURS)


@pytest.fixture
def caller(caller: HostCaller) -> HostCaller:
    """Waits for an answer as long as the tests do for anything."""
    caller.timeout = PATIENCE
    return caller


def held(running: RunningGateway, count: int = 1) -> None:
    """Wait until this number of calls is held."""
    wait_until(lambda: len(running.gateway.held) == count, "the calls are not held")


def waits(pool: Pool, caller: HostCaller, begun: Any, version: int = 1) -> Future[Reply]:
    """The answer to a poll that is held now, for hours if nothing happens."""
    count = len(caller.sandbox.gateway.held)  # type: ignore[attr-defined]
    answer = pool.submit(caller.wait, begun, version, HOURS)
    wait_until(lambda: len(caller.sandbox.gateway.held) > count, "the poll is not held")  # type: ignore[attr-defined]
    return answer


def said(reply: Reply) -> tuple[str, int]:
    """Status and version in an answer."""
    assert reply.status == 200, reply.body
    return reply.authentication["session_status"], reply.authentication["version"]


def polls(sandbox: Sandbox) -> int:
    return [call.kind for call in sandbox.calls].count("poll")


def test_an_approval_is_answered_with_the_very_poll_that_has_seen_it(
    pool: Pool, caller: HostCaller, sandbox: Sandbox
) -> None:
    begun = caller.ask("alice").authentication
    assert (begun["wait"], begun["version"]) == (10, 1)
    answer = waits(pool, caller, begun)
    sandbox.approve("token-of-alice")
    before = polls(sandbox)
    assert said(answer.result()) == ("active", 2)
    assert polls(sandbox) <= before + 1


def test_each_change_is_one_answer_and_what_the_host_has_seen_is_not_told_again(
    pool: Pool, caller: HostCaller, sandbox: Sandbox
) -> None:
    begun = caller.ask("alice").authentication
    assert said(caller.wait(begun, 0)) == ("pending", 1)
    answer = waits(pool, caller, begun)
    sandbox.identify("token-of-alice")
    assert said(answer.result()) == ("identifying", 2)
    answer = waits(pool, caller, begun, 2)
    sandbox.deny("token-of-alice")
    assert said(answer.result()) == ("cancelled", 3)
    assert said(caller.wait(begun, 3)) == ("cancelled", 3)


def test_after_the_wait_the_answer_is_what_was_known(caller: HostCaller) -> None:
    begun = caller.ask("alice").authentication
    began = time.monotonic()
    assert said(caller.wait(begun, 1, seconds=1)) == ("pending", 1)
    assert time.monotonic() - began >= 1


def test_a_client_that_does_not_wait_is_answered_as_by_iampass(caller: HostCaller) -> None:
    begun = caller.start("alice").authentication
    assert not {"wait", "version"} & set(begun)
    answer = caller.session("GET", begun, "status_url").authentication
    assert set(answer) == {"authenticated", "session_status"}


@pytest.mark.parametrize(
    ("seconds", "version"), [("-1", "1"), ("1.5", "1"), ("25", "x"), ("25", "9" * 19), ("99999", "1")]
)
def test_what_is_no_number_is_refused(caller: HostCaller, seconds: str, version: str) -> None:
    begun = caller.ask("alice").authentication
    assert caller.wait(begun, version, seconds).reason == "BAD_WAIT"


def test_a_wait_is_never_longer_than_the_gateway_holds_calls(
    pool: Pool, gateway_server: RunningGateway, caller: HostCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pam_iampass.gateway.calls.service.LONGEST_SECONDS", 1)
    begun = caller.ask("alice").authentication
    assert said(caller.wait(begun, 1, HOURS)) == ("pending", 1)


def test_another_session_cannot_wait_for_this_one(caller: HostCaller) -> None:
    begun, other = caller.ask("alice").authentication, caller.ask("bob").authentication
    begun["session_secret"] = other["session_secret"]
    assert caller.wait(begun, 1).reason == "BAD_SIGNATURE"


def test_what_another_gateway_has_written_is_found(
    pool: Pool, gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, tmp_path: Path
) -> None:
    begun = caller.ask("alice").authentication
    sandbox.misbehave("poll", Hang(), times=None)
    answer = waits(pool, caller, begun)
    with RunningGateway(settings_for(gateway_server.settings.database, sandbox, tmp_path)) as other:
        other.run(asking.write_status(other.gateway, other.session(begun), Status.active))
        assert said(answer.result()) == ("active", 2)
    sandbox.behave()


def suspended(pool: Pool, running: RunningGateway, caller: HostCaller, sandbox: Sandbox) -> float:
    """How many seconds after its host was suspended a poll is answered of what was approved, and goes on: a request
    on a phone would be ended."""
    begun = caller.ask("alice").authentication
    sandbox.approve("token-of-alice")
    assert caller.answer(begun) == "active"
    answer = waits(pool, caller, begun, 2)
    running.change_host(status=HostStatus.SUSPENDED)
    began = time.monotonic()
    reply = answer.result()
    assert (reply.status, reply.reason) == (403, "HOST_SUSPENDED")
    return time.monotonic() - began


@pytest.mark.long
@pytest.mark.alone
def test_a_host_that_is_suspended_is_told_within_a_second(
    pool: Pool, gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    assert suspended(pool, gateway_server, caller, sandbox) < 1.0


def test_a_host_that_was_removed_waits_no_longer(
    pool: Pool, gateway_server: RunningGateway, caller: HostCaller
) -> None:
    answer = waits(pool, caller, caller.ask("alice").authentication)
    gateway_server.rows("DELETE FROM host")
    assert answer.result().reason == "UNKNOWN_CLIENT"


def test_a_row_that_an_attacker_writes_meanwhile_approves_nobody(
    pool: Pool, gateway_server: RunningGateway, caller: HostCaller
) -> None:
    answer = waits(pool, caller, caller.ask("alice").authentication)
    gateway_server.rows("UPDATE session SET status = 'active', version = 2, approved = true")
    assert answer.result().reason == "UNKNOWN_SESSION"


def test_who_waits_takes_no_connection_of_the_database(
    pool: Pool, gateway_server: RunningGateway, caller: HostCaller
) -> None:
    begun = [caller.ask("alice").authentication, caller.ask("bob").authentication]
    answers = [pool.submit(caller.wait, each, 1, HOURS) for each in begun for _ in range(2)]
    held(gateway_server, 4)

    def are_free() -> bool:
        found = gateway_server.gateway.database.connections()
        return found["pool_size"] - found["pool_available"] <= 1  # that of the gateway's own work

    wait_until(are_free, "the connections are in use")
    assert [caller.end(each) for each in begun] == [True, True]
    assert {said(answer.result()) for answer in answers} == {("closed", 2)}
    assert not len(gateway_server.gateway.held)
    assert not gateway_server.gateway.held._about


def test_a_session_cannot_hold_more_and_more(
    pool: Pool, gateway_server: RunningGateway, caller: HostCaller
) -> None:
    begun = caller.ask("alice").authentication
    first, second = waits(pool, caller, begun), waits(pool, caller, begun)
    third = pool.submit(caller.wait, begun, 1, 1)
    assert said(first.result()) == ("pending", 1)
    assert said(third.result()) == ("pending", 1)
    assert not second.done()
    assert caller.end(begun)
    assert said(second.result()) == ("closed", 2)
    assert not len(gateway_server.gateway.held)


def test_a_gateway_that_stops_answers_all_who_wait(
    pool: Pool, conninfo: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    with RunningGateway(settings_for(conninfo, sandbox, tmp_path)) as running:
        running.populate()
        caller = HostCaller(running)
        answers = [waits(pool, caller, caller.ask(name).authentication) for name in ("alice", "bob")]
    for answer in answers:
        reply = answer.result()
        assert (reply.status, reply.reason) == (503, "STOPPING")


def test_who_waits_while_the_database_is_away_is_answered_when_it_is_back(
    pool: Pool, caller: HostCaller, sandbox: Sandbox, postgres: Postgres
) -> None:
    begun = caller.ask("alice").authentication
    answer = waits(pool, caller, begun)
    sandbox.wait_for_calls("poll", timeout=PATIENCE)
    postgres.stop()
    try:
        sandbox.approve("token-of-alice")
        # The second poll begins after the gateway has tried to write what the first one has said.
        sandbox.wait_for_calls("poll", polls(sandbox) + 3, PATIENCE)
        assert not answer.done()
    finally:
        postgres.start()
    assert said(answer.result()) == ("active", 2)

"""What asks a person now: it is theirs alone, it comes at once, and waiting for it is bounded."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable
from uuid import UUID

import pytest

from pam_iampass.fleet.sessions import RingRow
from pam_iampass.gateway.acts import rings
from pam_iampass.gateway.sign_in import sign_ins
from pam_iampass.portal import calls
from pam_iampass.portal.calls import RingingNow
from pam_iampass.portal.gateway import GatewayError
from tests.gateway.test_acts_socket import folder, with_portal
from tests.support.acts_socket import Browser, RunningActs, signed_in
from tests.support.gateway import HOST, HostCaller, RunningGateway, calls_of, looks
from tests.support.sandbox import Sandbox
from tests.support.world import PATIENCE, wait_until

__all__ = ["folder"]
TOKEN = "token-of-alice"
Wait = Callable[[Browser, str], "Future[RingingNow]"]


@pytest.fixture
def acts(gateway_server: RunningGateway, folder: Path) -> Iterator[RunningActs]:
    with RunningActs(with_portal(gateway_server), folder) as running:
        yield running


@pytest.fixture
def wait(acts: RunningActs) -> Iterator[Wait]:
    """Begins a call that waits, and returns once it does."""
    waits = calls_of(acts.service.rings, "wait")
    with ThreadPoolExecutor(10) as pool:

        def begin(browser: Browser, seen: str) -> Future[RingingNow]:
            before = len(waits)
            found = pool.submit(acts.call, calls.WaitForRings(browser.token, seen))
            wait_until(lambda: found.done() or len(waits) > before, "it does not wait")
            return found

        try:
            yield begin
        finally:
            acts.stop()


def now(browser: Browser) -> RingingNow:
    return browser.acts.call(calls.WaitForRings(browser.token))


def until(browser: Browser, status: str) -> Any:
    """The first row with this status."""

    def look() -> Any:
        return next((row for row in now(browser).rows if row["status"] == status), None)

    return wait_until(look, f"nothing {status}")


def test_a_request_is_told_to_whoever_waits_and_then_that_it_is_over(
    acts: RunningActs, wait: Wait, caller: HostCaller, sandbox: Sandbox
) -> None:
    alice = signed_in(acts, "alice")
    nothing = now(alice)
    assert nothing.rows == []
    waits = wait(alice, nothing.seen)
    assert not waits.done()
    asked = {"service": "sudo", "remote": "192.0.2.7", "timeout": "40"}
    begun = caller.ask("alice", command="sudo id (in /)", **asked).authentication
    told = waits.result(PATIENCE)
    (row,) = told.rows
    assert row.keys() == {*RingRow.__annotations__}
    assert {name: row[name] for name in ("host", "service", "command", "remote", "status", "user")} == {
        "host": f"name-of-{HOST}",
        "service": "sudo",
        "command": "sudo id (in /)",
        "remote": "192.0.2.7",
        "status": "asked",
        "user": "alice",
    }
    assert 0 <= row["seconds_left"] <= 40
    sandbox.wait_for_request(TOKEN)
    done = alice.act("session_not_me", touch=False, person="alice", session=row["id"])
    assert done == {"ended": 1, "errors": 0}
    assert caller.answer(begun) == "cancelled"
    while told.seen != nothing.seen:
        told = wait(alice, told.seen).result(PATIENCE)
    waits = wait(alice, told.seen)
    wait_until(lambda: now(alice) == nothing, "it is shown for longer than some seconds")
    assert not waits.done()


def test_a_login_that_is_let_in_or_ends_wakes_whoever_waits(
    acts: RunningActs, wait: Wait, caller: HostCaller, sandbox: Sandbox
) -> None:
    alice = signed_in(acts, "alice")
    nothing = now(alice)
    begun = caller.ask("alice", service="sshd").authentication
    asked = until(alice, "asked")
    sandbox.approve(sandbox.wait_for_request(TOKEN))
    assert caller.answer(begun) == "active"
    let_in = wait_until(
        lambda: (told := now(alice)).rows[0]["status"] == "approved" and told, "it still asks"
    )
    assert let_in.seen != nothing.seen
    waits = wait(alice, let_in.seen)
    assert not waits.done()
    assert [row["status"] for row in alice.look("sessions", person="alice")] == ["active"]
    alice.act("session_end", touch=False, person="alice", session=asked["id"])
    assert waits.result(PATIENCE).seen == nothing.seen


def test_what_asks_others_is_not_told_and_a_second_person_is_told_whose_login_it_is(
    acts: RunningActs, caller: HostCaller, sandbox: Sandbox
) -> None:
    alice, bob = signed_in(acts, "alice"), signed_in(acts, "bob")
    caller.ask("alice", asker="bob", service="sudo", caller="root")
    row = until(alice, "asked")
    assert (row["user"], row["caller"], row["service"]) == ("bob", "root", "sudo")
    assert now(bob).rows == []
    caller.ask("alice", service="sshd")
    assert until(alice, "waits")["user"] == "alice"
    sandbox.approve(TOKEN)
    wait_until(lambda: {row["status"] for row in now(alice).rows} == {"approved", "asked"}, "it still asks")


@pytest.mark.parametrize(
    ("what", "end"), [("approve", "approved"), ("deny", "denied"), ("time_out", "over")], ids=str
)
def test_what_became_of_a_request_is_shown_to_the_person_just_after(
    acts: RunningActs, caller: HostCaller, sandbox: Sandbox, what: str, end: str
) -> None:
    alice, bob = signed_in(acts, "alice"), signed_in(acts, "bob")
    begun = caller.ask("alice").authentication
    until(alice, "asked")
    getattr(sandbox, what)(sandbox.wait_for_request(TOKEN))
    caller.answer(begun)
    row = until(alice, end)
    assert 0 <= row["seconds_left"] <= rings.SHOWN_SECONDS
    assert now(bob).rows == []


def test_who_waits_is_woken_for_the_own_requests_only_and_by_one_query_for_all(
    acts: RunningActs, wait: Wait, caller: HostCaller, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = signed_in(acts, "alice"), signed_in(acts, "bob")
    waits = wait(bob, now(bob).seen)
    told = wait(alice, now(alice).seen)
    caller.ask("alice")
    assert len(told.result(PATIENCE).rows) == 1
    look = looks(monkeypatch, rings, "many")
    look()
    assert not waits.done()
    own = [wait(alice, until(alice, "asked") and now(alice).seen) for _ in range(2)]
    queries = calls_of(rings, "many")
    look()
    assert all({*names} == {"alice", "bob"} for _, _, names in queries)
    assert not any(each.done() for each in (*own, waits))
    caller.ask("bob")
    assert len(waits.result(PATIENCE).rows) == 1


def test_a_row_that_no_gateway_has_written_is_not_shown_and_wakes_nobody_again(
    acts: RunningActs,
    wait: Wait,
    caller: HostCaller,
    gateway_server: RunningGateway,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bob = signed_in(acts, "bob")
    caller.ask("alice")
    gateway_server.rows("UPDATE session SET person = 'bob'")
    told = now(bob)
    assert told.rows == []
    waits = wait(bob, told.seen)
    looks(monkeypatch, rings, "many")()
    assert not waits.done()


def test_waiting_keeps_no_sign_in_from_ending_and_one_that_has_ended_is_told_nothing(
    acts: RunningActs, wait: Wait, caller: HostCaller, gateway_server: RunningGateway
) -> None:
    statement = "SELECT active_at, mac FROM sign_in"
    alice = signed_in(acts, "alice")
    before = gateway_server.rows(statement)
    waits = wait(alice, now(alice).seen)
    assert gateway_server.rows(statement) == before
    assert alice.act("sign_in_end", touch=False, person="alice") == {"number": 1}
    caller.ask("alice")
    with pytest.raises(GatewayError, match="NOT_SIGNED_IN"):
        waits.result(PATIENCE)
    with pytest.raises(GatewayError, match="NOT_SIGNED_IN"):
        now(alice)


def test_a_passkey_from_before_a_restore_is_shown_nothing_that_asks(
    acts: RunningActs, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = signed_in(acts, "alice")
    find = sign_ins.find

    async def unconfirmed(*arguments: Any) -> Any:
        found = await find(*arguments)
        return dataclasses.replace(found, passkey=dataclasses.replace(found.passkey, is_confirmed=False))

    monkeypatch.setattr(sign_ins, "find", unconfirmed)
    with pytest.raises(GatewayError, match="NOT_PERMITTED"):
        now(alice)


def test_calls_that_wait_are_bounded_for_one_sign_in_and_for_all(
    acts: RunningActs, wait: Wait, caller: HostCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = signed_in(acts, "alice"), signed_in(acts, "bob")
    seen = now(alice).seen
    first, *others = [wait(alice, seen) for _ in range(rings.MOST_OF_ONE)]
    newest = wait(alice, seen)
    with pytest.raises(GatewayError, match="BUSY"):
        first.result(PATIENCE)
    assert not any(each.done() for each in (*others, newest))
    monkeypatch.setattr(rings, "MOST", rings.MOST_OF_ONE)
    with pytest.raises(GatewayError, match="BUSY"):
        wait(bob, now(bob).seen).result(PATIENCE)
    caller.ask("alice")
    assert all(each.result(PATIENCE).rows for each in (*others, newest))


def test_the_service_stops_although_pages_wait(acts: RunningActs, wait: Wait) -> None:
    alice = signed_in(acts, "alice")
    waits = wait(alice, now(alice).seen)
    acts.stop()
    with pytest.raises(GatewayError, match=r"STOPPING|AWAY"):
        waits.result(PATIENCE)
    assert len(acts.service.rings) == 0


def test_a_wait_ends_when_its_time_is_over() -> None:
    async def go() -> int:
        waiting = rings.WaitingForRings()
        found: Any = type("Found", (), {"person": type("P", (), {"name": "alice"}), "id": UUID(int=1)})
        await waiting.wait(found, secrets.token_hex(16), 0.0)
        return len(waiting)

    assert asyncio.run(go()) == 0

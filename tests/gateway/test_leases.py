"""Several gateways: which of them polls IAMPASS for a session, who takes over, and what counts as seen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from pam_iampass.client.status import Status
from pam_iampass.gateway import asking, leases, sessions, watching
from pam_iampass.gateway.database import Connection
from pam_iampass.gateway.gateway import Gateway
from pam_iampass.gateway.sessions import State
from pam_iampass.session.schedule import PAUSE
from tests.client.connect_proxy import connect_proxy
from tests.gateway.test_host_sessions import approved, polls
from tests.support.gateway import HostCaller, RunningGateway, settings_for
from tests.support.gateway_process import GatewayProcess
from tests.support.sandbox import Hang, Reset, Sandbox, SessionState
from tests.support.world import wait_until

#: How long until another gateway has taken over, and the person's answer is seen.
TAKEN_OVER = 12.0


@pytest.fixture
def make(conninfo: str, sandbox: Sandbox, tmp_path: Path) -> Callable[..., RunningGateway]:
    """Makes a gateway of the fleet, which polls each approved session once in `check` seconds."""

    def made(check: float = 30.0) -> RunningGateway:
        running = RunningGateway(settings_for(conninfo, sandbox, tmp_path))
        running.check = check
        return running

    return made


@pytest.fixture
def second(gateway_server: RunningGateway, make: Callable[..., RunningGateway]) -> Iterator[RunningGateway]:
    """A gateway beside the first one."""
    with make(30.0) as running:
        yield running


def at(running: RunningGateway, begun: Any) -> Any:
    """The session, to be called at this gateway."""
    path = begun["status_url"].split("/", 3)[3].rpartition("/")[0]
    return {
        **begun,
        "status_url": f"{running.url}/{path}/status",
        "logout_url": f"{running.url}/{path}/logout",
    }


def holder(running: RunningGateway) -> tuple[Any, int]:
    """Who has the only lease, and its epoch."""
    (row,) = running.rows("SELECT holder, epoch FROM lease")
    return row["holder"], row["epoch"]


def renewals(running: RunningGateway) -> list[bool]:
    """Of each renewal from now on, whether the gateway has left its leases to others."""
    gateway_leases, left = running.gateway.leases, list[bool]()
    renew = gateway_leases.renew

    async def noted(connection: Connection, *, is_cut_off: bool = False) -> None:
        await renew(connection, is_cut_off=is_cut_off)
        left.append(gateway_leases.leaves_all)

    gateway_leases.renew = noted  # type: ignore[method-assign]
    return left


def is_now(running: RunningGateway, begun: Any, status: Status) -> bool:
    return running.session(begun).status is status


# Requests


def test_one_gateway_alone_polls_a_request(
    gateway_server: RunningGateway, second: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    caller.ask("alice")
    assert holder(second) == (gateway_server.gateway.leases.holder, 1)
    time.sleep(3)
    moments = [call.at for call in sandbox.calls if call.kind == "poll"]
    assert len(moments) <= 5
    assert not second.gateway.leases.epochs


def test_a_gateway_that_stops_leaves_its_sessions_to_the_others_at_once(
    make: Callable[..., RunningGateway], sandbox: Sandbox
) -> None:
    with make() as other:
        other.populate()
        with make() as first:
            kept = approved(HostCaller(first), sandbox)
            begun = HostCaller(first).ask("bob").authentication
        stopped = time.monotonic()
        sandbox.approve("token-of-bob")
        assert HostCaller(other).answer(at(other, begun)) == "active"
        assert time.monotonic() - stopped < 5.0
        wait_until(lambda: other.session(kept).id in other.gateway.leases.epochs, "nobody polls it", 5.0)


def test_the_sessions_of_a_gateway_that_is_killed_are_taken_over(
    make: Callable[..., RunningGateway], conninfo: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    """An approved one, which nobody may have polled for a while, is polled soon."""
    with make(10_000.0) as other:
        other.populate()
        with GatewayProcess(conninfo, sandbox, tmp_path, "at no point") as killed:
            caller = HostCaller(killed)
            kept = approved(caller, sandbox)
            begun = caller.ask("bob").authentication
            killed.kill()
        died = time.monotonic()
        sandbox.approve("token-of-bob")
        sandbox.close("token-of-alice")
        reply = HostCaller(other).wait(at(other, begun), 1)
        assert reply.authentication["session_status"] == "active"
        assert time.monotonic() - died < TAKEN_OVER
        wait_until(lambda: other.session(kept).state is State.ENDED, "the end is not seen", 2 * TAKEN_OVER)
    assert len(sandbox.sessions) == 2


def test_a_gateway_that_does_not_reach_iampass_leaves_its_sessions_to_one_that_may(
    make: Callable[..., RunningGateway], conninfo: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    server = urlsplit(sandbox.url)
    there = "127.0.0.1", server.port or 443
    with connect_proxy(there) as proxy, make(1.0) as other:
        other.populate()
        first = RunningGateway(settings_for(conninfo, sandbox, tmp_path, proxy=proxy.url))
        first.check = 1.0
        with first:
            kept = approved(HostCaller(first), sandbox)
            begun = HostCaller(first).ask("bob").authentication
            wait_until(lambda: len(first.gateway.leases.epochs) == 2, "it does not poll them", 5.0)
            proxy.close()
            sandbox.approve("token-of-bob")
            sandbox.close("token-of-alice")
            reply = HostCaller(other).wait(at(other, begun), 1)
            assert reply.authentication["session_status"] == "active"
            wait_until(lambda: other.session(kept).state is State.ENDED, "the end is not seen", TAKEN_OVER)
            assert not first.gateway.leases.epochs
            with connect_proxy(there, port=urlsplit(proxy.url).port or 0):
                # It has none to poll, and finds out nevertheless.
                alive = "SELECT 1 FROM lease_holder WHERE until > now()"
                wait_until(lambda: len(first.rows(alive)) == 2, "it stays without", 10.0)
                begun = HostCaller(first).ask("bob").authentication
                left = renewals(first)
                wait_until(lambda: left[-3:] == [False] * 3, "it does not stay", 20.0)
                sandbox.approve("token-of-bob")
                assert HostCaller(first).answer(begun) == "active"


def test_a_gateway_that_polls_none_asks_about_some_session_that_a_gateway_has_written(
    make: Callable[..., RunningGateway], sandbox: Sandbox
) -> None:
    with make(10_000.0) as gateway:
        gateway.populate()
        for person in ("alice", "bob"):
            approved(HostCaller(gateway), sandbox, person)
        gateway.rows(
            "INSERT INTO session SELECT (forged).* FROM (SELECT jsonb_populate_record(session, jsonb_build_object("
            "'id', gen_random_uuid(), 'request_id', number::text)) AS forged"
            " FROM session, generate_series(1, 5) AS number WHERE person = 'alice') AS rows"
        )
        before = len(sandbox.calls)
        for _ in range(20):
            gateway.run(watching._try_iampass(gateway.gateway))
        asked = [call.path for call in sandbox.calls[before:] if call.kind == "poll"]
        assert (len(asked), len(set(asked))) == (20, 2)


def test_a_gateway_that_is_alone_keeps_its_sessions_while_it_does_not_reach_iampass(
    conninfo: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    server = urlsplit(sandbox.url)
    there = "127.0.0.1", server.port or 443
    with connect_proxy(there) as proxy:
        alone = RunningGateway(settings_for(conninfo, sandbox, tmp_path, proxy=proxy.url))
        with alone:
            alone.populate()
            begun = HostCaller(alone).ask("alice").authentication
            before = holder(alone)
            proxy.close()
            sandbox.approve("token-of-alice")
            time.sleep(watching._CUT_OFF_SECONDS + 2 * leases.RENEW_SECONDS + 1)
            assert holder(alone) == before
            with connect_proxy(there, port=urlsplit(proxy.url).port or 0):
                assert HostCaller(alone).answer(begun) == "active"


def test_a_request_is_polled_although_it_began_later_than_the_database_says_it_is_now(
    make: Callable[..., RunningGateway], sandbox: Sandbox
) -> None:
    """As after the promotion of a standby whose clock is behind."""

    async def shift(gateway: Gateway, connection: Connection) -> None:
        locked = await sessions.locked(gateway, connection, session)
        ahead = {name: locked[name] + timedelta(minutes=10) for name in ("began_at", "deadline")}
        await sessions.change(gateway, connection, locked, **ahead)

    with make() as first:
        first.populate()
        begun = HostCaller(first).ask("alice").authentication
        session = first.session(begun).id
        first.transaction(shift)
    with make() as second:
        sandbox.approve("token-of-alice")
        wait_until(partial(is_now, second, begun, Status.active), "it is not polled", TAKEN_OVER)


def test_what_is_said_under_a_lease_that_another_gateway_has_now_is_not_written(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    sandbox.misbehave("poll", Hang(), times=None)
    begun = caller.ask("alice").authentication
    session, gateway = gateway_server.session(begun), gateway_server.gateway
    gateway_server.rows("UPDATE lease SET epoch = 2")
    after = gateway_server.run(asking.said(gateway, session, Status.active, epoch=1))
    assert after == session == gateway_server.session(begun)
    assert session.id not in gateway.leases.epochs
    gateway_server.rows("UPDATE lease SET epoch = 1")
    after = gateway_server.run(asking.said(gateway, session, Status.active, epoch=1))
    assert (after.status, after.version) == (Status.active, 2)
    sandbox.behave()


def test_a_gateway_that_was_held_up_has_lost_its_leases(
    gateway_server: RunningGateway, second: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    begun = caller.ask("alice").authentication
    before = gateway_server.gateway.leases.holder
    gateway_server.rows("UPDATE lease_holder SET until = now() - interval '1 second' WHERE id = %s", before)
    wait_until(lambda: holder(second)[1] >= 2, "nobody has taken it over", TAKEN_OVER)
    wait_until(lambda: gateway_server.gateway.leases.holder != before, "it has not noticed", TAKEN_OVER)
    sandbox.approve("token-of-alice")
    assert caller.answer(begun) == "active"


def test_nothing_is_locked_while_iampass_is_called(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    sandbox.misbehave("poll", Hang(), times=None)
    caller.ask("alice")
    sandbox.wait_for_calls("poll")
    with psycopg.connect(gateway_server.settings.database) as other:
        for table in ("session", "lease", "lease_holder", "host", "person"):
            other.execute(f"SELECT 1 FROM {table} FOR UPDATE NOWAIT".encode())
    sandbox.behave()


# Approved sessions


@pytest.fixture
def quick(make: Callable[..., RunningGateway]) -> Iterator[RunningGateway]:
    """A gateway that polls approved sessions each second."""
    with make(1.0) as running:
        running.populate()
        yield running


def test_a_gateway_polls_approved_sessions_itself(quick: RunningGateway, sandbox: Sandbox) -> None:
    begun = approved(HostCaller(quick), sandbox)
    for change, status in (
        (sandbox.walk_away, Status.walkaway),
        (sandbox.come_back, Status.active),
        (sandbox.close, Status.closed),
    ):
        change("token-of-alice")
        wait_until(partial(is_now, quick, begun, status), f"{status} is not seen", 5.0)
    assert quick.records[-1]["reason"] == "closed"
    wait_until(lambda: not quick.gateway.leases.epochs, "it is polled on", 5.0)
    assert not quick.rows("SELECT * FROM lease")


def test_what_iampass_says_once_ends_nothing(quick: RunningGateway, sandbox: Sandbox) -> None:
    begun = approved(HostCaller(quick), sandbox)
    for wrong in ("closed", "walkaway", "failed"):
        sandbox.misbehave("poll", SessionState(wrong))
        sandbox.wait_for_calls("poll", polls(sandbox) + 2)
    assert quick.session(begun).version == 2
    assert quick.session(begun).status is Status.active


def test_an_end_that_a_host_was_told_is_looked_at_again_soon(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    begun = approved(caller, sandbox)
    wait_until(lambda: gateway_server.session(begun).status is Status.active, "it is not approved")
    sandbox.close("token-of-alice")
    time.sleep(asking.FRESH_SECONDS)
    assert caller.poll(begun) == "closed"
    wait_until(lambda: gateway_server.session(begun).state is State.ENDED, "it is not written", 2.5)


def test_a_session_that_its_host_ends_is_polled_no_more(quick: RunningGateway, sandbox: Sandbox) -> None:
    begun = approved(HostCaller(quick), sandbox)
    assert HostCaller(quick).end(begun)
    count = polls(sandbox)
    time.sleep(2.5)
    assert polls(sandbox) <= count + 1


def test_polls_of_approved_sessions_never_come_in_a_burst(
    make: Callable[..., RunningGateway], sandbox: Sandbox
) -> None:
    sandbox.auto, people = "approve", [f"person-{number}" for number in range(40)]
    with make(4.0) as running:
        running.populate()
        caller = HostCaller(running)
        for name in people:
            sandbox.add_user(f"token-of-{name}")
            running.add_person(name, f"token-of-{name}")
            assert caller.answer(caller.ask(name).authentication) == "active"
        time.sleep(1)
        sandbox.misbehave("poll", Reset(), times=None)
        time.sleep(2)
        sandbox.behave()
        back = time.monotonic()
        time.sleep(PAUSE + 2 * 4.0 + 1)
        moments = [call.at for call in sandbox.calls if call.kind == "poll" and call.at > back]
    assert 40 <= len(moments) <= 160
    assert max(sum(0 <= other - moment < 0.5 for other in moments) for moment in moments) <= 20


def test_leases_of_what_is_over_are_forgotten(gateway_server: RunningGateway, caller: HostCaller) -> None:
    caller.ask("alice")
    gone = gateway_server.session(caller.ask("bob").authentication).id
    gateway_server.rows("DELETE FROM session WHERE id = %s", gone)
    gateway_server.rows("INSERT INTO lease VALUES (gen_random_uuid(), gen_random_uuid(), 7)")
    gateway_server.rows("INSERT INTO lease_holder VALUES (gen_random_uuid(), now() - interval '2 hours')")
    gateway_server.transaction(lambda gateway, connection: gateway.leases.forget(connection))
    assert gone not in gateway_server.gateway.leases.epochs
    assert len(gateway_server.gateway.leases.epochs) == 1
    assert holder(gateway_server)[1] == 1
    assert len(gateway_server.rows("SELECT * FROM lease_holder")) == 1


def test_it_is_known_within_twelve_seconds_that_a_gateway_has_died() -> None:
    assert leases.ALIVE_SECONDS + watching._TAKE_SECONDS + watching._SOON_SECONDS <= TAKEN_OVER

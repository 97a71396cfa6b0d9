"""Several gateways: which of them polls IAMPASS for a session, who takes over, and what counts as seen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from pam_iampass.client.application import Application
from pam_iampass.client.call import Call
from pam_iampass.client.errors import Unavailable
from pam_iampass.client.status import Status
from pam_iampass.gateway.base import leases
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.upstream import Lane
from pam_iampass.gateway.requests import asking, sessions
from pam_iampass.gateway.requests.sessions import State
from pam_iampass.gateway.serving import watching
from pam_iampass.session.schedule import PAUSE
from tests.client.connect_proxy import connect_proxy
from tests.gateway.test_host_sessions import approved, polls
from tests.support.gateway import HOST, HostCaller, RunningGateway, calls_of, settings_for
from tests.support.gateway_process import GatewayProcess
from tests.support.sandbox import Hang, Sandbox, SessionState
from tests.support.world import PATIENCE, wait_until

#: How long until another gateway has taken over, and the person's answer is seen.
TAKEN_OVER = 12.0
ALIVE_SECONDS = leases.ALIVE_SECONDS


@pytest.fixture(autouse=True)
def never_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway of this process keeps its leases however slow the machine is: others get those that it gives back."""
    monkeypatch.setattr(leases, "ALIVE_SECONDS", 10_000)


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


def renewals(running: RunningGateway) -> list[tuple[bool, bool]]:
    """Of each renewal from now on, whether the gateway was cut off from IAMPASS, and has left its leases to others."""
    gateway_leases, noted = running.gateway.leases, list[tuple[bool, bool]]()
    renew = gateway_leases.renew

    async def renewed(connection: Connection, *, is_cut_off: bool = False) -> None:
        await renew(connection, is_cut_off=is_cut_off)
        noted.append((is_cut_off, gateway_leases.leaves_all))

    gateway_leases.renew = renewed  # type: ignore[method-assign]
    return noted


def is_now(running: RunningGateway, begun: Any, status: Status) -> bool:
    return running.session(begun).status is status


# Requests


def test_one_gateway_alone_polls_a_request(
    gateway_server: RunningGateway, second: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    taken, asked = calls_of(second.gateway.leases, "take"), calls_of(second.gateway.iampass, "call")
    caller.ask("alice")
    assert holder(second) == (gateway_server.gateway.leases.holder, 1)
    before = len(taken)
    wait_until(lambda: len(taken) >= before + 5, "the other gateway does not look")
    sandbox.wait_for_calls("poll", 3, PATIENCE)
    assert asked == []
    assert not second.gateway.leases.epochs


def test_a_gateway_that_stops_leaves_its_sessions_to_the_others_at_once(
    make: Callable[..., RunningGateway], sandbox: Sandbox
) -> None:
    with make() as other:
        other.populate()
        with make() as first:
            kept = approved(HostCaller(first), sandbox)
            begun = HostCaller(first).ask("bob").authentication
        sandbox.approve("token-of-bob")
        assert HostCaller(other).answer(at(other, begun)) == "active"
        wait_until(lambda: other.session(kept).id in other.gateway.leases.epochs, "nobody polls it")


def taken_over(
    make: Callable[..., RunningGateway], conninfo: str, sandbox: Sandbox, folder: Path
) -> tuple[float, float]:
    """How many seconds after a gateway was killed the next one sees the answer to a request that was on the phone
    there, and the end of a session that was approved there. It polls approved sessions once in hours."""
    with make(10_000.0) as other:
        other.populate()
        with GatewayProcess(conninfo, sandbox, folder, "at no point") as killed:
            caller = HostCaller(killed)
            kept = approved(caller, sandbox)
            begun = caller.ask("bob").authentication
            killed.kill()
        died = time.monotonic()
        sandbox.approve("token-of-bob")
        sandbox.close("token-of-alice")
        assert HostCaller(other).answer(at(other, begun)) == "active"
        answered = time.monotonic() - died
        wait_until(lambda: other.session(kept).state is State.ENDED, "the end is not seen")
        ended = time.monotonic() - died
    assert len(sandbox.sessions) == 2
    return answered, ended


def test_the_sessions_of_a_gateway_that_is_killed_are_taken_over(
    make: Callable[..., RunningGateway], conninfo: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    """An approved one, which nobody may have polled for a while, is polled soon."""
    taken_over(make, conninfo, sandbox, tmp_path)


@pytest.mark.long
@pytest.mark.alone
def test_the_sessions_of_a_gateway_that_is_killed_are_taken_over_within_twelve_seconds(
    make: Callable[..., RunningGateway], conninfo: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    answered, ended = taken_over(make, conninfo, sandbox, tmp_path)
    assert answered < TAKEN_OVER
    assert ended < 2 * TAKEN_OVER


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
            wait_until(lambda: len(first.gateway.leases.epochs) == 2, "it does not poll them")
            proxy.close()
            sandbox.approve("token-of-bob")
            sandbox.close("token-of-alice")
            assert HostCaller(other).answer(at(other, begun)) == "active"
            wait_until(lambda: other.session(kept).state is State.ENDED, "the end is not seen")
            assert not first.gateway.leases.epochs
            with connect_proxy(there, port=urlsplit(proxy.url).port or 0):
                # It has none to poll, and finds out nevertheless.
                alive = "SELECT 1 FROM lease_holder WHERE until > now()"
                wait_until(lambda: len(first.rows(alive)) == 2, "it stays without")
                begun = HostCaller(first).ask("bob").authentication
                renewed = renewals(first)
                wait_until(lambda: renewed[-3:] == [(False, False)] * 3, "it does not stay")
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
            renewed = renewals(alone)
            wait_until(lambda: renewed.count((True, False)) >= 2, "it does not notice that it is cut off")
            assert holder(alone) == before
            with connect_proxy(there, port=urlsplit(proxy.url).port or 0):
                assert HostCaller(alone).answer(begun) == "active"


def test_a_request_is_polled_although_it_began_later_than_the_database_says_it_is_now(
    make: Callable[..., RunningGateway], sandbox: Sandbox
) -> None:
    """As after the promotion of a standby whose clock is behind."""

    async def shift(gateway: Gateway, connection: Connection) -> None:
        locked = await sessions.lock_row(gateway, connection, session)
        ahead = {name: locked[name] + timedelta(minutes=10) for name in ("began_at", "deadline")}
        await sessions.change(gateway, connection, locked, **ahead)

    with make() as first:
        first.populate()
        begun = HostCaller(first).ask("alice").authentication
        session = first.session(begun).id
        first.transaction(shift)
    with make() as second:
        sandbox.approve("token-of-alice")
        wait_until(partial(is_now, second, begun, Status.active), "it is not polled")


def test_what_is_said_under_a_lease_that_another_gateway_has_now_is_not_written(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    sandbox.misbehave("poll", Hang(), times=None)
    begun = caller.ask("alice").authentication
    session, gateway = gateway_server.session(begun), gateway_server.gateway
    gateway_server.rows("UPDATE lease SET epoch = 2")
    after = gateway_server.run(asking.write_status(gateway, session, Status.active, epoch=1))
    assert after == session == gateway_server.session(begun)
    assert session.id not in gateway.leases.epochs
    gateway_server.rows("UPDATE lease SET epoch = 1")
    after = gateway_server.run(asking.write_status(gateway, session, Status.active, epoch=1))
    assert (after.status, after.version) == (Status.active, 2)
    sandbox.behave()


def test_a_gateway_that_was_held_up_has_lost_its_leases(
    gateway_server: RunningGateway, second: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    begun = caller.ask("alice").authentication
    before = gateway_server.gateway.leases.holder
    gateway_server.rows("UPDATE lease_holder SET until = now() - interval '1 second' WHERE id = %s", before)
    wait_until(lambda: holder(second)[1] >= 2, "nobody has taken it over")
    wait_until(lambda: gateway_server.gateway.leases.holder != before, "it has not noticed")
    sandbox.approve("token-of-alice")
    assert caller.answer(begun) == "active"


def test_nothing_is_locked_while_iampass_is_called(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "POLL_SECONDS", 10_000.0)
    sandbox.misbehave("poll", Hang(), times=None)
    caller.ask("alice")
    sandbox.wait_for_calls("poll", timeout=PATIENCE)
    with psycopg.connect(gateway_server.settings.database, autocommit=True) as other:
        other.execute(f"SET lock_timeout = '{PATIENCE}s'".encode())  # others may have locks for a moment
        for table in ("session", "lease", "lease_holder", "host", "person"):
            other.execute(f"SELECT 1 FROM {table} FOR UPDATE".encode())
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
        wait_until(partial(is_now, quick, begun, status), f"{status} is not seen")
    assert quick.records[-1]["reason"] == "closed"
    wait_until(lambda: not quick.gateway.leases.epochs, "it is polled on")
    assert not quick.rows("SELECT * FROM lease")


def test_what_iampass_says_once_ends_nothing(quick: RunningGateway, sandbox: Sandbox) -> None:
    begun = approved(HostCaller(quick), sandbox)
    for wrong in ("closed", "walkaway", "failed"):
        sandbox.misbehave("poll", SessionState(wrong))
        sandbox.wait_for_calls("poll", polls(sandbox) + 2, PATIENCE)
    assert quick.session(begun).version == 2
    assert quick.session(begun).status is Status.active


def test_an_end_that_a_host_was_told_is_looked_at_again_soon(
    make: Callable[..., RunningGateway], sandbox: Sandbox
) -> None:
    """By a gateway that polls once in hours."""
    with make(10_000.0) as running:
        running.populate()
        caller = HostCaller(running)
        begun = approved(caller, sandbox)
        wait_until(lambda: running.session(begun).status is Status.active, "it is not approved")
        sandbox.close("token-of-alice")
        wait_until(lambda: caller.poll(begun) == "closed", "the host is not told")
        wait_until(lambda: running.session(begun).state is State.ENDED, "it is not written")


def test_a_session_that_its_host_ends_is_polled_no_more(quick: RunningGateway, sandbox: Sandbox) -> None:
    caller = HostCaller(quick)
    ended, other = (approved(caller, sandbox, person) for person in ("alice", "bob"))

    def polls_of(begun: Any) -> int:
        upstream = quick.session(begun).upstream
        assert upstream is not None
        path = urlsplit(str(upstream.status_url)).path
        return [(call.kind, call.path) for call in sandbox.calls].count(("poll", path))

    assert caller.end(ended)
    before, of_other = polls_of(ended), polls_of(other)
    assert before > 0
    wait_until(lambda: polls_of(other) >= of_other + 3, "the other one is not polled")
    assert polls_of(ended) <= before + 1


class _Paced:
    """IAMPASS by a clock of its own: it answers, or it is away."""

    application: Application
    failing_since: float | None = None

    def __init__(self) -> None:
        self.now = 1000.0
        self.away = False
        self.asked: list[float] = []

    async def call(self, call: Call[Any], seconds: float, lane: Lane) -> Any:
        self.asked.append(self.now)
        if self.away:
            raise Unavailable("the connection was reset", may_have_started=True)
        return Status.active


def test_polls_of_approved_sessions_never_come_in_a_burst() -> None:
    async def go(iampass: _Paced) -> None:
        gateway = Gateway(None, None, None, iampass=iampass)  # type: ignore[arg-type]
        approved = watching._Approved(gateway, 4.0, lambda: iampass.now)

        async def pass_by(seconds: float) -> None:
            until = iampass.now + seconds
            while iampass.now < until:
                iampass.now += watching._DUE_SECONDS
                approved._begin_due(iampass.now)
                await asyncio.gather(*approved._polls)

        for _ in range(40):
            upstream = SimpleNamespace(poll=object)
            session: Any = SimpleNamespace(
                id=uuid4(), state=State.OPEN, status=Status.active, upstream=upstream
            )
            gateway.leases.epochs[session.id] = 1
            approved.add(session)
        await pass_by(5.0)
        iampass.away = True
        await pass_by(2.0)
        iampass.away = False
        iampass.asked.clear()
        await pass_by(PAUSE + 2 * 4.0 + 1)

    iampass = _Paced()
    asyncio.run(go(iampass))
    moments = iampass.asked
    assert 40 <= len(moments) <= 160
    assert max(sum(0 <= other - moment < 0.5 for other in moments) for moment in moments) <= 20


# Somebody writes to the database


def give_away(running: RunningGateway, until: str) -> None:
    """Give the only lease to a holder that somebody has invented, which is alive until then."""
    (row,) = running.rows(f"INSERT INTO lease_holder VALUES (gen_random_uuid(), {until}) RETURNING id")
    running.rows("UPDATE lease SET holder = %s", row["id"])


def test_no_session_is_given_away_for_ever(quick: RunningGateway, sandbox: Sandbox) -> None:
    begun = approved(HostCaller(quick), sandbox)
    give_away(quick, "'infinity'")
    sandbox.close("token-of-alice")
    wait_until(partial(is_now, quick, begun, Status.closed), "its end is not seen")
    assert [each["reason"] for each in quick.records if each["kind"] == "alert"] == []
    quick.transaction(lambda gateway, connection: gateway.leases.forget(connection))
    assert len(quick.rows("SELECT * FROM lease_holder")) == 1


def test_a_gateway_polls_what_is_leased_in_its_name_and_it_does_not_remember(
    make: Callable[..., RunningGateway], quick: RunningGateway, sandbox: Sandbox
) -> None:
    with make(10_000.0) as first:
        kept = approved(HostCaller(first), sandbox)
        first.rows("UPDATE lease SET holder = %s", quick.gateway.leases.holder)
        sandbox.close("token-of-alice")
        quick.transaction(lambda gateway, connection: gateway.leases.forget(connection))
        wait_until(partial(is_now, quick, kept, Status.closed), "its end is not seen")
    assert [each["reason"] for each in quick.records if each["kind"] == "alert"] == []


def test_an_end_that_no_gateway_notices_is_found_out_by_the_others_and_is_an_alert(
    make: Callable[..., RunningGateway], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_OTHERS_SECONDS", 0.1)
    with make(0.1) as running:
        running.populate()
        begun = approved(HostCaller(running), sandbox)
        wait_until(partial(is_now, running, begun, Status.active), "it is not approved")
        give_away(running, "now() + interval '1 hour'")
        sandbox.close("token-of-alice")
        wait_until(partial(is_now, running, begun, Status.closed), "its end is not seen")
        (alert,) = (each for each in running.records if each["kind"] == "alert")
        assert (alert["host"], alert["person"]) == (f"name-of-{HOST}", "alice")
        assert "says closed of a session of alice, and no gateway has noticed" in alert["reason"]


def test_what_iampass_says_once_and_what_a_gateway_has_noticed_is_no_alert(
    make: Callable[..., RunningGateway], sandbox: Sandbox
) -> None:
    with make(10_000.0) as running:
        running.populate()
        caller = HostCaller(running)
        id = running.session(approved(caller, sandbox)).id

        def check(before: Status | None) -> Status | None:
            return running.run(watching._check_other(running.gateway, id, before))

        wait_until(lambda: check(None) is None, "it is not approved")
        sandbox.close("token-of-alice")
        assert [check(None), check(Status.walkaway)] == [Status.closed] * 2
        running.transaction(lambda g, c: sessions.remove_host(g, c, f"name-of-{HOST}"))
        assert check(Status.closed) is None
        assert [each["reason"] for each in running.records if each["kind"] == "alert"] == []


def test_a_row_that_no_gateway_can_poll_is_an_alert(
    make: Callable[..., RunningGateway], sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_OTHERS_SECONDS", 0.1)
    with make() as running, make():
        running.populate()
        session = running.session(approved(HostCaller(running), sandbox))
        running.rows("UPDATE session SET expires_at = expires_at + interval '1 second'")
        what = f"session: a row was not written by this gateway: the end of session {session.id} is not seen"
        wait_until(lambda: what in [each.get("reason") for each in running.records], "there is no alert")


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
    assert ALIVE_SECONDS + watching._TAKE_SECONDS + watching._SOON_SECONDS <= TAKEN_OVER

"""«Nothing was sent»: the statement by which a host may take a failed start for an outage, and when it is not made."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable

import psycopg
import pytest

from pam_iampass.client.call import Call
from pam_iampass.client.errors import IampassError, LocalFailure, Unavailable
from pam_iampass.gateway.base.connection import Connection, DatabaseAway, UnknownOutcome
from pam_iampass.gateway.base.database import _WHOSE, Database
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.settings import GatewaySettings
from pam_iampass.gateway.base.statements import one
from pam_iampass.gateway.base.upstream import Lane, Upstream
from pam_iampass.gateway.cli.serve import Notices
from tests.sandbox.signer import Reply
from tests.support.gateway import HOST, HostCaller, RunningGateway, new_request_id, settings_for
from tests.support.postgres import Postgres
from tests.support.sandbox import Hang, HttpStatus, Junk, Reset, Sandbox
from tests.support.world import PATIENCE


@pytest.fixture
def settings(conninfo: str, sandbox: Sandbox, tmp_path: Path) -> GatewaySettings:
    return settings_for(conninfo, sandbox, tmp_path)


@contextmanager
def gateway(
    settings: GatewaySettings, change: Callable[[Gateway], None] = lambda _: None
) -> Iterator[RunningGateway]:
    with RunningGateway(settings, change) as running:
        running.populate()
        yield running


def said(reply: Reply) -> tuple[str, Any]:
    """The reason, and the statement if it was made."""
    assert reply.status == 200
    assert reply.authentication["authenticated"] is False
    return reply.authentication["reason"], reply.authentication.get("nothing_sent")


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def signed_start(caller: HostCaller, query: str) -> tuple[Reply, str]:
    """A start, and its nonce."""
    target = f"/authentication/authenticate_user/{HOST}/alice{query}"
    headers = {**caller.application(target), "Content-Type": "application/json"}
    nonce = headers["Authentication"].split(":")[1]
    return caller.send("POST", target, headers, b"{}"), nonce


# Where it is made


def test_it_is_made_where_iampass_refuses_the_connection(settings: GatewaySettings) -> None:
    with gateway(replace(settings, server=f"https://127.0.0.1:{closed_port()}")) as running:
        caller, once = HostCaller(running), new_request_id()
        for _ in range(2):  # a repeat has a nonce of its own
            reply, nonce = signed_start(caller, f"?request_id={once}")
            assert said(reply) == ("IAMPASS_AWAY", {"request_id": once, "nonce": nonce})
        assert running.rows("SELECT state, nothing_sent FROM session") == [
            {"state": "not_started", "nothing_sent": True}
        ]
        (record,) = running.records
        assert record["outcome"] == "unavailable"
        assert "refused" in record["reason"]


def test_it_is_made_where_the_database_refuses_the_first_connection(
    settings: GatewaySettings, postgres: Postgres, sandbox: Sandbox
) -> None:
    with gateway(settings) as running:
        caller, once = HostCaller(running), new_request_id()
        postgres.stop()
        try:
            reply, nonce = signed_start(caller, f"?methods=device&request_id={once}")
            without_id = caller.start("alice")
            bad_id = caller.start("alice", "?request_id=short")
        finally:
            postgres.start()
    assert said(reply) == ("DATABASE_AWAY", {"request_id": once, "nonce": nonce})
    assert said(without_id) == said(bad_id) == ("DATABASE_AWAY", None)
    assert sandbox.calls == ()


# Where it is not: IAMPASS


class _Failing(Upstream):
    """Its starts fail."""

    error: IampassError

    async def call(self, call: Call[Any], seconds: float, lane: Lane, **options: Any) -> Any:
        if call.name == "start":
            raise self.error
        return await super().call(call, seconds, lane, **options)


def failing(error: IampassError) -> Callable[[Gateway], None]:
    def change(gateway: Gateway) -> None:
        gateway.iampass = iampass = _Failing.of(gateway.settings)
        iampass.error = error

    return change


@pytest.mark.parametrize("fault", [HttpStatus(503), Reset(), Junk()])
def test_the_gateway_says_in_its_log_that_iampass_does_not_answer(
    settings: GatewaySettings, sandbox: Sandbox, fault: Any
) -> None:
    said_to: list[tuple[str, str]] = []

    def change(gateway: Gateway) -> None:
        assert isinstance(gateway.iampass, Upstream)
        gateway.iampass.say = lambda *words: said_to.append(words)

    with gateway(settings, change) as running:
        sandbox.misbehave("start", HttpStatus(404), fault)
        HostCaller(running).ask("alice")
        assert said_to == [], "that IAMPASS does not know somebody is an answer"
        HostCaller(running).ask("alice")
    assert {what for what, _ in said_to} == {"IAMPASS does not answer this gateway"}
    assert said_to[0][1].startswith("start: ")


def test_the_gateway_says_in_its_log_that_its_database_does_not_answer() -> None:
    said_to: list[tuple[str, str]] = []

    async def go() -> None:
        async with Database(f"host=127.0.0.1 port={closed_port()} dbname=x", connections=1) as database:
            database.say = lambda *words: said_to.append(words)
            with pytest.raises(DatabaseAway):
                async with database.transaction():
                    pass

    asyncio.run(go())
    assert said_to == [("the database does not answer this gateway", "it cannot be reached")]


def test_the_log_says_it_once_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    notices = Notices(lambda: now[0])
    for now[0], what in ((0, "a"), (1, "a"), (2, "b"), (59, "a"), (60, "a")):
        notices(what, "x\x1b[2J")
    assert capsys.readouterr().err.splitlines() == ["a: x\\x1b[2J", "b: x\\x1b[2J", "a: x\\x1b[2J"]


def test_without_a_request_id_it_is_never_made(settings: GatewaySettings) -> None:
    with gateway(replace(settings, server=f"https://127.0.0.1:{closed_port()}")) as running:
        assert said(HostCaller(running).start("alice")) == ("IAMPASS_AWAY", None)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        *((each, "IAMPASS_AWAY") for each in (HttpStatus(503), HttpStatus(429), Reset(), Junk())),
        *((HttpStatus(each), "IAMPASS_REFUSES") for each in (401, 403, 404)),
    ],
)
def test_it_is_not_made_where_iampass_has_had_the_request(
    settings: GatewaySettings, sandbox: Sandbox, fault: Any, reason: str
) -> None:
    sandbox.misbehave("start", fault, times=None)
    with gateway(settings) as running:
        assert said(HostCaller(running).ask("alice")) == (reason, None)
        assert len(sandbox.sessions) <= 1


def test_it_is_not_made_where_the_certificate_of_iampass_is_another_ones(
    settings: GatewaySettings,
) -> None:
    with gateway(replace(settings, server_ca_file=settings.ca_file)) as running:
        assert said(HostCaller(running).ask("alice")) == ("IAMPASS_AWAY", None)


def test_it_is_not_made_where_iampass_accepts_and_hangs_up(settings: GatewaySettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=hang_up)
        thread.start()
        server = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with gateway(replace(settings, server=server)) as running:
            answer = said(HostCaller(running).ask("alice"))
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert answer == ("IAMPASS_AWAY", None)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Unavailable("connecting timed out", timed_out=True, outage=True), True),
        (Unavailable("all connections are in use", timed_out=True), False),
        (Unavailable("half of it was sent", may_have_started=True), False),
        (Unavailable("never both", may_have_started=True, outage=True), False),
        (LocalFailure("EMFILE"), False),
    ],
)
def test_what_the_client_does_not_call_an_outage_is_none(
    settings: GatewaySettings, error: IampassError, expected: bool
) -> None:
    with gateway(settings, failing(error)) as running:
        reason, statement = said(HostCaller(running).ask("alice"))
        assert (reason, statement is not None) == ("IAMPASS_AWAY", expected)


def test_it_is_not_made_before_the_database_has_it(settings: GatewaySettings, postgres: Postgres) -> None:
    class Stopping(Upstream):
        async def call(self, call: Call[Any], seconds: float, lane: Lane, **options: Any) -> Any:
            postgres.stop(signal.SIGQUIT)
            running.gateway.held.stop()  # otherwise it is tried again until the login gives up
            raise Unavailable("refused", outage=True)

    def change(gateway: Gateway) -> None:
        gateway.iampass = Stopping.of(gateway.settings)

    with gateway(settings, change) as running:
        once = new_request_id()
        try:
            assert said(HostCaller(running).ask("alice", once)) == ("TRY_AGAIN", None)
        finally:
            postgres.start()
        running.transaction(lambda gateway, connection: one(connection, "SELECT 1"))  # connects again
        assert said(HostCaller(running).ask("alice", once)) == ("TRY_AGAIN", None)


# Where it is not: the database


class _Unlucky(Database):
    """The outcome of one transaction of a request, or of one statement, is not known, although it has happened."""

    unlucky = 0

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[Connection]:
        async with super()._held() as connection:
            yield connection
        self.unlucky -= _WHOSE.get() is not None
        if self.unlucky == 0:
            raise UnknownOutcome("the connection was lost at COMMIT")


@pytest.mark.parametrize(
    ("number", "reason", "rung"),
    [(1, "DATABASE_AWAY", 0), (2, "TRY_AGAIN", 0), (3, "TRY_AGAIN", 1)],
)
def test_it_is_not_made_where_a_commit_may_have_happened(
    settings: GatewaySettings, sandbox: Sandbox, number: int, reason: str, rung: int
) -> None:
    with gateway(settings) as running:
        caller, once = HostCaller(running), new_request_id()

        async def set_up() -> None:
            unlucky = _Unlucky(settings.database)
            await unlucky.__aenter__()
            running.gateway.database = unlucky
            unlucky.unlucky = number

        running.run(set_up())
        assert said(caller.ask("alice", once)) == (reason, None)
        assert len(sandbox.sessions) == rung
        if rung:
            assert sandbox.wait_for_end("token-of-alice")
    assert [call.kind for call in sandbox.calls].count("start") == rung


def test_it_is_not_made_where_all_connections_to_the_database_are_in_use(settings: GatewaySettings) -> None:
    with gateway(replace(settings, limits=replace(settings.limits, connections=1))) as running:

        async def held(_: Gateway, connection: Connection) -> tuple[str, Any]:
            return said(await asyncio.to_thread(HostCaller(running).ask, "alice"))

        assert running.transaction(held) == ("DATABASE_AWAY", None)


def test_it_is_not_made_where_the_database_takes_no_more_clients(
    settings: GatewaySettings, postgres: Postgres
) -> None:
    with gateway(settings) as running:
        few = "-c", "max_connections=4", "-c", "superuser_reserved_connections=0"
        postgres.stop()
        postgres.start(*few)
        held: list[psycopg.Connection] = []
        try:
            while len(held) < 4:  # the gateway has a connection already, or is about to have one
                with suppress(psycopg.OperationalError):
                    held.append(psycopg.connect(settings.database, autocommit=True))
                    continue
                if not held:  # the gateway has taken them all
                    postgres.stop()
                    postgres.start(*few)
                    continue
                theirs = "FROM pg_stat_activity WHERE application_name = 'pam-iampass-gateway'"
                held[0].execute(f"SELECT pg_terminate_backend(pid, 1000) {theirs}".encode())
            answer = said(HostCaller(running).ask("alice"))
        finally:
            for each in held:
                each.close()
            postgres.stop()
            postgres.start()
    assert answer == ("DATABASE_AWAY", None)


@pytest.mark.parametrize("table", ["nonce", "session"])
def test_it_is_not_made_where_a_lock_is_waited_for_in_vain(
    settings: GatewaySettings, sandbox: Sandbox, table: str
) -> None:
    with gateway(settings) as running, psycopg.connect(settings.database) as other:
        other.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE".encode())
        assert said(HostCaller(running).ask("alice")) == ("DATABASE_AWAY", None)
    assert sandbox.calls == ()


def test_it_is_not_made_of_a_poll(settings: GatewaySettings, postgres: Postgres, sandbox: Sandbox) -> None:
    with gateway(settings) as running:
        caller = HostCaller(running)
        begun = caller.ask("alice").authentication
        while not running.gateway.waiting:
            time.sleep(0.01)
        postgres.stop()
        until = time.monotonic() + PATIENCE
        try:
            while (reply := caller.session("GET", begun, "status_url")).status == 200:
                assert time.monotonic() < until
            replies = [reply, caller.session("POST", begun, "logout_url")]
        finally:
            postgres.start()
    assert [reply.status for reply in replies] == [503, 503]
    assert {tuple(reply.json) for reply in replies} == {("reason", "detail")}


def test_a_start_that_iampass_does_not_answer_is_given_up(
    settings: GatewaySettings, sandbox: Sandbox
) -> None:
    sandbox.misbehave("start", Hang())

    class Impatient(Upstream):
        async def call(self, call: Call[Any], seconds: float, lane: Lane, **options: Any) -> Any:
            return await super().call(call, min(seconds, 1.0), lane, **options)

    def change(gateway: Gateway) -> None:
        gateway.iampass = Impatient.of(gateway.settings)

    with gateway(settings, change) as running:
        once = new_request_id()
        for _ in range(2):
            assert said(HostCaller(running).ask("alice", once)) == ("IAMPASS_AWAY", None)
        assert HostCaller(running).ask("alice").authentication["queued"] is True
    assert len(sandbox.sessions) == 1

"""What those see who watch a gateway: figures without names, whether it can answer hosts, and alerts about that."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trustme

from pam_iampass.audit.figures import OTHER, SERVICES
from pam_iampass.gateway.base import reach, records
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.settings import BackupSettings
from pam_iampass.gateway.check import backup, monitoring
from pam_iampass.gateway.check.monitoring import Monitor
from pam_iampass.gateway.hosts.hosts import HostStatus
from tests.support.gateway import HOST, HostCaller, RunningGateway
from tests.support.postgres import Postgres, synchronous
from tests.support.prometheus import GATEWAY_RULES, Scrape, alerts_in, complaints, firing
from tests.support.sandbox import Fault, HttpStatus, Sandbox
from tests.support.world import PATIENCE, wait_until

JOB = "pam-iampass-gateway"
pytestmark = pytest.mark.needs_program("promtool")


class Watcher:
    """Watches a gateway."""

    def __init__(self, running: RunningGateway) -> None:
        self.running = running
        self.monitor = Monitor(running.gateway)

    def scrape(self) -> Scrape:
        status, content_type, body = self.running.run(self.monitor.answer("/metrics"))
        assert (status, content_type.partition(";")[0]) == (200, "text/plain")
        return Scrape(body.decode(), time.time())

    def ready(self) -> dict[str, Any]:
        """What `/readyz` says now."""
        time.sleep(monitoring.FRESH_SECONDS)
        status, _, body = self.running.run(self.monitor.answer("/readyz"))
        said: dict[str, Any] = json.loads(body)
        assert said["ready"] is (status == 200) is (not said["problems"])
        return said


@pytest.fixture
def watcher(gateway_server: RunningGateway) -> Watcher:
    return Watcher(gateway_server)


def log_in(caller: HostCaller, sandbox: Sandbox, answer: str = "approve", **parameters: str) -> None:
    """A login of alice, as far as her answer."""
    begun = caller.ask("alice", **parameters).authentication
    getattr(sandbox, answer)(sandbox.wait_for_request("token-of-alice"))
    caller.answer(begun)


# Figures


def test_what_hosts_have_asked_for_is_counted(watcher: Watcher, caller: HostCaller, sandbox: Sandbox) -> None:
    before = watcher.scrape()
    log_in(caller, sandbox, service="sshd")
    log_in(caller, sandbox, "deny", service="sudo")
    caller.ask("carol")
    caller.ask("nobody")
    time.sleep(monitoring.FRESH_SECONDS)
    after = watcher.scrape()

    def more(name: str, **labels: str) -> float:
        return after.value(f"gateway_{name}", **labels) - before.value(f"gateway_{name}", **labels)

    assert [
        more("starts_total", answer=each) for each in ("started", "NO_MOBILE_DEVICE", "UNKNOWN_USER")
    ] == [
        2,
        1,
        1,
    ]
    assert more("decisions_total", outcome="approved", service="sshd") == 1
    assert more("decisions_total", outcome="denied", service="sudo") == 1
    assert more("decisions_total", outcome="no_device", service="other") == 1
    assert more("answer_seconds_count", outcome="approved") == 1
    assert more("iampass_seconds_count", call="start", result="answered") == 3
    assert more("iampass_seconds_count", call="poll", result="answered") >= 2
    assert (
        after.value("gateway_hosts", status="active"),
        after.value("gateway_hosts", status="suspended"),
    ) == (1, 0)
    assert after.value("gateway_sessions", state="approved") == 1
    assert (
        after.value("gateway_ready"),
        after.value("gateway_restored"),
        after.value("gateway_database_connections_limit"),
    ) == (
        1,
        0,
        10,
    )
    assert after.value("gateway_certificate_expiry_timestamp_seconds") > time.time()


def test_no_label_has_what_a_host_has_chosen(watcher: Watcher, caller: HostCaller, sandbox: Sandbox) -> None:
    chosen = 'mine"} 1\nup{x="'
    log_in(caller, sandbox, service=chosen, remote="192.0.2.7", key="mallory")
    sandbox.misbehave("start", HttpStatus(418), HttpStatus(500))
    caller.ask("bob", service="bob")
    caller.ask("bob", service="alice")
    caller.ask("mallory", service="mallory")
    time.sleep(monitoring.FRESH_SECONDS)
    scrape = watcher.scrape()
    for name in ("alice", "bob", "mallory", "mine", HOST, f"name-of-{HOST}", "192.0.2.7", "token-of"):
        assert name not in scrape.text
    services = {dict(labels).get("service") for _, labels in scrape.values} - {None}
    assert services == {*SERVICES, OTHER}
    assert complaints(scrape.text) == ""


# Ready


def test_it_is_ready_while_it_can_answer_hosts(watcher: Watcher, conninfo: str, postgres: Postgres) -> None:
    assert watcher.ready() == {"ready": True, "problems": [], "commits": "do not wait for a standby"}
    watcher.running.gateway.restored = True
    assert watcher.ready()["problems"] == ["the database is an old copy: pam-iampass-gateway restored"]
    watcher.running.gateway.restored = False
    watcher.running.rows("DELETE FROM schema_version")
    assert "older than this gateway" in watcher.ready()["problems"][0]
    watcher.running.rows("DROP TABLE schema_version, host CASCADE")
    assert not watcher.ready()["ready"]
    postgres.stop()
    try:
        assert watcher.ready()["problems"] == ["the database cannot be reached"]
        assert watcher.scrape().value("gateway_ready") == 0
    finally:
        postgres.start()


def test_a_database_that_cannot_be_written_to_is_not_ready(watcher: Watcher, postgres: Postgres) -> None:
    name = watcher.running.settings.database.rpartition("dbname=")[2]
    with psycopg.connect(postgres.conninfo("postgres"), autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
    assert not watcher.ready()["ready"]


def test_it_says_whether_a_commit_would_hang(watcher: Watcher, postgres: Postgres) -> None:
    running = watcher.running
    with synchronous(postgres, "ANY 2 (a, b, c)"):
        said = watcher.ready()
        assert said["problems"] == ["commits hang: they wait for 2 synchronous, and 0 connected, standbys"]
        writing = threading.Thread(target=lambda: running.change_host(HOST, slowed_until=None))
        writing.start()
        # What shows that the gateway is alive hangs, too.
        wait_until(lambda: watcher.scrape().value("gateway_commits_hanging") >= 1, "no commit hangs")
        assert not watcher.ready()["ready"]
    writing.join()
    assert watcher.ready()["ready"]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [("", 0), ("a", 1), ("a, b", 1), ("*", 1), ("2 (a, b)", 2), ("FIRST 1 (a)", 1), ("any 3 (a, b, c)", 3)],
)
def test_how_many_standbys_a_commit_waits_for(names: str, wanted: int) -> None:
    assert monitoring._wanted(names) == wanted


def test_many_who_ask_use_one_connection(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    looks, look = [], monitoring._look

    def counted(gateway: Gateway) -> Any:
        looks.append(gateway)
        return look(gateway)

    monkeypatch.setattr(monitoring, "_look", counted)
    running = watcher.running

    async def all_at_once() -> list[tuple[int, str, bytes]]:
        paths = ["/readyz", "/metrics"] * 50
        return await asyncio.gather(*(watcher.monitor.answer(path) for path in paths))

    with psycopg.connect(running.settings.database) as other:
        other.execute("LOCK TABLE host")
        asking = asyncio.run_coroutine_threadsafe(all_at_once(), running._loop)
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            " AND query LIKE 'SELECT status, count(*)%%'"
        )
        wait_until(lambda: running.rows(waiting), "nobody waits")
        other.rollback()
    assert {status for status, _, _ in asking.result(PATIENCE)} == {200}
    assert len(looks) == 1


# The address


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


def test_it_has_an_address_of_its_own(gateway_server: RunningGateway) -> None:
    gateway = gateway_server.gateway
    address = ("127.0.0.1", free_port())
    gateway.settings = replace(gateway.settings, monitoring=address)

    async def show() -> tuple[asyncio.Event, asyncio.Task[None]]:
        stopping = asyncio.Event()
        task = asyncio.create_task(monitoring.show(gateway, stopping))
        await asyncio.sleep(0)
        return stopping, task

    def call(path: str, method: str = "GET") -> tuple[int, bytes]:
        request = urllib.request.Request(f"http://127.0.0.1:{address[1]}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, b""

    stopping, task = gateway_server.run(show())
    assert call("/healthz") == (200, b"ok\n")
    assert call("/readyz")[0] == 200
    assert b"iampass_gateway_ready 1.0" in call("/metrics")[1]
    assert [call("/")[0], call("/metrics", "POST")[0]] == [404, 405]
    assert call(f"/authentication/authenticate_user/{HOST}/alice")[0] == 404
    caller = HostCaller(gateway_server)
    assert [caller.send("GET", path, {}).status for path in ("/metrics", "/readyz", "/healthz")] == [404] * 3
    _, second = gateway_server.run(show())  # the address is in use: hosts are served without it
    assert second.done()
    assert second.exception() is None

    async def stop() -> None:
        stopping.set()
        await task

    gateway_server.run(stop())


# Alerts


class Slow(Fault):
    """The response takes longer than 2 s."""

    acts = True

    async def interfere(self, connection: asyncio.Transport, stopping: asyncio.Event) -> None:
        await asyncio.sleep(2.5)


@dataclass
class Scene:
    """A gateway with something that happens to it."""

    watcher: Watcher
    caller: HostCaller
    sandbox: Sandbox
    postgres: Postgres

    def nothing(self) -> Scrape:
        log_in(self.caller, self.sandbox, service="sshd")
        return self.later()

    def later(self) -> Scrape:
        time.sleep(monitoring.FRESH_SECONDS)
        return self.watcher.scrape()

    def database_away(self) -> Scrape:
        self.postgres.stop()
        try:
            return self.later()
        finally:
            self.postgres.start()

    def restored(self) -> Scrape:
        self.watcher.running.gateway.restored = True
        return self.later()

    def commits_hang(self) -> Scrape:
        with synchronous(self.postgres, "standby"):
            change = threading.Thread(
                target=lambda: self.watcher.running.change_host(HOST, slowed_until=None)
            )
            change.start()
            found = self.later()
            while found.value("gateway_commits_hanging") < 1:
                found = self.later()
        change.join()
        return found

    def pool_full(self) -> Scrape:
        database = self.watcher.running.gateway.database
        full = asyncio.Event()

        async def hold() -> None:
            async with database.transaction():
                await full.wait()

        async def go() -> bytes:
            await self.watcher.monitor.look()
            holding = [asyncio.create_task(hold()) for _ in range(14)]
            while not (held := database.connections()).get("requests_waiting") or (
                held["pool_size"] - held["pool_available"] < held["pool_max"]
            ):
                await asyncio.sleep(0.01)
            found = (await self.watcher.monitor.answer("/metrics"))[2]
            full.set()
            await asyncio.gather(*holding)
            return found

        with (
            pytest.MonkeyPatch.context() as changed
        ):  # a busy machine makes ten connections in more than a second
            changed.setattr(reach, "CONNECT_SECONDS", PATIENCE)
            changed.setattr(monitoring, "FRESH_SECONDS", PATIENCE)
            return Scrape(self.watcher.running.run(go()).decode(), time.time())

    def iampass_fails(self) -> Scrape:
        self.sandbox.misbehave("start", HttpStatus(503), times=None)
        self.caller.ask("alice", service="sshd")
        return self.later()

    def iampass_slow(self) -> Scrape:
        self.sandbox.misbehave("start", Slow(), times=2)
        self.caller.ask("alice", service="sshd")
        self.caller.ask("bob", service="sshd")
        return self.watcher.scrape()

    def alert(self) -> Scrape:
        self.watcher.running.transaction(lambda _, connection: records.alert(connection, "web1", "look"))
        return self.later()

    def denied(self) -> Scrape:
        log_in(self.caller, self.sandbox, "deny", service="sudo")
        return self.later()

    def certificate(self) -> Scrape:
        soon = datetime.now(timezone.utc) + timedelta(days=20)
        file = self.watcher.running.settings.certificate_file
        trustme.CA().issue_cert("localhost", not_after=soon).cert_chain_pems[0].write_to_path(str(file))
        return Watcher(self.watcher.running).scrape()

    def backup_old(self) -> Scrape:
        gateway = self.watcher.running.gateway
        gateway.settings = replace(gateway.settings, backup=BackupSettings(Path("/var/backups/x"), 7))
        assert self.watcher.scrape().value("gateway_backup_timestamp_seconds") == 0
        backup.note()
        made = self.watcher.scrape()
        assert abs(made.value("gateway_backup_timestamp_seconds") - time.time()) < PATIENCE
        return replace(made, at=made.at + 3 * 86400)

    def host_waits(self) -> Scrape:
        self.watcher.running.change_host(HOST, status=HostStatus.WAITING)
        return self.later()


SCENES: dict[Callable[[Scene], Scrape], set[str]] = {
    Scene.nothing: set(),
    Scene.database_away: {"IampassGatewayNotReady", "IampassGatewayDatabaseFails"},
    Scene.restored: {"IampassGatewayNotReady", "IampassGatewayRestored"},
    Scene.commits_hang: {"IampassGatewayNotReady", "IampassGatewayCommitsHang"},
    Scene.pool_full: {"IampassGatewayDatabaseConnections"},
    Scene.iampass_fails: {"IampassFails"},
    Scene.iampass_slow: {"IampassSlow"},
    Scene.alert: {"IampassGatewayAlert"},
    Scene.denied: {"IampassRequestsDenied"},
    Scene.certificate: {"IampassGatewayCertificateEnds"},
    Scene.host_waits: {"IampassHostsWait"},
    Scene.backup_old: {"IampassGatewayBackupOld"},
}


@pytest.mark.parametrize("happens", SCENES, ids=lambda scene: scene.__name__)
def test_an_alert_fires_for_what_happens_and_no_other(
    happens: Callable[[Scene], Scrape],
    watcher: Watcher,
    caller: HostCaller,
    sandbox: Sandbox,
    postgres: Postgres,
    tmp_path: Path,
) -> None:
    before = watcher.scrape()
    after = happens(Scene(watcher, caller, sandbox, postgres))
    assert firing(GATEWAY_RULES, JOB, (before, after), SCENES[happens], tmp_path) == ""


def test_an_alert_fires_for_a_gateway_that_does_not_answer(watcher: Watcher, tmp_path: Path) -> None:
    scrape = watcher.scrape()
    assert firing(GATEWAY_RULES, JOB, (scrape, scrape), {"IampassGatewayDown"}, tmp_path, up=0) == ""


def test_each_rule_has_a_scene() -> None:
    assert alerts_in(GATEWAY_RULES) == set().union(*SCENES.values()) | {"IampassGatewayDown"}

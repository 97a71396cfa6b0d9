"""PostgreSQL's disk is full: `/readyz` says so and check finds it, although the database answers questions."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pam_iampass.errors import Problem, Severity
from pam_iampass.gateway.base.connection import Connection, DatabaseError
from pam_iampass.gateway.base.database import Database
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.check import disk, examination, monitoring
from tests.gateway.conftest import made_template
from tests.gateway.test_watched import Watcher, free_port
from tests.support.gateway import HostCaller, RunningGateway, settings_for
from tests.support.gateway_machine import initialised, run_gateway
from tests.support.postgres import Postgres
from tests.support.sandbox import Sandbox
from tests.support.world import wait_until


@contextmanager
def small_disk() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192M,mode=0755", "disk", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[Postgres]:
    """A server with a small disk of its own."""
    with small_disk() as folder:
        server = Postgres(folder / "postgres")
        try:
            server.start("-c", "max_wal_size=64MB", "-c", "wal_keep_size=0", "-c", "autovacuum=off")
            yield server
        finally:
            server.remove()


@pytest.fixture
def watcher(own_postgres: Postgres, sandbox: Sandbox, tmp_path: Path) -> Iterator[Watcher]:
    conninfo = own_postgres.new_database(made_template(own_postgres))
    with RunningGateway(settings_for(conninfo, sandbox, tmp_path)) as running:
        running.populate()
        yield Watcher(running)


@contextmanager
def full(disk_of: Postgres) -> Iterator[None]:
    """There is no room on the disk of a server meanwhile."""
    filler = disk_of.folder.parent / "filler"
    room = os.statvfs(filler.parent)
    try:
        with suppress(OSError):
            filler.write_bytes(bytes(room.f_bavail * room.f_frsize))
        yield
    finally:
        filler.unlink()
        disk_of.start_again()


def in_transaction(watcher: Watcher, *statements: str) -> None:
    """What fails is an error of the transaction that logins would see, too."""

    async def go(_: Gateway, connection: Connection) -> None:
        for statement in statements:
            await connection.execute(statement.encode())

    with suppress(DatabaseError):
        watcher.running.transaction(go)


def test_a_full_disk_is_said_at_readyz_also_while_leases_can_be_renewed(
    watcher: Watcher, own_postgres: Postgres
) -> None:
    caller = HostCaller(watcher.running)
    assert watcher.ready()["ready"]
    with full(own_postgres):
        refused = [caller.ask("bob").authentication.get("reason") for _ in range(60)]
        assert "DATABASE_AWAY" in refused or "TRY_AGAIN" in refused
        assert watcher.ready()["problems"] == [monitoring.CANNOT_WRITE]
        assert watcher.scrape().value("gateway_ready") == 0
    assert watcher.ready()["problems"] == [monitoring.CANNOT_WRITE], "for a minute"
    watcher.running.gateway.database.lacked_room_at -= monitoring.WITHIN_SECONDS
    assert watcher.ready()["ready"]


def test_a_search_that_is_too_large_for_the_disk_does_not_count(
    watcher: Watcher, own_postgres: Postgres
) -> None:
    failures: list[psycopg.Error] = []

    async def search(_: Gateway, connection: Connection) -> None:
        await connection.execute(b"SET LOCAL work_mem = '64kB'")
        try:
            await connection.execute(
                b"SELECT number::text || %s FROM generate_series(1, 1000000) AS number ORDER BY 1 DESC",
                ["UPDATE"],
            )
        except psycopg.Error as error:
            failures.append(error)
            raise

    with full(own_postgres):
        with pytest.raises(DatabaseError):
            watcher.running.transaction(search)
        assert [error.sqlstate for error in failures] == ["53100"]
        assert watcher.ready()["ready"]


@pytest.mark.parametrize(
    ("sqlstate", "is_ready"), [("58030", False), ("53100", False), ("53200", True), ("57P01", True)]
)
def test_an_io_error_of_a_transaction_that_writes_counts_and_no_other_failure(
    watcher: Watcher, sqlstate: str, is_ready: bool
) -> None:
    fails = f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{sqlstate}'; END $$"
    in_transaction(watcher, "SELECT 1", fails)
    assert watcher.ready()["ready"]
    in_transaction(watcher, "UPDATE host SET name = name", fails)
    assert watcher.ready()["ready"] is is_ready


def test_a_gateway_that_cannot_renew_its_leases_is_not_ready(watcher: Watcher) -> None:
    watcher.running.rows("ALTER TABLE lease_holder RENAME TO elsewhere")
    wait_until(lambda: watcher.ready()["problems"] == [monitoring.CANNOT_RENEW], "it is ready")
    watcher.running.rows("ALTER TABLE elsewhere RENAME TO lease_holder")
    wait_until(lambda: watcher.ready()["ready"], "it is not ready")


def test_check_asks_the_gateway_that_runs(watcher: Watcher, sandbox: Sandbox, tmp_path: Path) -> None:
    running, address = watcher.running, ("127.0.0.1", free_port())
    settings = running.gateway.settings = settings_for(
        running.settings.database, sandbox, tmp_path, monitoring=address
    )
    stopping = asyncio.Event()

    async def show() -> asyncio.Task[None]:
        return asyncio.create_task(monitoring.show(running.gateway, stopping))

    async def stop(task: asyncio.Task[None]) -> None:
        stopping.set()
        await task

    task = running.run(show())
    assert list(examination.writes(settings)) == []
    running.gateway.database.lacked_room_at = time.monotonic()
    time.sleep(monitoring.FRESH_SECONDS)
    (found,) = examination.writes(settings)
    assert (found.kind, monitoring.CANNOT_WRITE in found.what) == ("writes-fail", True)
    running.run(stop(task))
    assert list(examination.writes(settings)) == [], "what does not answer is found elsewhere"


def room_of(conninfo: str) -> list[Problem]:
    return list(disk.little_room(server_of(conninfo)))


def server_of(conninfo: str) -> disk.Server:
    async def find() -> disk.Server | None:
        async with Database(conninfo, connections=1) as database:
            return await disk.find_server(database)

    found = asyncio.run(find())
    assert found is not None
    return found


def test_check_finds_little_room_on_the_disk_of_a_database_of_this_machine(
    own_postgres: Postgres,
) -> None:
    conninfo = own_postgres.conninfo("postgres")
    filler = own_postgres.folder.parent / "some"
    assert room_of(conninfo) == []
    room = os.statvfs(filler.parent)
    filler.write_bytes(bytes(room.f_bavail * room.f_frsize - (17 << 20)))
    (found,) = room_of(conninfo)
    assert (found.kind, found.severity) == ("disk-little-room", Severity.WARNING)
    filler.unlink()
    with full(own_postgres):
        (found,) = room_of(conninfo)
        assert found.severity is Severity.ERROR
        server = server_of(conninfo)
        for another in (replace(server, process=os.getpid()), replace(server, system="1")):
            assert list(disk.little_room(another)) == [], "a server elsewhere"


def test_the_command_finds_it_as_root_although_it_uses_the_database_as_its_account(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with small_disk() as folder:
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        with initialised() as (server, _):
            monkeypatch.undo()
            with full(server):
                found = json.loads(run_gateway("check", "--offline", "--json", status=1))["findings"]
    assert [each["severity"] for each in found if each["id"] == "disk-little-room"] == ["error"]

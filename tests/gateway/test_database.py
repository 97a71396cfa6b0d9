"""The database: what happens whole or not at all, and what a failure shows."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import struct
import threading
import time
from collections.abc import Awaitable
from ipaddress import ip_network
from typing import Any, Callable

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

from pam_iampass.gateway.base import connection as connection_module
from pam_iampass.gateway.base import database as module
from pam_iampass.gateway.base import migration, reach
from pam_iampass.gateway.base.connection import (
    Connection,
    DatabaseAway,
    DatabaseError,
    Primary,
    UnknownOutcome,
    WrongSchema,
)
from pam_iampass.gateway.base.database import Database, migrate, work_for
from pam_iampass.gateway.base.keys import KeyFile
from pam_iampass.gateway.base.reach import is_unreachable
from pam_iampass.gateway.base.statements import insert, many, one, replace
from tests.support.black_hole import black_hole
from tests.support.postgres import Postgres
from tests.support.world import PATIENCE


def run(conninfo: str, use: Callable[[Database], Awaitable[Any]], **options: Any) -> Any:
    async def go() -> Any:
        async with Database(conninfo, **options) as database:
            return await use(database)

    return asyncio.run(go())


INVITE: dict[str, Any] = {
    "id": "i-1",
    "secret": b"x",
    "name": None,
    "network": ip_network("192.0.2.0/24"),
    "group_name": "servers",
    "uses_left": 1,
}


async def _invite(database: Database, keys: KeyFile) -> dict[str, Any]:
    async with database.transaction() as connection:
        now = await one(connection, "SELECT now() AS now")
        assert now is not None
        row = keys.sealed("invite", {**INVITE, "made_at": now["now"], "expires_at": now["now"]})
        await insert(connection, "invite", row)
    return row


def test_a_row_has_its_mac_when_it_is_read_again(conninfo: str, keys: KeyFile) -> None:
    async def use(database: Database) -> None:
        row = await _invite(database, keys)
        async with database.transaction() as connection:
            await replace(connection, "invite", "id", keys.sealed("invite", {**row, "uses_left": 0}))
        async with database.transaction() as connection:
            (found,) = await many(connection, "SELECT * FROM invite WHERE id = %s", "i-1")
        assert keys.verified("invite", found)["uses_left"] == 0
        assert found["network"] == INVITE["network"]

    run(conninfo, use)


def test_nothing_is_left_of_a_transaction_that_failed(conninfo: str, keys: KeyFile) -> None:
    async def use(database: Database) -> None:
        with pytest.raises(RuntimeError):
            async with database.transaction() as connection:
                await connection.execute("INSERT INTO nonce VALUES ('a', 1, now())")
                raise RuntimeError
        with pytest.raises(psycopg.errors.UniqueViolation):
            async with database.transaction() as connection:
                for _ in range(2):
                    await connection.execute("INSERT INTO nonce VALUES ('a', 1, now())")
        async with database.transaction() as connection:
            assert await many(connection, "SELECT * FROM nonce") == []

    run(conninfo, use, connections=1)


def test_what_is_executed_later_is_part_of_its_transaction_only(conninfo: str) -> None:
    """It goes along with the next statement, which raises its error; and with COMMIT, at the latest."""

    async def use(database: Database) -> None:
        async def nonces() -> list[Any]:
            async with database.statement() as connection:
                return [row["nonce"] for row in await many(connection, "SELECT nonce FROM nonce ORDER BY 1")]

        with pytest.raises(RuntimeError):
            async with database.transaction() as connection:
                connection.later("INSERT INTO nonce VALUES ('a', 1, now())")
                raise RuntimeError
        async with database.statement() as connection:
            await connection.execute("INSERT INTO nonce VALUES ('a', 2, now())")
        assert await nonces() == [2]
        for last in ("SELECT 1", None):
            with pytest.raises(psycopg.errors.UniqueViolation):
                async with database.transaction() as connection:
                    connection.later("INSERT INTO nonce VALUES ('a', 3, now())")
                    connection.later("INSERT INTO nonce VALUES ('a', %s, now())", (2,))
                    if last:
                        await connection.execute(last)
                        pytest.fail("the one before has failed")
        assert await nonces() == [2]
        async with database.transaction() as connection:
            connection.later("DELETE FROM nonce")
            assert await many(connection, "SELECT nonce FROM nonce") == []
            connection.later("INSERT INTO nonce VALUES ('a', 4, now())")
        assert await nonces() == [4]

    run(conninfo, use, connections=1)


def test_no_value_is_read_as_a_part_of_a_statement(conninfo: str) -> None:
    texts = [
        "'; DELETE FROM nonce; --",
        "\\'; DELETE FROM nonce; --",
        "$1 %s %% ; \n",
        "\u2019 \U0001f511",
        "",
    ]

    async def use(database: Database) -> None:
        for number, text in enumerate(texts):
            async with database.transaction() as connection:
                connection.later("INSERT INTO nonce VALUES (%s, %s, now())", (text, number))
                found = await one(connection, "SELECT nonce FROM nonce WHERE client = %s", text)
                assert found == {"nonce": number}
        for text, error in (("a\x00b", psycopg.DataError), ("\udcff", UnicodeEncodeError)):
            with pytest.raises(error):
                async with database.transaction() as connection:
                    await one(connection, "SELECT 1 FROM nonce WHERE client = %s", text)
        async with database.statement() as connection:
            assert [
                row["client"] for row in await many(connection, "SELECT client FROM nonce ORDER BY nonce")
            ] == texts

    run(conninfo, use, connections=1)


def test_columns_of_several_tables_are_kept_apart(conninfo: str) -> None:
    async def use(database: Database) -> None:
        async with database.statement() as connection:
            row = await one(
                connection, 'SELECT NULL AS "a:", 1 AS id, 2 AS more, NULL AS "b:", 3 AS id, NULL AS "c:"'
            )
            assert row == {"a": {"id": 1, "more": 2}, "b": {"id": 3}, "c": {}}

    run(conninfo, use)


def test_a_statement_whose_connection_is_lost_may_have_happened(postgres: Postgres, conninfo: str) -> None:
    async def use(database: Database) -> None:
        with pytest.raises(UnknownOutcome):
            async with database.statement() as connection:
                postgres.stop(signal.SIGQUIT)
                await connection.execute("INSERT INTO nonce VALUES ('a', 1, now())")
        postgres.start()

    run(conninfo, use)


def test_the_tables_are_made_once_and_a_gateway_refuses_older_ones(postgres: Postgres) -> None:
    async def use(database: Database) -> None:
        with pytest.raises(WrongSchema, match=r"version 0.*run pam-iampass-gateway migrate"):
            await database.require_schema()
        assert await migrate(database) == (0, len(migration.migrations()))
        assert await migrate(database) == (len(migration.migrations()), len(migration.migrations()))
        await database.require_schema()

    run(postgres.new_database(), use)


def test_a_migration_that_fails_leaves_nothing(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [*migration.migrations(), "CREATE TABLE more (x int); SELECT 1/0"]
    monkeypatch.setattr(migration, "migrations", lambda: broken)

    async def use(database: Database) -> None:
        with pytest.raises(psycopg.errors.DivisionByZero):
            await migrate(database)
        with pytest.raises(WrongSchema, match=f"version {len(broken) - 1}"):
            await database.require_schema()
        async with database.transaction() as connection:
            found = await one(connection, "SELECT to_regclass('more') AS it")
            assert found == {"it": None}

    run(postgres.new_database(), use)


def test_a_migration_that_waits_for_its_table_gives_up_before_who_waits_behind_it_does(
    conninfo: str, keys: KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = [*migration.migrations(), "ALTER TABLE invite ADD COLUMN later text"]
    monkeypatch.setattr(migration, "migrations", lambda: later)
    waits = "SELECT FROM pg_locks WHERE relation = 'invite'::regclass AND NOT granted"

    async def use(database: Database) -> None:
        migration = asyncio.ensure_future(migrate(database))
        with psycopg.connect(conninfo, autocommit=True) as other:
            while not other.execute(waits).fetchall():
                assert not migration.done()
                await asyncio.sleep(0.05)
        await _invite(database, keys)
        with pytest.raises(DatabaseError, match="has held a lock for 2 s"):
            await migration

    with psycopg.connect(conninfo) as backup:
        backup.execute("SELECT count(*) FROM invite")
        run(conninfo, use)
    assert run(conninfo, migrate) == (len(later) - 1, len(later))


def _nothing_listens() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"host=127.0.0.1 port={free.getsockname()[1]} dbname=x"


def test_a_database_that_refuses_connections_is_unreachable() -> None:
    async def use(database: Database) -> None:
        with pytest.raises(DatabaseAway) as raised:
            async with database.transaction():
                pytest.fail("there is no connection")
        assert raised.value.unreachable

    run(_nothing_listens(), use)


def test_a_full_pool_and_too_many_clients_do_not_show_that_the_database_is_unreachable(
    postgres: Postgres, conninfo: str
) -> None:
    async def full(database: Database) -> None:
        async with database.transaction():
            with pytest.raises(DatabaseAway) as raised:
                async with database.transaction():
                    pytest.fail("the only connection is in use")
        assert not raised.value.unreachable

    run(conninfo, full, connections=1)

    async def refused(database: Database) -> None:
        with pytest.raises(DatabaseAway) as raised:
            async with database.transaction():
                pytest.fail("the server takes no more")
        assert not raised.value.unreachable

    run(conninfo.replace("dbname=test", "dbname=missing"), refused)


def test_a_server_that_accepts_and_says_nothing_is_not_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"host=127.0.0.1 port={silent.getsockname()[1]} dbname=x"
        assert not asyncio.run(is_unreachable(address))


@pytest.mark.parametrize(
    ("conninfo", "expected"),
    [
        ("host=/nonexistent dbname=x", True),
        ("host=240.0.0.1 port=1 dbname=x", True),
        ("host=does-not-exist.invalid port=1 dbname=x", False),
    ],
)
def test_what_is_unreachable(conninfo: str, expected: bool) -> None:
    assert asyncio.run(is_unreachable(conninfo)) is expected


def test_one_address_that_accepts_is_enough(postgres: Postgres) -> None:
    assert not asyncio.run(is_unreachable(f"host=/nonexistent,127.0.0.1 port=1,{postgres.port} dbname=x"))
    assert asyncio.run(is_unreachable("host=/nonexistent,127.0.0.1 port=1 dbname=x"))


def test_a_server_that_was_the_primary_before_another_one_is_not_used(conninfo: str) -> None:
    async def use(database: Database) -> None:
        async with database.transaction() as connection:
            await connection.execute("SELECT 1")
        system, timeline = database._primary.history
        database._primary.history = (system, timeline + 1)  # as if another server had been promoted
        with pytest.raises(DatabaseAway) as away:
            async with database.transaction() as connection:
                await connection.execute("SELECT 1")
        assert not away.value.unreachable
        database._primary.history = (system, timeline)
        async with database.transaction() as connection:
            await connection.execute("SELECT 1")

    run(conninfo, use)


@pytest.mark.parametrize("silent_first", [True, False])
def test_a_server_that_does_not_answer_does_not_hold_up_a_process_that_starts(
    conninfo: str, silent_first: bool
) -> None:
    async def port(database: Database) -> int:
        async with database.transaction() as connection:
            return connection.info.port

    with black_hole() as (address, silent):
        found = conninfo_to_dict(conninfo)
        ports = [str(silent), str(found["port"])][:: 1 if silent_first else -1]
        both = make_conninfo(conninfo, host=f"{address},{address}", port=",".join(ports))
        assert run(both, port) == int(str(found["port"]))


class HangingServer:
    """A server that takes one connection, and does not answer its first statement."""

    def __init__(self) -> None:
        self.asked, self.ended = threading.Event(), threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> HangingServer:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _serve(self) -> None:
        client, _ = self._listener.accept()
        with client, client.makefile("rb") as reader:
            while (length := int.from_bytes(reader.read(4), "big")) == 8:  # it asks for TLS or GSSAPI
                reader.read(4)
                client.sendall(b"N")
            reader.read(length - 4)
            for kind, body in ((b"R", bytes(4)), (b"S", b"client_encoding\0UTF8\0"), (b"Z", b"I")):
                client.sendall(kind + struct.pack("!i", len(body) + 4) + body)
            while reader.read(1):
                self.asked.set()
        self.ended.set()


async def _connect(conninfo: str, known: Primary | None = None) -> Connection:
    """As the pool does."""
    known = known or Primary(conninfo)
    options: Any = {"autocommit": True, "row_factory": dict_row}
    return await Connection.connect(conninfo, primary=known, **options)


def test_a_server_that_hangs_at_the_first_statement_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "CONNECT_SECONDS", 0.5)
    with HangingServer() as server:
        with pytest.raises(psycopg.OperationalError, match="does not answer"):
            asyncio.run(_connect(f"host=127.0.0.1 port={server.port} dbname=x user=x"))
        assert server.ended.wait(PATIENCE)


def test_who_stops_connecting_leaves_no_connection(conninfo: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "_OTHERS_SECONDS", 60.0)

    async def stop(server: HangingServer) -> None:
        ports = f"{server.port},{conninfo_to_dict(conninfo)['port']}"
        both = make_conninfo(conninfo, host="127.0.0.1,127.0.0.1", port=ports, application_name="stopped")
        connecting = asyncio.create_task(_connect(both))
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as other:

            async def connections() -> int:
                cursor = await other.execute(
                    "SELECT 1 FROM pg_stat_activity WHERE application_name = 'stopped'"
                )
                return len(await cursor.fetchall())

            while not await connections():
                await asyncio.sleep(0.05)
            assert await asyncio.to_thread(server.asked.wait, PATIENCE)
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            assert await asyncio.to_thread(server.ended.wait, PATIENCE)
            while await connections():
                await asyncio.sleep(0.05)

    with HangingServer() as server:
        asyncio.run(stop(server))


def test_of_two_names_of_one_server_the_first_is_used(conninfo: str) -> None:
    """As of two poolers before it."""

    async def names(database: Database) -> set[str]:
        async with database.transaction() as first, database.transaction() as second:
            return {first.info.host, second.info.host}

    both = conninfo.replace("host=127.0.0.1", "host=127.0.0.1,localhost")
    assert run(both, names) == {"127.0.0.1"}


def test_of_a_server_that_was_started_anew_it_is_asked_whether_another_was_promoted(
    conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that does nothing does not notice a promotion, nor that the old primary is back."""
    learned = connection_module._learned
    seen: dict[str, tuple[int, str]] = {"127.0.0.1": (1, "monday")}

    async def told(connect: Any, server: str) -> Connection:
        name = conninfo_to_dict(server)["host"]
        if name not in seen:
            raise psycopg.OperationalError("a standby")
        connection = await learned(connect, server)
        timeline, connection.started = seen[str(name)]
        connection.history = (connection.history[0], timeline)
        return connection

    both = conninfo.replace("host=127.0.0.1", "host=127.0.0.1,localhost")
    known = Primary(both)

    async def host() -> str:
        async with await _connect(both, known) as connection:
            return connection.info.host

    async def use() -> None:
        assert await host() == "127.0.0.1"
        seen["localhost"] = (2, "tuesday")
        assert await host() == "127.0.0.1", "nothing has happened to it"
        seen["127.0.0.1"] = (1, "wednesday")
        assert await host() == "localhost"
        assert await host() == "localhost"

    monkeypatch.setattr(connection_module, "_learned", told)
    monkeypatch.setattr(connection_module, "_OTHERS_SECONDS", 30.0)  # the machine may be busy
    asyncio.run(use())


def test_no_descriptors_left_is_a_failure_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    async def none_left(address: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(reach, "_reach", none_left)
    assert not asyncio.run(is_unreachable(_nothing_listens()))


def test_a_gateway_that_was_busy_does_not_take_the_database_for_unreachable(postgres: Postgres) -> None:
    async def test() -> None:
        asking = asyncio.create_task(is_unreachable(f"host=127.0.0.1 port={postgres.port} dbname=x"))
        while not asking.done():
            await asyncio.sleep(0)
            time.sleep(reach.CONNECT_SECONDS + 0.5)
        assert not await asking

    asyncio.run(test())


def test_a_connection_that_died_while_it_was_idle_is_replaced(postgres: Postgres, conninfo: str) -> None:
    async def use(database: Database) -> None:
        async with database.transaction() as connection:
            await connection.execute("SELECT 1")
        postgres.stop()
        with pytest.raises(DatabaseAway) as raised:
            async with database.transaction():
                pytest.fail("the server has been stopped")
        assert raised.value.unreachable
        postgres.start()
        async with database.transaction() as connection:
            assert await many(connection, "SELECT 1 AS one") == [{"one": 1}]

    run(conninfo, use)


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.parametrize("used_before", [True, False])
def test_a_database_is_used_again_soon_after_it_is_back(
    postgres: Postgres, conninfo: str, used_before: bool
) -> None:
    async def works(database: Database) -> bool:
        try:
            async with database.transaction() as connection:
                return await one(connection, "SELECT 1 AS one") == {"one": 1}
        except DatabaseAway:
            return False

    async def use(database: Database) -> None:
        assert not used_before or await works(database)
        await asyncio.to_thread(postgres.stop)
        until = time.monotonic() + 8.0
        while time.monotonic() < until:
            assert not await works(database)
        await asyncio.to_thread(postgres.start)
        until = time.monotonic() + 4.0
        while not await works(database):
            pass
        assert time.monotonic() < until

    run(conninfo, use)


def test_a_server_that_dies_within_a_transaction_has_written_nothing(
    postgres: Postgres, conninfo: str
) -> None:
    async def use(database: Database) -> None:
        with pytest.raises(DatabaseAway) as raised:
            async with database.transaction() as connection:
                await connection.execute("INSERT INTO nonce VALUES ('a', 1, now())")
                postgres.stop(signal.SIGQUIT)
                await connection.execute("INSERT INTO nonce VALUES ('a', 2, now())")
        assert not raised.value.unreachable
        postgres.start()
        async with database.transaction() as connection:
            assert await many(connection, "SELECT * FROM nonce") == []

    run(conninfo, use)


def test_statements_see_what_others_have_committed_whatever_the_database_says(conninfo: str) -> None:
    name = conninfo_to_dict(conninfo)["dbname"]
    with psycopg.connect(conninfo, autocommit=True) as other:
        other.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'".encode())

    async def use(database: Database) -> None:
        async with database.transaction() as connection:
            found = await one(connection, "SHOW transaction_isolation")
        assert found == {"transaction_isolation": "read committed"}

    run(conninfo, use)


def test_a_transaction_that_goes_no_further_ends_before_those_give_up_who_wait_for_its_locks(
    conninfo: str,
) -> None:
    """As of a gateway that has lost its power."""

    async def lock(database: Database) -> None:
        async with database.transaction() as connection:
            await connection.execute("LOCK TABLE nonce")

    async def use(database: Database) -> None:
        with pytest.raises(DatabaseAway):
            async with database.transaction() as connection:
                await connection.execute("LOCK TABLE nonce")
                await lock(database)
                await connection.execute("SELECT")

    run(conninfo, use)


def test_a_connection_that_is_lost_at_commit_leaves_the_outcome_unknown(
    postgres: Postgres, conninfo: str
) -> None:
    async def use(database: Database) -> None:
        with pytest.raises(UnknownOutcome):
            async with database.transaction() as connection:
                await connection.execute("INSERT INTO nonce VALUES ('a', 1, now())")
                postgres.stop(signal.SIGQUIT)
        postgres.start()

    run(conninfo, use)


def test_a_commit_with_a_warning_is_unknown(postgres: Postgres, conninfo: str) -> None:
    """As where a wait for a synchronous standby is cancelled: the commit is local then."""

    async def use(database: Database) -> None:
        async with database.transaction() as connection:
            await connection.execute("SET SESSION synchronous_commit = on")

        with psycopg.connect(conninfo, autocommit=True) as other:
            other.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
            other.execute("SELECT pg_reload_conf()")

        async def cancel_soon(pid: int) -> None:
            await asyncio.sleep(0.3)
            # Not on a connection of the pool: that may be the very one.
            async with await psycopg.AsyncConnection.connect(conninfo) as another:
                await another.execute("SELECT pg_cancel_backend(%s)", (pid,))

        async def commit(number: int) -> str:
            try:
                async with database.transaction() as connection:
                    await connection.execute("INSERT INTO nonce VALUES ('a', %s, now())", (number,))
                    task = asyncio.create_task(cancel_soon(connection.info.backend_pid))
            except UnknownOutcome as error:
                return str(error)
            finally:
                await task
            return ""

        try:
            # The server's checkpointer, which may be busy, has to hear of the standby first.
            answer = ""
            for number in range(30):
                answer = answer or await commit(number)
            assert re.search(r"warned at COMMIT.*canceling", answer)
        finally:
            with psycopg.connect(conninfo, autocommit=True) as other:
                other.execute("SET synchronous_commit = local")
                other.execute("ALTER SYSTEM RESET synchronous_standby_names")
                other.execute("SELECT pg_reload_conf()")

    run(conninfo, use)


def test_a_host_leaves_connections_to_others_and_all_hosts_some_to_the_gateway(conninfo: str) -> None:
    async def use(database: Database) -> None:
        began, done = list[str](), asyncio.Event()

        async def hold(whose: str) -> None:
            if whose:
                work_for(whose)
            async with database.transaction():
                began.append(whose)
                await done.wait()

        async def hold_all(*whose: str, begin: int) -> list[asyncio.Task[None]]:
            """Until so many have begun. Who comes later begins later: one too many begins before them."""
            tasks = [asyncio.create_task(hold(each)) for each in whose]
            while len(began) < begin:
                await asyncio.sleep(0.01)
            return tasks

        tasks = await hold_all(*["a"] * 8, begin=3)
        tasks += await hold_all("b", "c", begin=4)
        tasks += await hold_all("", "", begin=6)
        assert began == ["a", "a", "a", "b", "", ""]
        done.set()
        await asyncio.gather(*tasks)
        assert len(began) == 12

    run(conninfo, use, connections=6)


def test_requests_whose_signature_is_not_checked_give_up_first(conninfo: str) -> None:
    async def use(database: Database) -> None:
        async def wait(whose: str, known: bool) -> None:
            work_for(whose, known=known)
            async with database.statement() as connection:
                await one(connection, "SELECT 1")

        work_for("h-1")
        async with database.transaction():
            tasks = [asyncio.create_task(wait("h-2", known)) for known in (False, True)]
            await asyncio.sleep(reach.CONNECT_SECONDS + 0.5)
        unknown, known = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(unknown, DatabaseAway)
        assert not unknown.unreachable
        assert known is None

    run(conninfo, use, connections=3)


def test_a_host_that_waits_for_its_own_connections_does_not_find_the_database_unreachable(
    conninfo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def is_unreachable(conninfo: str) -> bool:
        asked.append(conninfo)
        return True

    monkeypatch.setattr(reach, "is_unreachable", is_unreachable)

    async def use(database: Database) -> None:
        work_for("a")
        async with database.transaction():
            with pytest.raises(DatabaseAway) as caught, monkeypatch.context() as soon:
                soon.setattr(reach, "CONNECT_SECONDS", 0.3)
                soon.setattr(module, "_WAIT_SECONDS", 0.3)
                async with database.transaction():
                    pass
            assert not caught.value.unreachable
            assert asked == []  # a thousand who wait would all connect
        async with database.transaction() as connection:
            assert await one(connection, "SELECT 1 AS one") == {"one": 1}

    run(conninfo, use, connections=2)

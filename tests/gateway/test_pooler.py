"""Gateways whose database is behind a pooler that gives connections away for a transaction: what must hold without one
holds with it, also while it has fewer connections than the gateways."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pam_iampass.gateway.base.connection import DatabaseAway, UnknownOutcome
from pam_iampass.gateway.base.database import Database
from pam_iampass.gateway.base.statements import many
from tests.gateway import (
    test_codes,
    test_database,
    test_host_sessions,
    test_leases,
    test_start,
    test_turns,
    test_two_gateways,
    test_waiting,
)
from tests.gateway.test_leases import make, second
from tests.gateway.test_turns import settings
from tests.gateway.test_two_gateways import both
from tests.gateway.test_waiting import pool
from tests.support.gateway import HostCaller, RunningGateway, settings_for
from tests.support.postgres import POOLED, Postgres
from tests.support.sandbox import Sandbox
from tests.support.world import wait_until

__all__ = ["both", "make", "pool", "second", "settings"]

pytestmark = pytest.mark.long

SAME = (
    test_start.test_a_host_asks_a_person_and_learns_what_they_answer,
    test_start.test_a_repeat_waits_for_a_call_that_is_under_way,
    test_start.test_a_host_that_hangs_up_does_not_stop_its_request,
    test_start.test_a_host_has_one_request_on_a_phone_at_a_time,
    test_host_sessions.test_an_end_is_good_once,
    test_turns.test_two_gateways_never_have_two_requests_of_a_person_on_the_phone,
    test_turns.test_one_gateway_at_a_time_looks_whose_turn_it_is,
    test_turns.test_one_request_that_reaches_two_gateways_at_once_rings_once,
    test_leases.test_one_gateway_alone_polls_a_request,
    test_leases.test_a_gateway_that_stops_leaves_its_sessions_to_the_others_at_once,
    test_leases.test_what_is_said_under_a_lease_that_another_gateway_has_now_is_not_written,
    test_waiting.test_what_another_gateway_has_written_is_found,
    test_waiting.test_who_waits_takes_no_connection_of_the_database,
    test_codes.test_two_hosts_with_one_code_at_one_moment_and_one_gets_in,
    test_codes.test_parallel_guesses_of_a_host_are_counted,
    test_two_gateways.test_a_host_that_is_suspended_or_removed_at_one_is_answered_by_none,
    test_two_gateways.test_a_nonce_is_good_at_one,
    test_two_gateways.test_a_recovery_code_is_good_at_one,
    test_two_gateways.test_an_invite_and_a_name_are_good_at_one,
    test_database.test_nothing_is_left_of_a_transaction_that_failed,
    test_database.test_what_is_executed_later_is_part_of_its_transaction_only,
    test_database.test_no_value_is_read_as_a_part_of_a_statement,
)
"""These tests run here, too, with the `conninfo` of this file."""
globals().update({test.__name__: test for test in SAME})


@pytest.fixture(scope="module")
def pooler(postgres: Postgres) -> Iterator[int]:
    """Its port."""
    with postgres.pooled(POOLED) as port:
        yield port


@pytest.fixture
def conninfo(postgres: Postgres, template: str, pooler: int) -> str:
    """A new database, behind the pooler."""
    direct = postgres.new_database(template)
    return direct.replace(f"port={postgres.port}", f"port={pooler}")


def test_the_page_says_what_is_tested_here() -> None:
    assert f"\n    {POOLED}\n" in (Path(__file__).parents[2] / "docs/fleet/gateway-several.md").read_text()


def test_what_a_transaction_needs_does_not_depend_on_the_connection_that_it_is_given(conninfo: str) -> None:
    async def go() -> None:
        async with Database(conninfo, connections=10) as database:

            async def one_transaction() -> int:
                async with database.transaction() as connection:
                    before = await many(connection, "SELECT pg_backend_pid() AS pid, txid_current() AS id")
                    await asyncio.sleep(0.01)
                    after = await many(connection, "SELECT pg_backend_pid() AS pid, txid_current() AS id")
                    assert before == after
                    return int(before[0]["pid"])

            backends = await asyncio.gather(*(one_transaction() for _ in range(50)))
            assert 1 <= len(set(backends)) <= 5 < 10

    asyncio.run(go())


def test_a_commit_that_warns_behind_a_pooler_is_unknown(postgres: Postgres, conninfo: str) -> None:
    """As where a wait for a synchronous standby is cancelled: the commit is local then."""

    async def commit() -> None:
        async with Database(conninfo, connections=1) as database, database.transaction() as connection:
            await connection.execute("INSERT INTO nonce VALUES ('a', 1, now())")

    waits = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    with (
        psycopg.connect(postgres.conninfo("postgres"), autocommit=True) as other,
        ThreadPoolExecutor(1) as run,
    ):
        other.execute("SET synchronous_commit = local")
        other.execute("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
        try:
            other.execute("SELECT pg_reload_conf()")
            wait_until(lambda: _standbys(other) == "standby", "the settings are not read")
            committed = run.submit(asyncio.run, commit())
            wait_until(lambda: other.execute(waits).fetchone() is not None, "the commit does not wait")
            with pytest.raises(UnknownOutcome, match=r"warned at COMMIT.*canceling"):
                committed.result()
        finally:
            other.execute("ALTER SYSTEM RESET synchronous_standby_names")
            other.execute("SELECT pg_reload_conf()")
            wait_until(lambda: _standbys(other) == "", "the settings are not read")


def _standbys(connection: psycopg.Connection[tuple[str]]) -> str:
    row = connection.execute("SHOW synchronous_standby_names").fetchone()
    assert row is not None
    return row[0]


def test_a_database_that_is_away_behind_a_pooler_is_no_outage_that_a_host_tolerates(
    postgres: Postgres, template: str, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    direct = postgres.new_database(template)
    with postgres.pooled(POOLED, "query_wait_timeout = 2", "server_login_retry = 1") as port:
        behind = settings_for(direct.replace(f"port={postgres.port}", f"port={port}"), sandbox, tmp_path)
        with RunningGateway(behind) as gateway:
            gateway.populate()
            caller = HostCaller(gateway)
            assert caller.ask("alice").authentication["authenticated"]
            postgres.stop()
            try:
                refused = caller.ask("bob").authentication
            finally:
                postgres.start()
            assert (refused["reason"], "nothing_sent" in refused) == ("DATABASE_AWAY", False)
        with RunningGateway(replace(behind, database=direct)) as gateway:
            postgres.stop()
            try:
                refused = HostCaller(gateway).ask("bob").authentication
            finally:
                postgres.start()
            assert "nothing_sent" in refused, "and without a pooler it is one"


def test_a_pooler_that_gives_connections_away_for_a_statement_is_refused(
    postgres: Postgres, template: str
) -> None:
    direct = postgres.new_database(template)
    with postgres.pooled(POOLED, "pool_mode = statement") as port:

        async def go() -> None:
            behind = direct.replace(f"port={postgres.port}", f"port={port}")
            async with Database(behind, connections=1) as database:
                await database.require_schema()

        with pytest.raises(DatabaseAway, match="not allowed in statement pooling mode"):
            asyncio.run(go())

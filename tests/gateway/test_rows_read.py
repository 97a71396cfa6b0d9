"""What a login reads of the database is bounded by what is recent, however many records of years there are."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Callable

import psycopg
import pytest

from tests.gateway.test_codes import answer, new_codes
from tests.gateway.test_reports import report, send
from tests.gateway.test_shut_out import approves
from tests.support.gateway import HOST, HostCaller, RunningGateway, settings_for
from tests.support.postgres import Postgres
from tests.support.sandbox import Sandbox
from tests.support.world import wait_until

pytestmark = pytest.mark.long

NAME = f"name-of-{HOST}"
_RECORDS = 1_000_000
_OF_A_YEAR = f"""
INSERT INTO record (at, kind, host, person, fields)
SELECT now() - interval '1 year' * (number / {_RECORDS}.0) - interval '61 minutes',
    CASE number % 6 WHEN 2 THEN 'report' ELSE 'decision' END,
    CASE number % 20 WHEN 0 THEN '{NAME}' ELSE 'host' || number % 300 END,
    CASE number % 10 WHEN 0 THEN 'alice' ELSE 'person' || number % 5000 END,
    CASE number % 6
        WHEN 0 THEN '{{"outcome": "denied", "reason": "wrong recovery code", "wrong_code": "1"}}'::jsonb
        WHEN 1 THEN '{{"outcome": "throttled", "reason": "HOST_THROTTLED", "refused": "start"}}'
        WHEN 2 THEN '{{"reported": "covered", "service": "sudo", "login": "0b9e6d4c81f24a57a3d2c6f0e19b7a48"}}'
        ELSE '{{"outcome": "approved", "service": "sshd", "remote": "192.0.2.7"}}'
    END
FROM generate_series(1, {_RECORDS}) AS number
"""
_READ = """
SELECT (SELECT sum(seq_tup_read) FROM pg_stat_user_tables) + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)
"""
# A gateway that is stopped while it connects, on a busy machine, leaves that connection to the end of its process.
_END_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type <> 'autovacuum worker'
"""
MOST = 2000
"""Rows that a gateway may read, of all tables, from its start to its end, with one login in between."""


@pytest.fixture(scope="module", params=["VACUUM (ANALYZE)", ""], ids=["as usual", "restored just now"])
def years(request: pytest.FixtureRequest, postgres: Postgres, template: str) -> str:
    """A database with a million records and a year of wrong codes; PostgreSQL knows what there is, or not yet."""
    conninfo = postgres.new_database(template)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        # So much is written to the disk for minutes otherwise that a busy machine stalls.
        connection.execute("ALTER TABLE record SET UNLOGGED, SET (autovacuum_enabled = false)")
        connection.execute(_OF_A_YEAR.encode())
        connection.execute(request.param)
    return conninfo


class Years:
    """Gateways of this database, one after the other."""

    def __init__(self, conninfo: str, sandbox: Sandbox, folder: Path) -> None:
        self._conninfo = conninfo
        self.sandbox = sandbox
        self._settings = settings_for(conninfo, sandbox, folder)
        with RunningGateway(self._settings) as running:
            if not running.rows("SELECT 1 FROM host"):
                running.populate()

    def rows_read(self, act: Callable[[RunningGateway], object]) -> int:
        """How many rows a gateway reads that serves while something is done. A server process says so when it ends."""
        before = self._so_far()
        with RunningGateway(self._settings) as running:
            act(running)
        return self._so_far() - before

    def _so_far(self) -> int:
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            wait_until(lambda: not connection.execute(_END_OTHERS).fetchall(), "there are other connections")
            row = connection.execute(_READ).fetchone()
            assert row is not None
            return int(row[0])


@pytest.fixture
def fleet(years: str, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Years:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    return Years(years, sandbox, tmp_path)


def test_the_count_shows_what_is_read(fleet: Years) -> None:
    statement = "SELECT count(*) FROM record WHERE fields ? 'wrong_code'"
    assert fleet.rows_read(lambda gateway: gateway.rows(statement)) > _RECORDS / 6


@pytest.mark.parametrize("person", ["alice", "bob"])
def test_a_login_reads_what_is_recent(fleet: Years, person: str) -> None:
    assert fleet.rows_read(lambda gateway: approves(gateway, fleet.sandbox, person)) < MOST


def test_a_redemption_reads_what_is_recent(fleet: Years) -> None:
    codes: list[str] = []
    fleet.rows_read(lambda gateway: codes.extend(new_codes(gateway)))

    def redeem(gateway: RunningGateway) -> None:
        caller = HostCaller(gateway)
        assert answer(caller, "alice", "A" * len(codes[0])) == "WRONG_CODE"
        assert answer(caller, "alice", codes[0]) == 9

    assert fleet.rows_read(redeem) < MOST


def test_logins_to_a_slowed_host_read_what_is_recent(fleet: Years) -> None:
    def log_in(gateway: RunningGateway) -> None:
        gateway.change_host(slowed_until=datetime.now(timezone.utc) + timedelta(minutes=10))
        assert approves(gateway, fleet.sandbox, "alice"), "who has approved there lately"
        assert approves(gateway, fleet.sandbox, "bob")
        gateway.change_host(slowed_until=None)

    assert fleet.rows_read(log_in) < MOST


def test_a_report_reads_what_is_recent(fleet: Years) -> None:
    def take(gateway: RunningGateway) -> None:
        reply = send(HostCaller(gateway), report())
        assert reply.status == 200, reply.body

    assert fleet.rows_read(take) < MOST

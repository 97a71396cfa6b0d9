"""Hosts in the database: what was written by a gateway counts, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any, Callable

import psycopg
import pytest

from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.database import Database
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import KeyFile, Tampered
from pam_iampass.gateway.base.statements import many
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import Host, HostStatus

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=timezone.utc)
WEB = Host(
    *("h-web", "web.example.com", "servers", "the secret", None, HostStatus.ACTIVE, NOW, "i-1"),
    admitted=True,
    addresses=("192.0.2.8",),
    note="rack 4",
)
DB = replace(WEB, id="h-db", name="db.example.com", secret="another secret", note=None)

Use = Callable[[Gateway, Connection], Awaitable[Any]]


def run(conninfo: str, keys: KeyFile, *uses: Use) -> list[Any]:
    """What each of these returns, in a transaction of its own."""

    async def go() -> list[Any]:
        async with Database(conninfo, connections=1) as database:
            gateway = Gateway(None, database, keys)  # type: ignore[arg-type]
            found = []
            for use in uses:
                async with database.transaction() as connection:
                    found.append(await use(gateway, connection))
            return found

    return asyncio.run(go())


async def _add_both(gateway: Gateway, connection: Connection) -> None:
    await hosts.add(gateway, connection, WEB)
    await hosts.add(gateway, connection, DB)


def _execute(statement: str) -> Use:
    async def use(_gateway: Gateway, connection: Connection) -> None:
        await connection.execute(statement.encode())

    return use


def test_a_host_is_found_as_it_was_added(conninfo: str, keys: KeyFile) -> None:
    _, found, by_name, all_of_them, none = run(
        conninfo,
        keys,
        _add_both,
        lambda g, c: hosts.find(g, c, "h-web"),
        lambda g, c: hosts.named(g, c, "db.example.com"),
        lambda g, c: hosts.listing(g, c),
        lambda g, c: hosts.find(g, c, "h-other"),
    )
    assert (found, by_name, none) == (WEB, DB, None)
    assert all_of_them == ([DB, WEB], [])
    assert "secret" not in repr(found)
    with psycopg.connect(conninfo) as connection:
        ((secret,),) = connection.execute("SELECT secret FROM host WHERE id = 'h-web'").fetchall()
    assert b"the secret" not in secret


def test_a_change_leaves_the_other_columns_as_they_are_now(conninfo: str, keys: KeyFile) -> None:
    slowed = NOW + timedelta(minutes=10)
    _, _, changed, found, none = run(
        conninfo,
        keys,
        _add_both,
        lambda g, c: hosts.change(g, c, "h-web", status=HostStatus.SUSPENDED),
        lambda g, c: hosts.change(g, c, "h-web", machine="m", slowed_until=slowed),
        lambda g, c: hosts.find(g, c, "h-web"),
        lambda g, c: hosts.change(g, c, "h-other", machine="m"),
    )
    assert found == replace(WEB, status=HostStatus.SUSPENDED, machine="m", slowed_until=slowed)
    assert (changed, none) == (found, None)


def test_a_name_and_an_id_are_taken_once(conninfo: str, keys: KeyFile) -> None:
    run(conninfo, keys, _add_both)
    same_name, same_id = replace(WEB, id="h-new"), replace(WEB, name="new.example.com")
    for use in (lambda g, c: hosts.add(g, c, same_name), lambda g, c: hosts.add(g, c, same_id)):
        with pytest.raises(psycopg.errors.UniqueViolation):
            run(conninfo, keys, use)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE host SET status = 'suspended' WHERE id = 'h-web'",
        "UPDATE host SET group_name = 'everything' WHERE id = 'h-web'",
        "UPDATE host SET addresses = '{192.0.2.9}' WHERE id = 'h-web'",
        "UPDATE host SET note = 'x' WHERE id = 'h-web'",
        "UPDATE host SET note = NULL WHERE id = 'h-web'",
        "UPDATE host SET machine = 'x' WHERE id = 'h-web'",
        "UPDATE host SET secret = (SELECT secret FROM host WHERE id = 'h-db') WHERE id = 'h-web'",
        "UPDATE host SET secret = s.secret, mac = s.mac FROM host s WHERE s.id = 'h-db' AND host.id = 'h-web'",
        "DELETE FROM host WHERE id = 'h-web'; UPDATE host SET id = 'h-web', name = 'web.example.com'",
        "DELETE FROM host WHERE id = 'h-web'; INSERT INTO host VALUES ('h-web', 'web.example.com', 'servers', 'x', "
        "NULL, 'active', now(), 'i-1', NULL, true, '{}', NULL, 'x')",
    ],
)
def test_a_host_that_was_written_in_the_database_itself_does_not_count(
    conninfo: str, keys: KeyFile, statement: str
) -> None:
    run(conninfo, keys, _add_both)
    for single in statement.split("; "):
        run(conninfo, keys, _execute(single))
    for use in (
        lambda g, c: hosts.find(g, c, "h-web"),
        lambda g, c: hosts.named(g, c, "web.example.com"),
        lambda g, c: hosts.change(g, c, "h-web", machine="m"),
    ):
        with pytest.raises(Tampered):
            run(conninfo, keys, use)
    ((good, bad),) = run(conninfo, keys, lambda g, c: hosts.listing(g, c))
    assert bad == ["web.example.com"]
    assert WEB not in good


def test_a_row_that_does_not_count_can_be_removed(conninfo: str, keys: KeyFile) -> None:
    _, _, removed, again, left = run(
        conninfo,
        keys,
        _add_both,
        _execute("UPDATE host SET status = 'suspended' WHERE id = 'h-web'"),
        lambda _, c: hosts.remove(c, "web.example.com"),
        lambda _, c: hosts.remove(c, "web.example.com"),
        lambda g, c: hosts.listing(g, c),
    )
    assert (removed, again, left) == (True, False, ([DB], []))


def test_what_was_seen_of_a_host_goes_with_it(conninfo: str, keys: KeyFile) -> None:
    *_, left = run(
        conninfo,
        keys,
        _add_both,
        lambda _, c: hosts.remove(c, "web.example.com"),
        lambda _, c: many(c, "SELECT host FROM seen"),
    )
    assert left == [{"host": DB.id}]


def test_ids_are_new() -> None:
    made = {hosts.new_id("h") for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(each) == 14 and each.startswith("h-") for each in made)

"""People in the database: what was written is read again, and nothing else counts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Callable

import psycopg
import pytest

from pam_iampass.fleet.names import person_name_error
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.database import Database
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import KeyFile, Tampered
from pam_iampass.gateway.base.statements import many, now, replace
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import Host, HostStatus, Invite
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person, PersonStatus, Source

ALICE = Person("alice", "token-of-alice", ("staff", "oncall"), "Alice A.", "+15551234567")
BOB = Person("bob", "token-of-bob", ("staff",), source=Source.LDAP)


def run(conninfo: str, use: Callable[[Gateway, Connection], Awaitable[Any]]) -> Any:
    async def go() -> Any:
        async with Database(conninfo, connections=1) as database, database.transaction() as connection:
            gateway = Gateway(None, database, KeyFile(bytes(32)))  # type: ignore[arg-type]
            return await use(gateway, connection)

    return asyncio.run(go())


@pytest.fixture
def both(conninfo: str) -> str:
    """A database with alice and bob."""

    async def add(gateway: Gateway, connection: Connection) -> None:
        for person in (ALICE, BOB):
            await people.add(gateway, connection, person)

    run(conninfo, add)
    return conninfo


def found(conninfo: str, name: str) -> Person | None:
    person: Person | None = run(conninfo, lambda g, c: people.find(g, c, name))
    return person


def test_a_person_is_found_as_added_and_changed(both: str) -> None:
    alice = found(both, "alice")
    assert alice is not None
    assert alice.changed_at is not None
    assert alice == Person(**{**vars(ALICE), "changed_at": alice.changed_at})
    assert found(both, "Alice") is None
    changed = run(both, lambda g, c: people.change(g, c, "bob", status=PersonStatus.LEAVING))
    assert found(both, "bob") == changed
    assert not changed.active
    assert run(both, lambda g, c: people.change(g, c, "carol", groups=())) is None
    everybody, tampered = run(both, people.listing)
    assert ([person.name for person in everybody], tampered) == (["alice", "bob"], [])
    for expected in (True, False):
        assert run(both, lambda g, c: people.remove(g, c, "bob")) is expected
    assert found(both, "bob") is None


async def _change_person(gateway: Gateway, connection: Connection) -> None:
    await people.change(gateway, connection, "alice", groups=("staff",))


async def _change_host(gateway: Gateway, connection: Connection) -> None:
    await hosts.change(gateway, connection, "h-1", status=HostStatus.SUSPENDED)


async def _use_invite(gateway: Gateway, connection: Connection) -> None:
    await hosts.use_invite(gateway, connection, "i-1")


@pytest.mark.parametrize(
    ("table", "key", "change"),
    [("person", "name", _change_person), ("host", "id", _change_host), ("invite", "id", _use_invite)],
)
def test_what_a_gateway_of_a_newer_release_has_written_stays_when_this_one_changes_the_row(
    both: str, table: str, key: str, change: Callable[[Gateway, Connection], Awaitable[None]]
) -> None:
    async def write_newer_column(gateway: Gateway, connection: Connection) -> None:
        moment = await now(connection)
        await hosts.add_invite(gateway, connection, Invite("i-1", "secret", "web", 2, moment, moment))
        host = Host("h-1", "web1", "web", "secret", None, HostStatus.ACTIVE, moment, "i-1")
        await hosts.add(gateway, connection, host)
        connection.later(f"ALTER TABLE {table} ADD COLUMN newer text".encode())
        for row in await many(connection, f"SELECT * FROM {table}"):
            values = {**gateway.keys.verified(table, row), "newer": "cost center 7"}
            await replace(connection, table, key, gateway.keys.sealed(table, values))

    async def read(gateway: Gateway, connection: Connection) -> list[object]:
        rows = await many(connection, f"SELECT * FROM {table}")
        return [gateway.keys.verified(table, row)["newer"] for row in rows]

    run(both, write_newer_column)
    before = run(both, lambda _, connection: many(connection, f"SELECT mac FROM {table}"))
    run(both, change)
    assert run(both, lambda _, connection: many(connection, f"SELECT mac FROM {table}")) != before
    assert set(run(both, read)) == {"cost center 7"}


def test_a_name_is_nobody_elses(both: str) -> None:
    with pytest.raises(psycopg.errors.UniqueViolation):
        run(both, lambda g, c: people.add(g, c, Person("alice", "another")))


def test_nothing_that_is_secret_stands_in_the_database_or_in_a_log(both: str) -> None:
    async def rows(_gateway: Gateway, connection: Connection) -> str:
        return str(await many(connection, "SELECT person::text FROM person"))

    text = run(both, rows) + repr(ALICE)
    for secret in ("token-of-alice", "+15551234567", "Alice A."):
        assert secret not in text
        assert secret.encode().hex() not in text


ATTACKS = {
    "groups": "UPDATE person SET groups = '{staff,admins}' WHERE name = 'bob'",
    "status": "UPDATE person SET changed_at = now() WHERE name = 'bob'",
    "renamed": "DELETE FROM person WHERE name = 'bob';UPDATE person SET name = 'bob' WHERE name = 'alice'",
    "token of another": "UPDATE person SET token = other.token FROM person other "
    "WHERE person.name = 'bob' AND other.name = 'alice'",
    "all of another": "UPDATE person SET token = o.token, groups = o.groups, display_name = o.display_name, "
    "phone_number = o.phone_number, source = o.source, changed_at = o.changed_at, mac = o.mac "
    "FROM person o WHERE person.name = 'bob' AND o.name = 'alice'",
    "phone number moved": "UPDATE person SET phone_number = other.phone_number FROM person other "
    "WHERE person.name = 'bob' AND other.name = 'alice'",
    "invited again": "UPDATE person SET invites = NOT invites WHERE name = 'bob'",
    "lost phone": "UPDATE person SET phone_to_disable = NOT phone_to_disable WHERE name = 'bob'",
    "column moved": "UPDATE person SET display_name = token WHERE name = 'bob'",
    "added": "DELETE FROM person WHERE name = 'bob';"
    "INSERT INTO person SELECT 'bob', token, groups, display_name, "
    "phone_number, source, status, changed_at, mac, directory_id, phone_lost_at, phone_to_disable, phone_told_at, "
    "invites, had_phone FROM person WHERE name = 'alice'",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_who_can_write_to_the_database_only_lets_nobody_in(both: str, attack: str) -> None:
    with psycopg.connect(both, autocommit=True) as connection:
        connection.execute(ATTACKS[attack].encode())
    with pytest.raises(Tampered):
        found(both, "bob")
    with pytest.raises(Tampered):
        run(both, lambda g, c: people.change(g, c, "bob"))
    everybody, tampered = run(both, people.listing)
    assert "bob" not in [person.name for person in everybody]
    assert tampered == ["bob"]


def test_a_ciphertext_of_another_person_is_no_use_even_with_the_mac(both: str) -> None:
    """As if the MAC did not cover it: the value itself belongs to its row and column."""

    async def swap(gateway: Gateway, connection: Connection) -> Any:
        rows = {row["name"]: row for row in await many(connection, "SELECT * FROM person")}
        mixed = gateway.keys.sealed("person", {**rows["bob"], "token": rows["alice"]["token"]})
        await connection.execute(
            "UPDATE person SET token = %(token)s, mac = %(mac)s WHERE name = 'bob'", mixed
        )
        return await people.find(gateway, connection, "bob")

    with pytest.raises(Tampered, match="person token"):
        run(both, swap)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\nb", "a\x00", "x" * 257, "\ud800"])
def test_what_is_no_name_of_a_person(name: str) -> None:
    assert person_name_error(name)


def test_names_of_directories_are_names_of_people() -> None:
    assert not any(map(person_name_error, ["alice", "j.doe@EXAMPLE", "zoë", "DOMAIN\\user", "a b"]))


def test_every_token_is_new_and_can_stand_in_a_url() -> None:
    tokens = {people.new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) == 22 and token.replace("-", "").replace("_", "").isalnum() for token in tokens)

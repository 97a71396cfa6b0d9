"""What an attacker can do with a credential, an invite, the database, a backup or a gateway:
docs/fleet/fleet-security.md.

Here is what is not played elsewhere, and what does work.
"""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.database import Database
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import KeyFile, Tampered
from pam_iampass.gateway.calls import joining
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person
from tests.support.gateway import HOST, HOST_SECRET, KEY, HostCaller, RunningGateway
from tests.support.sandbox import Sandbox

TABLES = ("fleet", "host", "invite", "person", "turn", "session", "nonce", "record")


def put_back(conninfo: str, table: str, row: dict[str, Any]) -> None:
    """What an attacker does who has kept an old row."""
    values = [Jsonb(value) if isinstance(value, dict) else value for value in row.values()]
    columns, places = ", ".join(row), ", ".join(["%s"] * len(row))
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})".encode(), values)


def with_key(conninfo: str, key: bytes, use: Any) -> Any:
    """What an attacker finds, or does, who has the database and a key file."""

    async def go() -> Any:
        async with Database(conninfo, connections=1) as database, database.transaction() as connection:
            return await use(Gateway(None, database, KeyFile(key)), connection)  # type: ignore[arg-type]

    return asyncio.run(go())


def reason(caller: HostCaller, person: str) -> str:
    reply = caller.ask(person)
    return str(reply.authentication.get("reason", "")) if reply.status == 200 else str(reply.status)


def approved(caller: HostCaller, sandbox: Sandbox, token: str) -> bool:
    """Whether a login of alice is approved by the phone of this token."""
    begun = caller.ask("alice").authentication
    sandbox.approve(sandbox.wait_for_request(token))
    return caller.answer(begun) == "active"


# An invite


def test_an_invite_asks_nobody(gateway_server: RunningGateway, sandbox: Sandbox) -> None:
    async def invite(gateway: Gateway, connection: Connection) -> tuple[str, str]:
        made, _ = await joining.invite(gateway, connection, "servers", 1, 60, None, None)
        return made.id, made.secret

    gateway_server.application_id, gateway_server.application_secret = gateway_server.transaction(invite)
    thief = HostCaller(gateway_server)
    assert reason(thief, "alice") == "404"
    assert thief.get(f"/fleet/host/{gateway_server.application_id}").status == 404
    assert not sandbox.sessions


# The database


def test_an_old_row_that_is_put_back_counts(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, conninfo: str
) -> None:
    kept = {table: gateway_server.rows(f"SELECT * FROM {table}") for table in ("host", "person")}
    gateway_server.transaction(lambda _, connection: hosts.remove(connection, f"name-of-{HOST}"))
    gateway_server.transaction(lambda g, connection: people.remove(g, connection, "alice"))
    assert reason(caller, "alice") == "404"
    put_back(conninfo, "host", kept["host"][0])
    assert reason(caller, "alice") == "NOT_ON_THIS_HOST"
    put_back(conninfo, "person", next(row for row in kept["person"] if row["name"] == "alice"))
    assert approved(caller, sandbox, "token-of-alice")


@pytest.mark.parametrize(
    ("table", "expected"), [("host", "404"), ("person", "NOT_ON_THIS_HOST"), ("session", "UNKNOWN_SESSION")]
)
def test_rows_that_are_deleted_let_nobody_in(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, table: str, expected: str
) -> None:
    begun = caller.ask("bob").authentication
    gateway_server.rows(f"DELETE FROM {table}")
    if table == "session":
        while (reply := caller.session("GET", begun, "status_url")).status == 200:
            pass
        assert reply.reason == expected
    else:
        assert reason(caller, "alice") == expected
    if table == "person":
        sandbox.approve("token-of-bob")
        assert caller.answer(begun) == "closed"


def test_limits_and_records_can_be_deleted_there(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox
) -> None:
    caller.ask("alice")
    assert caller.ask("alice").authentication["queued"] is True
    # At once: a gateway that has read one of them would write it again.
    gateway_server.rows(
        "WITH no_sessions AS (DELETE FROM session), no_turns AS (DELETE FROM turn) DELETE FROM record"
    )
    assert "queued" not in caller.ask("alice").authentication
    assert gateway_server.records == []


# A backup


def everything(conninfo: str) -> str:
    """All rows of all tables, as text."""
    with psycopg.connect(conninfo, row_factory=dict_row) as connection:
        rows = [
            row
            for table in TABLES
            for row in connection.execute(f"SELECT * FROM {table}".encode()).fetchall()
        ]
    return "\n".join(
        f"{name}: {value.decode('latin-1') if isinstance(value, bytes) else value}"
        for row in rows
        for name, value in row.items()
    )


def test_a_backup_says_who_logs_in_where_and_holds_no_secret(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, conninfo: str
) -> None:
    async def invite(gateway: Gateway, connection: Connection) -> str:
        return (await joining.invite(gateway, connection, "servers", 1, 60, None, None))[1]

    word = gateway_server.transaction(invite)
    gateway_server.add_person("dave", "token-of-dave", ("staff",))
    gateway_server.transaction(
        lambda g, c: people.change(g, c, "dave", display_name="Dave D.", phone_number="+15551234567")
    )
    begun = caller.ask("alice", remote="192.0.2.7").authentication
    sandbox.deny(sandbox.wait_for_request("token-of-alice"))
    assert caller.answer(begun) == "cancelled"
    found = everything(conninfo)
    for plain in ("alice", "dave", "staff", f"name-of-{HOST}", "192.0.2.7"):
        assert plain in found, plain
    secrets = ["token-of-alice", "token-of-dave", "Dave D.", "+15551234567", HOST_SECRET, word.split(".")[1]]
    secrets += [begun["session_token"], begun["session_secret"], sandbox.application_secret]
    secrets += [sandbox.sessions[-1].token]
    for secret in secrets:
        assert secret not in found, secret


def test_a_backup_with_another_key_file_is_nobodys(gateway_server: RunningGateway, conninfo: str) -> None:
    for use in (lambda g, c: people.find(g, c, "alice"), lambda g, c: hosts.find(g, c, HOST)):
        with pytest.raises(Tampered):
            with_key(conninfo, bytes(32), use)


def test_a_backup_with_the_key_file_is_the_fleet(gateway_server: RunningGateway, conninfo: str) -> None:
    alice: Person = with_key(conninfo, KEY, lambda g, c: people.find(g, c, "alice"))
    assert alice.token == "token-of-alice"
    assert with_key(conninfo, KEY, lambda g, c: hosts.find(g, c, HOST)).secret == HOST_SECRET


# A gateway


def test_whoever_has_the_key_file_and_the_database_has_others_asked(
    gateway_server: RunningGateway, caller: HostCaller, sandbox: Sandbox, conninfo: str
) -> None:
    async def change(gateway: Gateway, connection: Connection) -> None:
        await people.remove(gateway, connection, "alice")
        await people.add(gateway, connection, Person("alice", "token-of-bob", ()))

    with_key(conninfo, KEY, change)
    assert approved(caller, sandbox, "token-of-bob")

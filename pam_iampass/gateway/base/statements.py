"""The statements that all rooms share: a row, several, one written, the time of the database."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Callable, TypeVar

from psycopg import sql
from psycopg.abc import Params
from psycopg.rows import DictRow

from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.keys import Tampered

R = TypeVar("R")


async def insert(connection: Connection, table: str, row: Mapping[str, Any]) -> None:
    """Insert a row with these columns, as `Connection.later`."""
    connection.later(_insert(table, tuple(row)), dict(row))


async def replace(connection: Connection, table: str, key: str, row: Mapping[str, Any]) -> None:
    """Write all columns of the row that has the same `key`, as `Connection.later`."""
    connection.later(_update(table, key, tuple(row)), dict(row))


# To quote the names takes longer than to execute the statement.
@functools.cache
def _insert(table: str, columns: tuple[str, ...]) -> bytes:
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join(map(sql.Placeholder, columns)),
    )
    return statement.as_bytes(None)


@functools.cache
def _update(table: str, key: str, columns: tuple[str, ...]) -> bytes:
    assignments = [
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Placeholder(name))
        for name in columns
        if name != key
    ]
    statement = sql.SQL("UPDATE {} SET {} WHERE {} = {}").format(
        sql.Identifier(table), sql.SQL(", ").join(assignments), sql.Identifier(key), sql.Placeholder(key)
    )
    return statement.as_bytes(None)


async def one(connection: Connection, statement: str, *values: object, **named: object) -> DictRow | None:
    """The first row that a SELECT finds, with its values by place or by name; None if there is none."""
    cursor = await connection.execute(statement.encode(), named or values)
    return await cursor.fetchone()


Statement = tuple[object, ...]
"""A SELECT, and its values by place, or all of them by name in one mapping."""


async def together(connection: Connection, *statements: Statement) -> list[list[DictRow]]:
    """As `many`, for several statements, which see what those before have waited for."""
    return await connection.together(
        [(str(query).encode(), _params(values)) for query, *values in statements]
    )


def _params(values: Sequence[object]) -> Params:
    return values[0] if len(values) == 1 and isinstance(values[0], Mapping) else values


async def each_one(connection: Connection, *statements: Statement) -> list[DictRow | None]:
    """As `one`, for several statements, which see what those before have waited for."""
    return [rows[0] if rows else None for rows in await together(connection, *statements)]


async def many(connection: Connection, statement: str, *values: object, **named: object) -> list[DictRow]:
    """All rows that a SELECT finds, with its values by place or by name."""
    cursor = await connection.execute(statement.encode(), named or values)
    return await cursor.fetchall()


async def by_name(
    connection: Connection,
    table: str,
    read: Callable[[DictRow], R],
    condition: str,
    values: Sequence[object],
    most: int | None,
) -> tuple[list[R], list[str]]:
    """Returns what `read` makes of the first rows by name that meet a condition of SQL, and the names in rows before
    these that no gateway has written. Such rows never hide a valid row."""
    found, tampered = list[R](), list[str]()
    further, after = "true", list[object]()
    while True:
        statement = f"SELECT * FROM {table} WHERE ({condition}) AND {further} ORDER BY name LIMIT %s"  # noqa: S608
        rows = await many(connection, statement, *values, *after, most)
        for row in rows:
            try:
                found.append(read(row))
            except Tampered:
                tampered.append(str(row["name"]))
            if len(found) == most:
                return found, tampered
        if most is None or len(rows) < most:
            return found, tampered
        further, after = "name > %s", [rows[-1]["name"]]


async def now(connection: Connection) -> datetime:
    """The database's time at the beginning of the transaction."""
    found = await one(connection, "SELECT now() AS now")
    assert found is not None  # noqa: S101 - a SELECT without FROM has a row
    moment: datetime = found["now"]
    return moment

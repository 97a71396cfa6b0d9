"""A connection to the primary PostgreSQL server, which sends several statements as one message."""

from __future__ import annotations

import asyncio
import enum
import math
import os
import re
import socket
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from typing import Any, Callable, TypeVar

import psycopg
from psycopg.abc import Params, PQGen, Query
from psycopg.rows import DictRow, RowMaker

from pam_iampass.gateway.base import reach

T = TypeVar("T")

# Statements see what those before them have waited for, whatever the database's default is.
_BEGIN = b"BEGIN ISOLATION LEVEL READ COMMITTED"
_WRITES = re.compile(rb"\b(INSERT|UPDATE|DELETE)\b")
_OTHERS_SECONDS = 1.0
"""How long a process that starts waits for further servers, once one takes writes."""


class Connection(psycopg.AsyncConnection[DictRow]):
    """A connection, and what is to be done once its transaction has been committed.

    A round trip costs more than most statements do. Statements whose result nobody waits for are sent together with the
    next one, and BEGIN is one of them. PostgreSQL takes several at a time only if psycopg has put the values into them,
    as in its `ClientCursor`.

    So a line can come before its effect (`later`, `take`, `after_commit`). Only functions that own a whole transaction
    order their effects in this way, and say so; others that lock and read name both statements in one call
    (`each_one`). Rows may be written later everywhere (`insert`, `replace`), since nobody reads them in the same
    transaction; what a process remembers of a row follows its commit.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.after_commit: list[Callable[[], None]] = []
        self.has_act = False
        """Whether this transaction records an act of an administrator."""
        self.lacked_room: psycopg.Error | None = None
        """The error of this transaction, if it writes and the disk of its server is full or has an I/O error."""
        self._writes = False
        self.used_at = -math.inf
        """`time.monotonic()` at the end of its last transaction."""
        self.history = ("", 0)
        """The system of its server, which a standby shares, and its timeline, which counts promotions."""
        self.started = ""
        """When its server was started."""
        self._before: list[bytes] = []
        self._merging: psycopg.AsyncClientCursor[DictRow] | None = None

    @classmethod
    async def connect(  # type: ignore[override]
        cls, conninfo: str = "", *, primary: Primary, **options: Any
    ) -> Connection:
        """A connection to the primary, as the pool makes it. Raises psycopg.Error."""

        async def connect(server: str) -> Connection:
            return await super(Connection, cls).connect(server, **options)

        return await primary.connect(connect)

    def take(self, what: Lock, whose: str) -> None:
        """Take a lock of this host or person with the next statement, for the transaction."""
        self.later("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (what.value, whose))

    def begin(self) -> None:
        """Begin a transaction with the next statement."""
        self._before = [_BEGIN]

    def take_time(self) -> None:
        """Let the statements of this transaction take as long as they need: no login waits for it."""
        self.later("SET LOCAL statement_timeout = 0")

    def later(self, statement: Query, values: Params | None = None) -> None:
        """Execute a statement before the next one, or before COMMIT: these raise its error, too."""
        self._before.append(self._whole(statement, values))

    async def execute(
        self, query: Query, params: Params | None = None, *, prepare: bool | None = None, binary: bool = False
    ) -> psycopg.AsyncCursor[DictRow]:
        """As in psycopg."""
        return await self._sent(self._whole(query, params))

    async def together(self, statements: Sequence[tuple[Query, Params]]) -> list[list[DictRow]]:
        """Execute statements one after the other, in one round trip; the rows of each."""
        cursor = await self._sent(*(self._whole(*each) for each in statements))
        found = []
        for _ in statements:
            found.append(await cursor.fetchall())
            cursor.nextset()
        return found

    async def _sent(self, *statements: bytes) -> psycopg.AsyncCursor[DictRow]:
        """A cursor at the result of the first of these, after what was to be executed before them."""
        before, self._before = self._before, []
        cursor = self.cursor()
        await cursor.execute(b";".join((*before, *statements)))
        for _ in before:
            cursor.nextset()
        return cursor

    async def flush(self) -> None:
        """Execute what was to be executed later. Raises its error."""
        before, self._before = self._before, []
        await super().execute(b";".join(before))

    async def commit(self) -> None:
        """As in psycopg; nothing if no statement was executed."""
        before, self._before = self._before, []
        if before != [_BEGIN]:
            await super().execute(b";".join((*before, b"COMMIT")))

    def clear(self) -> None:
        """Forget what was to be executed or done later."""
        self.after_commit.clear()
        self.has_act = self._writes = False
        self.lacked_room = None
        self._before = []

    async def wait(self, gen: PQGen[T], interval: float | None = None) -> T:
        """As in psycopg, without the timer for each statement with which it notices Ctrl-C: asyncio needs none."""
        try:
            return await super().wait(gen, None)
        except (psycopg.errors.DiskFull, psycopg.errors.IoError) as error:
            # A search that needs too much room for its temporary files says nothing about logins.
            if self._writes:
                self.lacked_room = error
            raise

    def _whole(self, statement: Query, values: Params | None) -> bytes:
        text = statement if isinstance(statement, bytes) else str(statement).encode()
        self._writes = self._writes or _WRITES.search(text) is not None
        if self._merging is None:  # after all types were registered
            self._merging = psycopg.AsyncClientCursor(self)
        return self._merging.mogrify(statement, values).encode()


Connect = Callable[[str], Awaitable[Connection]]


class Lock(enum.IntEnum):
    """Locks of all gateways, which end with the transaction. The numbers are arbitrary."""

    MIGRATIONS = 0x69616D70
    CODES = 0x69616D72
    """The lock of a host while its recovery codes are counted."""
    MESSAGES = 0x6D657373
    """The lock of a host while the messages that its logins have had sent are counted."""
    QUESTIONS = 0x70726573
    """The lock of a host while the questions for its starts are counted."""
    REPORTS = 0x72657073
    """The lock of a host while the logins that it reports are counted."""
    SHEETS = 0x73686565
    """The lock of all sheets of recovery codes while the codes of one file are committed."""
    STARTS = 0x73746172
    """The lock of a host while its requests that were not approved are counted."""
    TURNS = 0x7475726E
    """The lock of a person's turns, which may have no row yet."""


class DatabaseError(Exception):
    """The database did not do it; `str()` says why, for the journal."""


class DatabaseAway(DatabaseError):
    """There was no connection, or it failed before COMMIT was sent: nothing was written."""

    def __init__(self, what: str, *, unreachable: bool = False) -> None:
        super().__init__(what)
        self.unreachable = unreachable
        """Whether connecting failed by refusal, for want of a route, or at TCP's time-out, at each address. Never for
        a server that answers (too many clients, starting up) or for a failure of this machine (no descriptors)."""


class UnknownOutcome(DatabaseError):
    """The transaction may have been committed, or not."""


class WrongSchema(DatabaseError):
    """The tables are older than this gateway needs."""


def row_maker(cursor: psycopg.AsyncCursor[Any]) -> RowMaker[DictRow]:
    """A row as a mapping. If there are columns such as `"host:"`, it has a mapping for each of these, with the columns
    that follow it: several tables may have columns of the same name."""
    result = cursor.pgresult
    names = [] if result is None else [(result.fname(at) or b"").decode() for at in range(result.nfields)]
    begins = [at for at, name in enumerate(names) if name.endswith(":")]
    if not begins:
        return lambda values: dict(zip(names, values))
    parts = [
        (names[at][:-1], names[at + 1 : end], slice(at + 1, end))
        for at, end in zip(begins, [*begins[1:], len(names)])
    ]
    return lambda values: {name: dict(zip(columns, values[part])) for name, columns, part in parts}


class Primary:
    """Which of the servers of a connection string takes what is written.

    `target_session_attrs=read-write` also takes a primary that does not know that its standby was promoted, such as one
    whose machine was started again. A promotion begins a new timeline: of servers of one system, the one with the
    latest is the primary. A process connects to all servers first, and whenever it finds one started anew, since
    another one may have been promoted meanwhile. To one that was the primary before it connects never again.
    """

    def __init__(self, conninfo: str) -> None:
        self.servers = reach.servers(conninfo)
        """The one that was the primary last comes first: others may take long to refuse."""
        self.history = ("", 0)
        """As of a Connection."""
        self._started = ""

    @property
    def server(self) -> str:
        """The connection string of the server that was the primary last, once there was a connection."""
        return self.servers[0]

    async def connect(self, connect: Connect) -> Connection:
        """A connection to the primary. `connect` makes one to a server. Raises psycopg.Error."""
        if not self.history[0]:
            return await self._first(connect)
        failure: psycopg.Error = psycopg.OperationalError("the connection string names no server")
        for server in tuple(self.servers):
            try:
                connection = await _learned(connect, server)
                if connection.started == self._started:
                    return await self._used(server, connection)
                await connection.close()
                return await self._first(connect)
            except psycopg.Error as error:
                failure = error
        raise failure

    async def _first(self, connect: Connect) -> Connection:
        """As `connect`, after a look at all servers at the same time. Once one takes writes, the others have a second:
        the machine of a standby may be off."""
        tasks = {server: asyncio.create_task(_learned(connect, server)) for server in self.servers}
        left, seconds, used = set(tasks.values()), None, None
        try:
            while left:
                done, left = await asyncio.wait(left, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    break
                if any(task.exception() is None for task in done):
                    seconds = _OTHERS_SECONDS
            ended = {server: task for server, task in tasks.items() if task.done()}
            found = {server: task.result() for server, task in ended.items() if task.exception() is None}
            if not found:
                next(iter(tasks.values())).result()  # raises its error
            system = next(iter(found.values())).history[0]
            primary = max(
                found, key=lambda server: found[server].history[1] * (found[server].history[0] == system)
            )
            used = found[primary]
            return await self._used(primary, used)
        finally:
            for task in tasks.values():
                task.cancel()
            for each in await asyncio.gather(*tasks.values(), return_exceptions=True):
                if isinstance(each, Connection) and each is not used:
                    await each.close()

    async def _used(self, server: str, connection: Connection) -> Connection:
        """The connection. Raises OperationalError, and closes it, if its server is not the primary any more."""
        if connection.history[0] == self.history[0] and connection.history < self.history:
            await connection.close()
            raise psycopg.OperationalError("this server is not the primary any more")
        self.history, self._started = connection.history, connection.started
        self.servers.remove(server)
        self.servers.insert(0, server)
        return connection


async def _learned(connect: Connect, server: str) -> Connection:
    """A connection to a server, which knows its history. Raises psycopg.Error."""
    connection = await connect(server)
    asked = asyncio.create_task(_history(connection))
    try:
        connection.history, connection.started = await asyncio.wait_for(
            asyncio.shield(asked), reach.CONNECT_SECONDS
        )
    except BaseException as error:
        # Cancelled, it would wait for its server, which may hang; without one it fails at once.
        if not asked.done():
            with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as of_server:
                of_server.shutdown(socket.SHUT_RDWR)
        await asyncio.gather(asked, return_exceptions=True)
        await connection.close()
        if isinstance(error, TimeoutError):
            raise psycopg.OperationalError("this server does not answer") from None
        raise
    return connection


async def _history(connection: Connection) -> tuple[tuple[str, int], str]:
    """The history of a connection's server, and when that was started. Raises psycopg.Error."""
    # Not by `execute` of this connection, whose types are not registered yet.
    cursor = await connection.cursor().execute(
        "SELECT system_identifier::text AS system, pg_postmaster_start_time()::text AS started,"
        " ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int AS timeline"
        " FROM pg_control_system()"
    )
    row = await cursor.fetchone()
    assert row is not None  # noqa: S101 - the function returns a row
    return (row["system"], row["timeline"]), row["started"]

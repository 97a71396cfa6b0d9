"""The database of the gateways: connections, transactions, and whether a failure shows that nothing has happened.

Statements are plain SQL, and locks belong to rows and transactions, so that a pooler may stand in between. The
database's clock counts. Its tables are made by the numbered files in `migrations/`, never when a gateway starts.

    DatabaseError
    ├── DatabaseAway        no connection, or it has failed before COMMIT was sent
    ├── UnknownOutcome      the connection has failed at COMMIT, or PostgreSQL has warned: it may have happened
    └── WrongSchema         the tables are older than this gateway
"""

from __future__ import annotations

import asyncio
import logging
import math
import select
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Callable
from weakref import WeakValueDictionary

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.types.json import JsonbDumper
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from pam_iampass.client.connection import Deadline
from pam_iampass.gateway.base import metrics, migration, reach
from pam_iampass.gateway.base.connection import (
    Connection,
    DatabaseAway,
    DatabaseError,
    Lock,
    Primary,
    UnknownOutcome,
    row_maker,
)

# The pool reports a failure at each attempt of each connection; the caller that needs one reports it once.
logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)

TIMEOUTS = {"lock_timeout": "5s", "statement_timeout": "10s", "idle_in_transaction_session_timeout": "4s"}
"""The time-outs, as PostgreSQL writes them. A migration waits for locks for less time. A transaction that goes no
further ends before others give up waiting for its locks: its gateway may have lost its power. The time of a statement
does not run during COMMIT: PostgreSQL stops it first, as long as statements are sent in its simple protocol."""
_ASKED_AFTER_SECONDS = 1.0
"""A connection that was idle for so long is asked whether the database is still there."""
_OWN_CONNECTIONS = 2
"""Connections that requests leave to the gateway's own work, such as to watch what is on a phone."""
_WHOSE: ContextVar[str | None] = ContextVar("whose", default=None)
_KNOWN: ContextVar[bool] = ContextVar("known", default=True)
_WAIT_SECONDS = 10.0
"""How long what has begun waits until one of the connections is free."""


def work_for(whose: str, *, known: bool = True) -> None:
    """Count the work of this task from here on, and of tasks that it begins, for this host or address: each has at most
    half of the connections at the same time.

    If there is more to do than can be done, requests whose signature is not checked yet (not `known`) give up first:
    they have cost least.
    """
    _WHOSE.set(whose)
    _KNOWN.set(known)


class Database:
    """A pool of connections to the database that `conninfo` names (libpq). Use it as an async context manager."""

    def __init__(self, conninfo: str, *, connections: int = 10) -> None:
        self._conninfo = make_conninfo(
            conninfo,
            application_name="pam-iampass-gateway",
            target_session_attrs="read-write",
            connect_timeout=int(reach.CONNECT_SECONDS),
            keepalives_idle=10,
            tcp_user_timeout=10_000,
            # A pooler may not pass these on (docs/fleet/gateway-several.md): check looks.
            options=" ".join(f"-c {name}={value}" for name, value in {"timezone": "UTC", **TIMEOUTS}.items()),
        )
        self._primary = Primary(self._conninfo)
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            self._conninfo,
            connection_class=Connection,
            kwargs=self._options(),
            min_size=1,
            max_size=connections,
            timeout=reach.CONNECT_SECONDS,
            # A connection that has died while it was idle is replaced before it is used.
            check=self._check,
            # An attempt waits twice as long after each failure. Given up so soon, the next caller that needs a
            # connection begins a new one: otherwise it would be half as long as the outage until one is made again.
            reconnect_timeout=2.0,
            configure=_configure,
            open=False,
        )
        self.after_act: Callable[[], Awaitable[None]] | None = None
        """Called after the commit of each transaction that records an act of an administrator."""
        self.lacked_room_at = -math.inf
        """The `time.monotonic()` at which a transaction that writes has failed because the disk of the database was
        full or had an I/O error."""
        self.say: Callable[[str, str], object] = lambda what, why: None
        """Is told of what people have to know who look for the cause of failed logins, and why it is so."""
        self._share = max(1, connections // 2)
        self._shares: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._for_requests = asyncio.Semaphore(max(1, connections - _OWN_CONNECTIONS))

    def _options(self) -> dict[str, Any]:
        """The options of a connection. A pooler in between knows no prepared statements."""
        return {
            "primary": self._primary,
            "row_factory": row_maker,
            "prepare_threshold": None,
            "autocommit": True,
        }

    @property
    def server(self) -> str:
        """The connection string of the server that takes what is written, for another program; of any one before there
        was a connection. As in the settings, it has no password."""
        return self._primary.server

    async def __aenter__(self) -> Database:
        await self._pool.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._pool.close(timeout=reach.CONNECT_SECONDS)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection. What is done with it happens when the block ends, whole or not at all; not if it raises.

        Raises DatabaseAway, UnknownOutcome, and the other errors of psycopg as they are.
        """
        async with self._held() as connection:
            connection.begin()
            try:
                yield connection
            except (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout) as error:
                raise _counted(DatabaseAway(f"the database has failed: {_line(error)}")) from None
            with _known(connection):
                await connection.commit()
            for each in connection.after_commit:
                each()
            has_act = connection.has_act
        if has_act and self.after_act is not None:
            await self.after_act()

    @asynccontextmanager
    async def statement(self) -> AsyncIterator[Connection]:
        """A connection for one statement, which is a transaction of its own: it happens at once. Raises as
        `transaction`; UnknownOutcome whenever the connection fails."""
        async with self._held() as connection:
            with _known(connection):
                yield connection

    @asynccontextmanager
    async def aside(self) -> AsyncIterator[Connection]:
        """A connection beside the pool, for statements that show why all of the pool hang. Raises psycopg.Error."""
        connection = await Connection.connect(self._conninfo, **self._options())
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def _held(self) -> AsyncIterator[Connection]:
        with ExitStack() as turn:
            connection = await self._connection(turn)
            try:
                yield connection
            finally:
                if connection.lacked_room is not None:
                    self._note_lack_of_room(connection.lacked_room)
                connection.clear()
                status = connection.info.transaction_status
                if status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
                    with suppress(psycopg.Error):
                        await connection.rollback()  # as the pool would, which warns of it
                elif status is TransactionStatus.ACTIVE:  # of a statement that was cancelled
                    await connection.close()  # a pool that closes meanwhile would never do so
                connection.used_at = time.monotonic()
                await self._pool.putconn(connection)

    def _note_lack_of_room(self, error: psycopg.Error) -> None:
        self.lacked_room_at = time.monotonic()
        self.say("the disk of the database is full or has an error, and logins fail", _line(error))

    async def _take_turn(self, turn: ExitStack) -> None:
        """Wait until a host or address may have one more connection. Raises TimeoutError."""
        whose, known = _WHOSE.get(), _KNOWN.get()
        if whose is None:
            return
        until = Deadline.after(_WAIT_SECONDS if known else reach.CONNECT_SECONDS)
        # Kept while a transaction holds or awaits a part of it.
        share = self._shares.setdefault(whose, asyncio.Semaphore(self._share))
        for each in (share, self._for_requests):
            # To wait with a time-out costs more than all the rest.
            await (asyncio.wait_for(each.acquire(), until.remaining()) if each.locked() else each.acquire())
            turn.callback(each.release)

    async def _connection(self, turn: ExitStack) -> Connection:
        try:
            try:
                await self._take_turn(turn)
            except TimeoutError:  # nobody has tried to connect, and many who wait must not begin to
                raise _counted(DatabaseAway("no connection to the database: all are in use")) from None
            return await self._pool.getconn(reach.CONNECT_SECONDS)
        except (TimeoutError, PoolTimeout, psycopg.OperationalError) as error:
            # The pool says the same when the database refuses and when all connections are in use.
            unreachable = await reach.is_unreachable(self._conninfo)
            why = "it cannot be reached" if unreachable else _line(error) or "all are in use"
            away = DatabaseAway(f"no connection to the database: {why}", unreachable=unreachable)
            self.say("the database does not answer this gateway", why)
            raise _counted(away) from None

    async def _check(self, connection: Connection) -> None:
        """Raises OperationalError if the connection has ended, or its server is not the primary any more. PostgreSQL
        says nothing on an idle one unless it ends it, so that one in frequent use costs no question to the database."""
        if connection.history != self._primary.history:
            await connection.close()  # one that works stays in the pool
            raise psycopg.OperationalError("another server was promoted")
        poller = select.poll()
        poller.register(connection.fileno(), select.POLLIN)
        if poller.poll(0) or time.monotonic() - connection.used_at > _ASKED_AFTER_SECONDS:
            await AsyncConnectionPool.check_connection(connection)

    def connections(self) -> Mapping[str, int]:
        """How many connections there are (`pool_size`), are free (`pool_available`), and may be (`pool_max`), and how
        many transactions wait for one (`requests_waiting`)."""
        return self._pool.get_stats()

    async def require_schema(self) -> int:
        """The version of the tables. Raises WrongSchema unless all migrations of this version were made, and
        DatabaseError, which has the words of PostgreSQL if it takes no connection."""
        try:
            async with self.transaction() as connection:
                return await migration.require_schema(connection)
        except DatabaseAway as away:
            said = await self._refusal()
            raise DatabaseAway(said, unreachable=away.unreachable) if said else away from None

    async def _refusal(self) -> str:
        """Why PostgreSQL takes no connection; empty if it does."""
        try:
            connection = await psycopg.AsyncConnection.connect(self._conninfo)
        except psycopg.Error as error:
            return _line(error)
        await connection.close()
        return ""


@contextmanager
def _known(connection: Connection) -> Iterator[None]:
    """Raise UnknownOutcome for a block that commits, unless the database says whether it has been committed."""
    warnings: list[str] = []

    def warned(notice: psycopg.errors.Diagnostic) -> None:
        warnings.append(notice.message_primary or "")

    connection.add_notice_handler(warned)
    try:
        yield
    except psycopg.IntegrityError:
        raise
    except psycopg.Error as error:
        raise _counted(UnknownOutcome(f"the database has failed at COMMIT: {_line(error)}")) from None
    finally:
        connection.remove_notice_handler(warned)
    if warnings:
        raise _counted(UnknownOutcome(f"the database has warned at COMMIT: {warnings[0]}"))


def _counted(error: DatabaseError) -> DatabaseError:
    metrics.DATABASE_FAILURES.labels("unknown" if isinstance(error, UnknownOutcome) else "away").inc()
    return error


async def _configure(connection: Connection) -> None:
    connection.adapters.register_dumper(dict, JsonbDumper)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


async def migrate(database: Database) -> tuple[int, int]:
    """Make the migrations that are missing, each in a transaction. Returns the versions before and after.

    Gateways of the release before go on working: migrations only add, columns without a default, and each changes one
    table. So one that waits for its table holds no lock that a gateway waits for, and after 2 s it gives up: gateways
    wait for longer. Raises DatabaseError and psycopg.Error.
    """
    before: int | None = None
    while True:
        async with database.transaction() as connection:
            connection.take_time()
            await connection.execute("SET LOCAL lock_timeout = '2s'")
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (Lock.MIGRATIONS.value,))
            version = await migration.schema_version(connection)
            before = version if before is None else before
            if version >= len(migration.migrations()):
                return before, version
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS schema_version (version integer PRIMARY KEY)"
            )
            try:
                await connection.execute(migration.migrations()[version].encode())
            except psycopg.errors.LockNotAvailable as error:
                what = "another transaction, such as that of a backup, has held a lock for 2 s, and nothing was changed"
                where = error.diag.context or ""
                raise DatabaseError(f"{what}; run this again. {where}".strip()) from None
            await connection.execute("INSERT INTO schema_version VALUES (%s)", (version + 1,))

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
import enum
import errno
import functools
import logging
import math
import os
import re
import select
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from datetime import datetime
from importlib import resources
from typing import Any, Callable, TypeVar, Union
from weakref import WeakValueDictionary

import psycopg
from psycopg import sql
from psycopg.abc import Params, PQGen, Query
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, RowMaker
from psycopg.types.json import JsonbDumper
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from pam_iampass.client.connection import Deadline
from pam_iampass.gateway.base import metrics, tcp

T = TypeVar("T")

# Statements see what those before them have waited for, whatever the database's default is.
_BEGIN = b"BEGIN ISOLATION LEVEL READ COMMITTED"


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
            if (
                self._writes
            ):  # a search that needs too much room for its temporary files says nothing about logins
                self.lacked_room = error
            raise

    def _whole(self, statement: Query, values: Params | None) -> bytes:
        text = statement if isinstance(statement, bytes) else str(statement).encode()
        self._writes = self._writes or _WRITES.search(text) is not None
        if self._merging is None:  # after all types were registered
            self._merging = psycopg.AsyncClientCursor(self)
        return self._merging.mogrify(statement, values).encode()


Connect = Callable[[str], Awaitable[Connection]]


class Primary:
    """Which of the servers of a connection string takes what is written.

    `target_session_attrs=read-write` also takes a primary that does not know that its standby was promoted, such as one
    whose machine was started again. A promotion begins a new timeline: of servers of one system, the one with the
    latest is the primary. A process connects to all servers first, and whenever it finds one started anew, since
    another one may have been promoted meanwhile. To one that was the primary before it connects never again.
    """

    def __init__(self, conninfo: str) -> None:
        self._servers = _servers(conninfo)
        """The one that was the primary last comes first: others may take long to refuse."""
        self.history = ("", 0)
        """As of a Connection."""
        self._started = ""

    @property
    def server(self) -> str:
        """The connection string of the server that was the primary last, once there was a connection."""
        return self._servers[0]

    async def connect(self, connect: Connect) -> Connection:
        """A connection to the primary. `connect` makes one to a server. Raises psycopg.Error."""
        if not self.history[0]:
            return await self._first(connect)
        failure: psycopg.Error = psycopg.OperationalError("the connection string names no server")
        for server in tuple(self._servers):
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
        tasks = {server: asyncio.create_task(_learned(connect, server)) for server in self._servers}
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
        self._servers.remove(server)
        self._servers.insert(0, server)
        return connection


async def _learned(connect: Connect, server: str) -> Connection:
    """A connection to a server, which knows its history. Raises psycopg.Error."""
    connection = await connect(server)
    asked = asyncio.create_task(_history(connection))
    try:
        connection.history, connection.started = await asyncio.wait_for(
            asyncio.shield(asked), CONNECT_SECONDS
        )
    except BaseException as error:
        if (
            not asked.done()
        ):  # cancelled, it would wait for its server, which may hang; without one it fails at once
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


Address = Union[str, tuple[str, int]]
"""The path of a socket, or host and port."""

# The pool reports a failure at each attempt of each connection; the caller that needs one reports it once.
logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)

TIMEOUTS = {"lock_timeout": "5s", "statement_timeout": "10s", "idle_in_transaction_session_timeout": "4s"}
"""The time-outs, as PostgreSQL writes them. A migration waits for locks for less time. A transaction that goes no
further ends before others give up waiting for its locks: its gateway may have lost its power. The time of a statement
does not run during COMMIT: PostgreSQL stops it first, as long as statements are sent in its simple protocol."""
CONNECT_SECONDS = 3.0
"""How long one waits for a connection, and for TCP to say whether the database can be reached."""
_ASKED_AFTER_SECONDS = 1.0
"""A connection that was idle for so long is asked whether the database is still there."""
_OTHERS_SECONDS = 1.0
"""How long a process that starts waits for further servers, once one takes writes."""
_OWN_CONNECTIONS = 2
"""Connections that requests leave to the gateway's own work, such as to watch what is on a phone."""
_WHOSE: ContextVar[str | None] = ContextVar("whose", default=None)
_KNOWN: ContextVar[bool] = ContextVar("known", default=True)
_WAIT_SECONDS = 10.0
"""How long what has begun waits until one of the connections is free."""
_WRITES = re.compile(rb"\b(INSERT|UPDATE|DELETE)\b")
_FAR_SIDE = {errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT}


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


def work_for(whose: str, *, known: bool = True) -> None:
    """Count the work of this task from here on, and of tasks that it begins, for this host or address: each has at most
    half of the connections at the same time.

    If there is more to do than can be done, requests whose signature is not checked yet (not `known`) give up first:
    they have cost least.
    """
    _WHOSE.set(whose)
    _KNOWN.set(known)


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


class Database:
    """A pool of connections to the database that `conninfo` names (libpq). Use it as an async context manager."""

    def __init__(self, conninfo: str, *, connections: int = 10) -> None:
        self._conninfo = make_conninfo(
            conninfo,
            application_name="pam-iampass-gateway",
            target_session_attrs="read-write",
            connect_timeout=int(CONNECT_SECONDS),
            keepalives_idle=10,
            tcp_user_timeout=10_000,
            # A pooler may not pass these on (docs/gateway-several.md): doctor looks.
            options=" ".join(f"-c {name}={value}" for name, value in {"timezone": "UTC", **TIMEOUTS}.items()),
        )
        self._primary = Primary(self._conninfo)
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            self._conninfo,
            connection_class=Connection,
            kwargs=self._options(),
            min_size=1,
            max_size=connections,
            timeout=CONNECT_SECONDS,
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
            "row_factory": _row,
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
        await self._pool.close(timeout=CONNECT_SECONDS)

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
        until = Deadline.after(_WAIT_SECONDS if known else CONNECT_SECONDS)
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
            return await self._pool.getconn(CONNECT_SECONDS)
        except (TimeoutError, PoolTimeout, psycopg.OperationalError) as error:
            # The pool says the same when the database refuses and when all connections are in use.
            unreachable = await is_unreachable(self._conninfo)
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
                return await require_schema(connection)
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


async def is_unreachable(conninfo: str) -> bool:
    """Whether each address of the database refuses connections, has no route, or does not answer TCP."""
    for address in _addresses(conninfo):
        try:
            await _reach(address)
        except TimeoutError:
            continue
        except OSError as error:
            # Without a server there is no socket.
            if error.errno in _FAR_SIDE or (isinstance(address, str) and error.errno == errno.ENOENT):
                continue
        return False
    return True


async def _reach(address: Address) -> None:
    """Connect. Raises TimeoutError only if TCP was not answered."""
    if isinstance(address, str):
        _, writer = await asyncio.open_unix_connection(address)
        writer.close()
        return
    lookup = asyncio.get_running_loop().getaddrinfo(*address, type=socket.SOCK_STREAM)
    try:
        found = await asyncio.wait_for(lookup, CONNECT_SECONDS)
    except TimeoutError:
        raise OSError("the name was not looked up in time") from None
    (await tcp.first_reachable(found, Deadline.after(CONNECT_SECONDS))).close()


def _servers(conninfo: str) -> list[str]:
    """A connection string for each server that this one names."""
    values = conninfo_to_dict(conninfo)
    values.setdefault("host", os.environ.get("PGHOST"))
    given = {name: str(values[name]).split(",") for name in ("host", "hostaddr", "port") if values.get(name)}
    several = max((len(given[name]) for name in ("host", "hostaddr") if name in given), default=1)
    return [
        make_conninfo(conninfo, **{name: each[min(at, len(each) - 1)] for name, each in given.items()})
        for at in range(several)
    ]


def _addresses(conninfo: str) -> list[Address]:
    """Where libpq connects to."""
    found: list[Address] = []
    for server in map(conninfo_to_dict, _servers(conninfo)):
        host = str(server.get("hostaddr") or server.get("host") or "/var/run/postgresql")
        port = str(server.get("port") or os.environ.get("PGPORT") or "5432")
        found.append(f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, int(port)))
    return found


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


# Rows


def _row(cursor: psycopg.AsyncCursor[Any]) -> RowMaker[DictRow]:
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


async def one(connection: Connection, statement: str, *values: object) -> DictRow | None:
    """The first row that a SELECT finds; None if there is none."""
    cursor = await connection.execute(statement.encode(), values)
    return await cursor.fetchone()


Statement = tuple[object, ...]
"""A SELECT, and its values."""


async def together(connection: Connection, *statements: Statement) -> list[list[DictRow]]:
    """As `many`, for several statements, which see what those before have waited for."""
    return await connection.together([(str(query).encode(), values) for query, *values in statements])


async def each_one(connection: Connection, *statements: Statement) -> list[DictRow | None]:
    """As `one`, for several statements, which see what those before have waited for."""
    return [rows[0] if rows else None for rows in await together(connection, *statements)]


async def many(connection: Connection, statement: str, *values: object) -> list[DictRow]:
    """All rows that a SELECT finds."""
    cursor = await connection.execute(statement.encode(), values)
    return await cursor.fetchall()


async def now(connection: Connection) -> datetime:
    """The database's time at the beginning of the transaction."""
    found = await one(connection, "SELECT now() AS now")
    assert found is not None  # noqa: S101 - a SELECT without FROM has a row
    moment: datetime = found["now"]
    return moment


# Migrations


@functools.cache
def migrations() -> Sequence[str]:
    """The SQL of each migration, the first one first."""
    folder = resources.files("pam_iampass.gateway") / "migrations"
    files = sorted(
        (file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name
    )
    return [file.read_text(encoding="utf-8") for file in files]


async def _schema_version(connection: Connection) -> int:
    exists = await one(connection, "SELECT to_regclass('schema_version') IS NOT NULL AS exists")
    if exists is None or not exists["exists"]:
        return 0
    found = await one(connection, "SELECT max(version) AS version FROM schema_version")
    return int(found["version"] or 0) if found else 0


async def require_schema(connection: Connection) -> int:
    """The version of the tables. Raises WrongSchema unless all migrations of this version were made."""
    version, wanted = await _schema_version(connection), len(migrations())
    if version < wanted:
        what = f"the tables have version {version}, and this gateway needs {wanted}"
        raise WrongSchema(f"{what}: run pam-iampass-gateway migrate")
    return version


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
            version = await _schema_version(connection)
            before = version if before is None else before
            if version >= len(migrations()):
                return before, version
            await connection.execute(
                "CREATE TABLE IF NOT EXISTS schema_version (version integer PRIMARY KEY)"
            )
            try:
                await connection.execute(migrations()[version].encode())
            except psycopg.errors.LockNotAvailable as error:
                what = "another transaction, such as that of a backup, has held a lock for 2 s, and nothing was changed"
                where = error.diag.context or ""
                raise DatabaseError(f"{what}; run this again. {where}".strip()) from None
            await connection.execute("INSERT INTO schema_version VALUES (%s)", (version + 1,))

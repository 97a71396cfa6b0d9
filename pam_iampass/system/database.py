"""The one file in which the agent keeps what it must not forget: SQLite, with one connection in one process.

What must outlast a loss of power (codes and bypasses) is synced before `transaction` returns (`durable`). The rest
outlasts the process, which is enough: it counts only until the next boot.

Limits and bypasses are read once, so that only codes are refused while the file cannot be written. Nothing repairs the
file: a new one would void all codes, and a restored copy can make used codes valid again. JSON files under locks (until
0.2) took 0.53 ms of CPU to count a login; this takes 0.07 ms. State at IAMPASS would be lost in an outage.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Callable

from pam_iampass.errors import StateError, UntrustedFile
from pam_iampass.system import atomic_write, paths
from pam_iampass.system.accounts import user_name
from pam_iampass.system.boot import boot_id
from pam_iampass.system.trusted_folder import kind_of, mode_of, open_trusted_folder, shell_word

APPLICATION_ID = 0x69616D70
"""Marks the file as ours (`PRAGMA application_id`)."""
VERSION = 2
"""The version of the tables (`PRAGMA user_version`)."""
RESERVE = 1024 * 1024
"""Bytes that are free in the file, and as many again in its log: what a full disk cannot take."""
LOG_PAGES = 128
"""The number of pages at which the log is written to the file and begins anew, long before it outgrows the reserve."""
OPEN_INTERVAL = 5.0
"""Where the file cannot be opened, how long until it is tried again. Seconds."""

# The columns of a primary key come first: else quick_check of SQLite 3.40 (Debian 12) reports NULLs that are none.
_TABLES = """
CREATE TABLE reserve (zeros BLOB NOT NULL);
CREATE TABLE limits (person BLOB PRIMARY KEY, boot TEXT NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE codes (
    person BLOB NOT NULL, place INTEGER NOT NULL, salt TEXT NOT NULL, hash TEXT NOT NULL,
    made_at REAL NOT NULL, used_at REAL, PRIMARY KEY (person, place)) WITHOUT ROWID;
CREATE TABLE bypasses (
    person BLOB NOT NULL, service BLOB NOT NULL, uid INTEGER, seconds REAL NOT NULL,
    boot TEXT, since_boot REAL NOT NULL, wall REAL NOT NULL, made_by BLOB NOT NULL, reason TEXT NOT NULL,
    survives_reboot INTEGER NOT NULL, PRIMARY KEY (person, service)) WITHOUT ROWID;
CREATE TABLE sessions (id TEXT PRIMARY KEY, boot TEXT NOT NULL, content TEXT NOT NULL);
CREATE TABLE reports (login TEXT PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE lost_phones (
    person BLOB NOT NULL, application TEXT NOT NULL, token TEXT NOT NULL, config TEXT NOT NULL,
    PRIMARY KEY (person, application, token)) WITHOUT ROWID;
"""
_RESTART = "systemctl restart pam-iampass-agent"
_DISK = "look at the disk: is it full, or read-only?"


class Database:
    """The file at `path`, opened at the first use."""

    def __init__(
        self,
        path: str = paths.STATE,
        *,
        boot: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        report: Callable[[StateError | None], None] = lambda _problem: None,
    ) -> None:
        """`boot` is the id of the boot, by default of this one.

        `report` is called with the problem where the file cannot be used, and with None once it can again.
        """
        self.path = path
        self.boot = boot or boot_id() or secrets.token_hex(16)
        """The boot in which rows are written that count until the next one."""
        self.lock = threading.RLock()
        """Guards the connection, and whatever in memory has to agree with the file."""
        self.problem: StateError | None = None
        """Why it cannot be used; None once something has been written again."""
        self.on_open: list[Callable[[sqlite3.Connection], None]] = []
        """Called once the file is open, under the lock: to read what is to be kept in memory."""
        self._clock = clock
        self._report = report
        self._connection: sqlite3.Connection | None = None
        self._identity = (0, 0)
        self._next_try = -OPEN_INTERVAL

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """A change that happens whole or not at all.

        With `durable` it is on the disk when this returns. Raises StateError: then nothing has changed.
        """
        with self._used() as connection:
            self._make_reserve(connection)
            before = connection.total_changes
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            if connection.total_changes != before:
                self._works()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, to read. Raises StateError."""
        with self._used() as connection:
            yield connection

    def open(self) -> None:
        """Open the file now; a problem is reported, and it is tried again later."""
        with suppress(StateError), self.reading():
            pass

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self.lock:
            if self._connection is not None:
                with suppress(sqlite3.Error):
                    self._connection.close()
            self._connection, self._next_try = None, -OPEN_INTERVAL

    @contextmanager
    def _used(self) -> Iterator[sqlite3.Connection]:
        with self.lock:
            try:
                yield self._opened()
            except sqlite3.Error as error:
                problem = self._explained(error)
            except StateError as error:
                problem = error
            else:
                return
            if self.problem is None:
                self._report(problem)
            self.problem = problem
            raise problem

    def _opened(self) -> sqlite3.Connection:
        """The connection. Raises StateError and sqlite3.Error."""
        if self._connection is not None:
            self._check_in_place()
            return self._connection
        if self.problem is not None and self._clock() < self._next_try:
            raise self.problem
        self._next_try = self._clock() + OPEN_INTERVAL
        self._prepare()
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=0.0)
        try:
            self._set_up(connection)
            self._identity = _identity(self.path)
            for read in self.on_open:
                read(connection)
        except (AttributeError, TypeError, ValueError):
            connection.close()
            raise StateError(f"{self.path}: is damaged: a row has no meaning", self._anew) from None
        except BaseException:
            with suppress(sqlite3.Error):
                connection.close()
            raise
        self._connection = connection
        self._works()
        return connection

    def _works(self) -> None:
        if self.problem is not None:
            self.problem = None
            self._report(None)

    def _prepare(self) -> None:
        """Check the folder and the files; make the file if there is none. Raises StateError."""
        parent, name = os.path.split(self.path)
        try:
            folder = open_trusted_folder(parent, os.geteuid())
        except UntrustedFile as error:
            raise StateError(str(error), "systemd-tmpfiles --create") from None
        try:
            self._check(parent, os.fstat(folder), stat.S_ISDIR)
            for each in (name, f"{name}-wal", f"{name}-journal"):
                try:
                    found = os.stat(each, dir_fd=folder, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                self._check(f"{parent}/{each}", found, stat.S_ISREG)
            with suppress(FileExistsError):
                os.close(atomic_write.create(folder, name))
                atomic_write.sync(folder)
        except OSError as error:
            raise StateError(f"{self.path}: cannot be opened: {error.strerror}", _DISK) from None
        finally:
            os.close(folder)

    def _check(self, path: str, found: os.stat_result, is_right: Callable[[int], bool]) -> None:
        if not is_right(found.st_mode):
            raise StateError(f"{path}: is {kind_of(found.st_mode)}", f"remove it: rm -r {shell_word(path)}")
        if found.st_uid != os.geteuid():
            what = f"belongs to user {user_name(found.st_uid)}, not to {user_name(os.geteuid())}, who the agent runs as"
            raise StateError(f"{path}: {what}", f"chown _iampass: {shell_word(path)}")
        if found.st_mode & 0o077:
            raise StateError(f"{path}: is open to others ({mode_of(found)})", f"chmod go= {shell_word(path)}")

    def _set_up(self, connection: sqlite3.Connection) -> None:
        """Look whether the file is ours and whole; make the tables in an empty one. Raises as `_opened`."""
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA trusted_schema = OFF")
        (ident,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        is_empty = (ident, version, tables) == (0, 0, 0)
        if not is_empty and ident != APPLICATION_ID:
            raise StateError(f"{self.path}: is not a file of pam-iampass", self._anew)
        if not is_empty and version != VERSION:
            raise StateError(f"{self.path}: was written by another version of pam-iampass", self._anew)
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StateError(f"{self.path}: this file system allows no log (WAL)", _DISK)
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}")
        if is_empty:
            marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
            connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} {marks} COMMIT;")
        elif (found := connection.execute("PRAGMA quick_check(1)").fetchall()) != [("ok",)]:
            raise StateError(f"{self.path}: is damaged: {found[0][0]}", self._anew)
        self._make_reserve(connection, log=True)

    def _make_reserve(self, connection: sqlite3.Connection, *, log: bool = False) -> None:
        """See that pages are free in the file, and with `log` that its log is as long. A full disk is no error here.

        Only this makes the file longer. So on a full disk no change begins that could not be brought from the log to
        the file, which would stop all others: codes can still be spent once no new row has room.
        """
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        if not log and free * size >= RESERVE / 2:
            return
        with suppress(sqlite3.Error, OSError):
            disk = os.statvfs(self.path)
            if disk.f_bavail * disk.f_frsize >= 4 * RESERVE:
                connection.execute("PRAGMA max_page_count = 1073741823").fetchall()
                connection.execute("INSERT INTO reserve VALUES (zeroblob(?))", (RESERVE,))
        with suppress(sqlite3.Error):
            connection.execute("DELETE FROM reserve")
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            connection.execute("PRAGMA max_page_count = 1").fetchall()  # the pages that there are

    def _check_in_place(self) -> None:
        """Raises StateError where the file has been replaced or removed: what is written would be lost."""
        try:
            in_place = _identity(self.path) == self._identity
        except OSError:
            in_place = False
        if not in_place:
            raise StateError(f"{self.path}: was replaced or removed while the agent used it", _RESTART)

    def _explained(self, error: sqlite3.Error) -> StateError:
        text = str(error)
        if "locked" in text:
            return StateError(f"{self.path}: another process has it open", "let only one agent run")
        if "malformed" in text or "not a database" in text:
            return StateError(f"{self.path}: is damaged: {text}", self._anew)
        return StateError(f"{self.path}: cannot be read or written: {text}", _DISK)

    @property
    def _anew(self) -> str:
        path = shell_word(self.path)
        what = "codes, bypasses and reports of lost phones (repeat them: pam-iampass phone lost)"
        return f"restore a backup, or begin anew without {what}: rm {path} {path}-wal; {_RESTART}"


def encoded(text: str) -> bytes:
    """A name as it is stored: one that NSS has need not be UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def decoded(data: bytes) -> str:
    """A name that was stored."""
    return data.decode("utf-8", "surrogateescape")


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path, follow_symlinks=False)
    return found.st_dev, found.st_ino

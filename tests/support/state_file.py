"""An agent's file in which nothing can be written, or that a slow disk keeps busy."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator

from pam_iampass.system.database import Database


@contextlib.contextmanager
def unwritable(database: Database) -> Iterator[None]:
    """Every change fails, as on a disk that has become read-only; reading goes on."""
    with database.reading() as connection:
        connection.execute("PRAGMA query_only = ON")
    try:
        yield
    finally:
        with database.reading() as connection:
            connection.execute("PRAGMA query_only = OFF")


@contextlib.contextmanager
def uncommittable(database: Database) -> Iterator[None]:
    """Every change fails when it is to be committed, as on a disk that has become full meanwhile."""

    def authorize(action: int, what: str | None, *_more: str | None) -> int:
        is_commit = action == sqlite3.SQLITE_TRANSACTION and what == "COMMIT"
        return sqlite3.SQLITE_DENY if is_commit else sqlite3.SQLITE_OK

    with database.reading() as connection:
        connection.set_authorizer(authorize)
    try:
        yield
    finally:
        with database.reading() as connection:
            connection.set_authorizer(lambda *_: sqlite3.SQLITE_OK)


@contextlib.contextmanager
def busy(database: Database) -> Iterator[None]:
    """Another thread is in the middle of a change, as while the disk does not answer."""
    begun, over = threading.Event(), threading.Event()

    def change() -> None:
        with database.transaction():
            begun.set()
            over.wait(60)

    thread = threading.Thread(target=change)
    thread.start()
    assert begun.wait(20)
    try:
        yield
    finally:
        over.set()
        thread.join()

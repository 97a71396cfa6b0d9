"""An agent's file in which nothing can be written."""

from __future__ import annotations

import contextlib
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

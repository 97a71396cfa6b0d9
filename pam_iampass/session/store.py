"""The kept sessions in the agent's file. They count until the next boot: no session outlasts it."""

from __future__ import annotations

import sqlite3

from pam_iampass.session.kept_session import KeptSession, decode, encode
from pam_iampass.system.database import Database


class SessionStore:
    """The rows of kept sessions. Every method raises StateError."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.on_open.append(self._forget_older)

    def write(self, kept: KeptSession) -> None:
        """Store a session."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?)",
                (kept.id, self._database.boot, encode(kept)),
            )

    def remove(self, ident: str) -> None:
        """Forget a session."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM sessions WHERE id = ?", (ident,))

    def all(self) -> tuple[list[KeptSession], list[str]]:
        """All sessions of this boot, the oldest first, and the ids of those that cannot be read."""
        found, broken = [], []
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT id, content FROM sessions WHERE boot = ?", (self._database.boot,)
            ).fetchall()
        for ident, content in rows:
            try:
                kept = decode(content)
                if kept.id != ident:
                    raise ValueError("it has the id of another session")
                found.append(kept)
            except ValueError:
                broken.append(str(ident))
        return sorted(found, key=lambda kept: kept.began), broken

    def _forget_older(self, connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM sessions WHERE boot != ?", (self._database.boot,))

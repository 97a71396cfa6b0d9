"""The people whose phone was reported lost: until IAMPASS has disabled it, it approves nothing on this machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from pam_iampass.system.database import Database, decoded, encoded


class LostPhones:
    """The people whose phone IAMPASS is still to disable, in memory and in the agent's file. Every method may be called
    in any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._configs: dict[bytes, str] = {}
        """The settings file of the application, by person."""
        database.on_open.append(self._read)

    def add(self, person: str, config: str) -> None:
        """Deny what the phone of this person approves.

        Raises StateError where that cannot be written: it counts nevertheless, until the agent starts again.
        """
        self._configs = {**self._configs, encoded(person): config}
        with self._database.transaction(durable=True) as connection:
            connection.execute("INSERT OR REPLACE INTO lost_phones VALUES (?, ?)", (encoded(person), config))

    def discard(self, person: str) -> None:
        """IAMPASS has disabled the phone. Raises StateError where that cannot be written: the next agent tells it once
        more."""
        self._configs = {each: config for each, config in self._configs.items() if each != encoded(person)}
        with self._database.transaction(durable=True) as connection:
            connection.execute("DELETE FROM lost_phones WHERE person = ?", (encoded(person),))

    def has(self, person: bytes) -> bool:
        """Whether the phone of this person, as the name is stored, is one of these."""
        return person in self._configs

    def all(self) -> Mapping[str, str]:
        """The people, each with the settings file of the application."""
        return {decoded(person): config for person, config in self._configs.items()}

    def _read(self, connection: sqlite3.Connection) -> None:
        stored = dict(connection.execute("SELECT person, config FROM lost_phones").fetchall())
        self._configs = {**stored, **self._configs}

"""The phones that were reported lost: until IAMPASS has disabled one, it approves nothing on this machine, for none
of the people who have it."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Callable

from pam_iampass.system.boot import since_boot
from pam_iampass.system.database import Database, decoded, encoded


@dataclass(frozen=True)
class LostPhone:
    """A phone that was reported lost, as IAMPASS knows it."""

    person: str
    """The person for whom it was reported."""
    application: str
    """The id of the application; empty if it was not known."""
    token: str
    """The token that was in use when the phone was reported; empty if none was known, so that IAMPASS cannot be
    told."""


class LostPhones:
    """The phones that IAMPASS is still to disable, in memory and in the agent's file. Every method may be called in any
    thread."""

    def __init__(self, database: Database, clock: Callable[[], float] = since_boot) -> None:
        self._database = database
        self._clock = clock
        self._reported: dict[str, float] = {}
        """When each token was last reported, also if IAMPASS has disabled its phone since then."""
        self._configs: dict[LostPhone, str] = {}
        """The settings file of the application. The whole is replaced, under the lock of the file."""
        database.on_open.append(self._read)

    def add(self, person: str, config: str, application: str = "", tokens: Collection[str] = ()) -> None:
        """Deny what the phone of this person approves.

        Raises StateError where that cannot be written: it counts nevertheless, until the agent starts again.
        """
        unknown = LostPhone(person, "", "")
        phones = [LostPhone(person, application, token) for token in tokens] or [unknown]
        with self._database.lock:
            self._configs = {**self._configs, **dict.fromkeys(phones, config)}
            self._reported |= dict.fromkeys(tokens, self._clock())
            with self._database.transaction(durable=True) as connection:
                connection.executemany(
                    "INSERT OR REPLACE INTO lost_phones VALUES (?, ?, ?, ?)",
                    [(encoded(person), phone.application, phone.token, config) for phone in phones],
                )
            if tokens and unknown in self._configs:
                self.discard(unknown)

    def disabled(self, application: str, tokens: Collection[str]) -> None:
        """IAMPASS has disabled the phones of these tokens, for whatever name they were reported. Raises StateError as
        `discard`."""
        with self._database.lock:
            known = [each for each in self._configs if each.application == application]
            self.discard(*(each for each in known if each.token in tokens))

    def discard(self, *phones: LostPhone) -> None:
        """Forget these phones. Raises StateError where that cannot be written: then nothing has changed."""
        with self._database.lock:
            with self._database.transaction(durable=True) as connection:
                connection.executemany(
                    "DELETE FROM lost_phones WHERE (person, application, token) = (?, ?, ?)",
                    [(encoded(phone.person), phone.application, phone.token) for phone in phones],
                )
            self._configs = {phone: config for phone, config in self._configs.items() if phone not in phones}

    def has(self, person: bytes) -> bool:
        """Whether a phone of this person, as the name is stored, is one of these."""
        return bool(self._configs) and bool(self.of(decoded(person)))

    def of_token(self, token: str) -> list[LostPhone]:
        """The phones with this token, for whatever name they were reported: several may share one."""
        return [phone for phone in self._configs if token and phone.token == token]

    def reported_since(self, began: float, token: str) -> bool:
        """Whether the phone of this token is one of these, or was since `began`, in seconds since boot."""
        return bool(self.of_token(token)) or self._reported.get(token, -1.0) >= began

    def of(self, person: str) -> list[LostPhone]:
        """The phones of a person."""
        return [phone for phone in self._configs if phone.person == person]

    def all(self) -> Mapping[LostPhone, str]:
        """The phones, each with the settings file of the application."""
        return self._configs

    def _read(self, connection: sqlite3.Connection) -> None:
        rows = connection.execute("SELECT person, application, token, config FROM lost_phones")
        stored = {
            LostPhone(decoded(person), application, token): config
            for person, application, token, config in rows
        }
        self._configs = {**stored, **self._configs}

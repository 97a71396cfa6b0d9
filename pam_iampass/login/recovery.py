"""Recovery codes: each lets one person in once, without the phone. Making, reading, storing and spending them.

They are stored as salted hashes. That a code is used is on the disk before the user is let in, so that neither a
simultaneous login nor a power cut makes it valid twice. Why one round of SHA-256 is enough:
`docs/inside/decisions/recovery-codes.md`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable

from pam_iampass.errors import StateError
from pam_iampass.system.database import Database, encoded

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""The alphabet of Crockford's Base32 in lower case: no i, l, o and u."""
LENGTH = 16
"""Characters of a code, of 5 bits each: 80 random bits."""
GROUP = 4
"""Characters between two dashes."""

_READ = {ord("i"): "1", ord("l"): "1", ord("o"): "0", ord("-"): None, ord(" "): None}
HOW_MANY = 10
"""The number of codes that a person gets."""


@dataclass(frozen=True)
class StoredCode:
    """The salted hash of one code."""

    salt: str
    hash: str
    used_at: float | None = None
    """The Unix time of its use; None while it is still valid."""


@dataclass(frozen=True)
class CodeList:
    """One person's codes."""

    made_at: float
    """Unix time."""
    codes: tuple[StoredCode, ...]

    @property
    def left(self) -> int:
        """The number of codes that are still valid."""
        return sum(code.used_at is None for code in self.codes)


class RecoveryCodes:
    """The codes of all people. Every method may be called in any thread."""

    def __init__(self, database: Database, wall_clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._wall_clock = wall_clock

    def stored(self, person: str) -> CodeList | None:
        """The codes of a person, None without any. Raises StateError."""
        with self._database.reading() as connection:
            return _stored_in(connection, person)

    def in_use(self) -> bool:
        """Whether anybody on this machine has codes, or had some; False where it cannot be read."""
        try:
            with self._database.reading() as connection:
                return connection.execute("SELECT 1 FROM codes LIMIT 1").fetchone() is not None
        except StateError:
            return False

    def renew(self, person: str) -> list[str]:
        """Replace all codes of a person by new ones and return these, for the person only. Raises StateError."""
        codes = [make() for _ in range(HOW_MANY)]
        with self._database.transaction(durable=True) as connection:
            connection.execute("DELETE FROM codes WHERE person = ?", (encoded(person),))
            made_at = self._wall_clock()
            for place, code in enumerate(codes):
                salt = os.urandom(16).hex()
                row = (encoded(person), place, salt, _hash(salt, code), made_at)
                connection.execute("INSERT INTO codes VALUES (?, ?, ?, ?, ?, NULL)", row)
        return [shown(code) for code in codes]

    def revoke(self, person: str) -> bool:
        """Remove all codes of a person; return whether there were any. Raises StateError."""
        with self._database.transaction(durable=True) as connection:
            gone = connection.execute("DELETE FROM codes WHERE person = ?", (encoded(person),))
            return gone.rowcount > 0

    def spend(self, person: str, code: str) -> int | None:
        """Use up a code (as `read` returns it); return how many are left, or None where it is wrong.

        When this returns a number, the change is on the disk. Raises StateError: the code is then not accepted.
        """
        with self._database.transaction(durable=True) as connection:
            found = _stored_in(connection, person)
            place = _place_of(code, found.codes) if found else None
            if found is None or place is None:
                return None
            connection.execute(
                "UPDATE codes SET used_at = ? WHERE person = ? AND place = ?",
                (self._wall_clock(), encoded(person), place),
            )
        return found.left - 1


def _stored_in(connection: sqlite3.Connection, person: str) -> CodeList | None:
    """Raises sqlite3.Error."""
    rows = connection.execute(
        "SELECT salt, hash, made_at, used_at FROM codes WHERE person = ? ORDER BY place", (encoded(person),)
    ).fetchall()
    if not rows:
        return None
    return CodeList(rows[0][2], tuple(StoredCode(salt, hash, used_at) for salt, hash, _made, used_at in rows))


def _hash(salt: str, code: str) -> str:
    return hashlib.sha256(f"{salt}:{code}".encode("ascii")).hexdigest()


def _place_of(code: str, codes: Sequence[StoredCode]) -> int | None:
    """The index of the code among the valid ones. All are compared, each in constant time."""
    found = None
    for place, stored in enumerate(codes):
        same = hmac.compare_digest(_hash(stored.salt, code), stored.hash)
        if same and stored.used_at is None:
            found = place
    return found


def make() -> str:
    """A new code, without dashes, as it is hashed and compared."""
    number = int.from_bytes(os.urandom(LENGTH * 5 // 8), "big")
    return "".join(ALPHABET[number >> 5 * place & 31] for place in reversed(range(LENGTH)))


def shown(code: str) -> str:
    """A code in the form for people: `xxxx-xxxx-xxxx-xxxx`."""
    return "-".join(code[place : place + GROUP] for place in range(0, LENGTH, GROUP))


def read(text: str | None) -> str | None:
    """The code that was typed, None where none was, or the text does not have the form of one: it is no attempt.

    It may be in capitals, with or without dashes and spaces; i and l are read as 1, o as 0.
    sshd's answer for a person whom it has refused (`application.SSHD_REFUSED`) does not have it.
    """
    if text is None or len(text) > 4 * LENGTH or not text.isascii():
        return None
    code = text.lower().translate(_READ)
    return code if len(code) == LENGTH and set(code) <= set(ALPHABET) else None

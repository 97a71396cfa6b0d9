"""Recovery codes: each lets one person in once, without the phone.

They are stored as salted hashes, in one file per person. That a code is used is on the disk before the user is let in,
so that neither a simultaneous login nor a power cut makes it valid twice. Why one round of SHA-256 is enough:
`docs/decisions/recovery-codes.md`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable

from pam_iampass.errors import StateError
from pam_iampass.login import recovery_code
from pam_iampass.system.state_dir import HeldLock, OpenStateDir, StateDir, file_stem
from pam_iampass.system.trusted_folder import shell_word

REMEDY = "systemd-tmpfiles --create"
HOW_MANY = 10
"""The number of codes that a person gets."""


@dataclass(frozen=True)
class StoredCode:
    """The salted hash of one code."""

    salt: str
    hash: str
    used_at: float | None = None
    """Unix time; None where it is still valid."""


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
    """The codes of one person. `user` is the account's name, as NSS has it."""

    def __init__(self, folder: StateDir, user: str, wall_clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._stem = file_stem(user)
        self._wall_clock = wall_clock
        self._remedy = f"pam-iampass recovery revoke {shell_word(user)}, then new"

    def stored(self) -> CodeList | None:
        """The stored codes, None where the person has none. Raises StateError."""
        with self._folder.opened(self._remedy) as folder:
            return self._read(folder)

    def left(self) -> int:
        """The number of valid codes, 0 where it cannot be read."""
        try:
            found = self.stored()
        except StateError:
            return 0
        return found.left if found else 0

    def in_use(self) -> bool:
        """Whether anybody on this machine has codes, or had some; False where it cannot be read."""
        try:
            with self._folder.opened(self._remedy) as folder:
                return any(name.endswith(".json") for name in folder.names())
        except StateError:
            return False

    def renew(self) -> list[str]:
        """Replace all codes by new ones and return these, for the person only. Raises StateError."""
        codes = [recovery_code.make() for _ in range(HOW_MANY)]
        stored = tuple(_stored(code) for code in codes)
        with self._folder.opened(self._remedy) as folder, folder.locked(self._lock) as lock:
            self._write(folder, lock, CodeList(self._wall_clock(), stored))
        return [recovery_code.shown(code) for code in codes]

    def revoke(self) -> bool:
        """Remove all codes; return whether there were any. Raises StateError."""
        with self._folder.opened(self._remedy) as folder, folder.locked(self._lock):
            try:
                return folder.remove(self._file)
            except OSError as error:
                what = f"{self._folder.path}/{self._file} cannot be removed: {error.strerror}"
                raise StateError(what, "check whether the file system is read-only") from None

    def spend(self, code: str) -> int | None:
        """Use up a code (as `recovery_code.read` returns it); return how many are left, or None where it is wrong.

        When this returns a number, the change is on the disk. Raises StateError: the code is then not accepted.
        """
        with self._folder.opened(self._remedy) as folder, folder.locked(self._lock) as lock:
            found = self._read(folder)
            place = _place_of(code, found.codes) if found else None
            if found is None or place is None:
                return None
            spent = StoredCode(found.codes[place].salt, found.codes[place].hash, self._wall_clock())
            now = CodeList(found.made_at, (*found.codes[:place], spent, *found.codes[place + 1 :]))
            self._write(folder, lock, now)
            return now.left

    @property
    def _file(self) -> str:
        return f"{self._stem}.json"

    @property
    def _lock(self) -> str:
        return f"{self._stem}.lock"

    def _read(self, folder: OpenStateDir) -> CodeList | None:
        data = folder.read(self._file)
        if data is None:
            return None
        try:
            return _decoded(data)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            what = f"{self._folder.path}/{self._file} is corrupt"
            raise StateError(what, self._remedy) from None

    def _write(self, folder: OpenStateDir, lock: HeldLock, codes: CodeList) -> None:
        folder.write(self._file, _encoded(codes), lock, durable=True)


def _stored(code: str) -> StoredCode:
    salt = os.urandom(16).hex()
    return StoredCode(salt, _hash(salt, code))


def _hash(salt: str, code: str) -> str:
    import hashlib

    return hashlib.sha256(f"{salt}:{code}".encode("ascii")).hexdigest()


def _place_of(code: str, codes: Sequence[StoredCode]) -> int | None:
    """The index of the code among the valid ones. All are compared, each in constant time."""
    import hmac

    found = None
    for place, stored in enumerate(codes):
        same = hmac.compare_digest(_hash(stored.salt, code), stored.hash)
        if same and stored.used_at is None:
            found = place
    return found


def _encoded(codes: CodeList) -> bytes:
    import json

    stored = [[code.salt, code.hash, code.used_at] for code in codes.codes]
    return json.dumps({"version": 1, "made_at": codes.made_at, "codes": stored}).encode("ascii")


def _decoded(data: bytes) -> CodeList:
    import json

    read = json.loads(data)
    if read["version"] != 1:
        raise ValueError
    codes = tuple(
        StoredCode(_hexadecimal(salt), _hexadecimal(hash), None if used_at is None else _moment(used_at))
        for salt, hash, used_at in read["codes"]
    )
    return CodeList(_moment(read["made_at"]), codes)


def _hexadecimal(value: Any) -> str:
    if not isinstance(value, str) or len(value) not in (32, 64) or not set(value) <= set("0123456789abcdef"):
        raise ValueError
    return value


def _moment(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < 1e12:
        raise ValueError
    return float(value)

"""Bypasses: root lets one person in without the phone for a while. The first factor is still required.

Where the agent's file cannot be read nobody is bypassed, and the phone is asked.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Callable

from pam_iampass.config.settings import same_program
from pam_iampass.config.value_types import LONGEST_BYPASS
from pam_iampass.login.policy import Person
from pam_iampass.system.boot import boot_id, since_boot
from pam_iampass.system.database import Database, decoded, encoded


@dataclass(frozen=True)
class Moment:
    """A point in time, by the clocks of the machine."""

    boot: str | None
    """The id of the boot; None if it is unknown."""
    since_boot: float
    """Seconds, suspend included."""
    wall: float
    """Unix time, which can be set."""

    @classmethod
    def now(cls) -> Moment:
        """This moment."""
        return cls(boot_id(), since_boot(), time.time())


@dataclass(frozen=True)
class Bypass:
    """Lets one person in without the phone."""

    user: str
    """The person whose phone would be asked: a name of the user table."""
    uid: int | None
    """The user id of the person's own account, None without one. An account that is made anew under the same name has
    no bypass."""
    service: str | None
    """The PAM service; None for all."""
    seconds: float
    made: Moment
    made_by: str
    reason: str
    """The reason that was given; empty without one."""
    survives_reboot: bool

    def members(self) -> dict[str, Any]:
        """The bypass in types of JSON."""
        return asdict(self)

    @classmethod
    def of(cls, members: Mapping[str, Any]) -> Bypass:
        """The bypass with these `members`."""
        return cls(**{**members, "made": Moment(**members["made"])})

    def left(self, now: Moment) -> float:
        """The seconds that are left, 0 if it is over.

        After a reboot only the wall clock tells. One that was set back cannot prolong the bypass by more than its
        length: it is over once the machine has been up for that long, or if it was made in the future.
        """
        if now.boot is not None and now.boot == self.made.boot:
            elapsed = now.since_boot - self.made.since_boot
        elif self.survives_reboot and now.wall >= self.made.wall:
            elapsed = max(now.wall - self.made.wall, now.since_boot)
        else:
            return 0.0
        return self.seconds - elapsed if 0 <= elapsed < self.seconds else 0.0

    def until(self, now: Moment) -> float:
        """When it will be over, in Unix time."""
        return now.wall + self.left(now)

    def covers(self, person: Person, service: str) -> bool:
        """Whether it is for a login that `person` would have to approve."""
        meant = self.service in (None, service, same_program(service))
        uid = None if person.account is None else person.account.uid
        return meant and (self.user, self.uid) == (person.name, uid)


@dataclass(frozen=True)
class Ended:
    """A bypass that is over."""

    bypass: Bypass
    expired: bool
    """Whether its time was over, and nobody ended it."""


class Bypasses:
    """The bypasses of this machine, in memory and in the agent's file. Every method may be called in any thread."""

    def __init__(self, database: Database, clock: Callable[[], Moment] = Moment.now) -> None:
        self._database = database
        self._clock = clock
        self._all: list[Bypass] = []
        """A list that is replaced as a whole, under the lock of the file, so that readers do not wait for the disk."""
        database.on_open.append(self._read)

    def find(self, person: Person, service: str) -> Bypass | None:
        """The bypass for a login that `person` would have to approve, or None."""
        if not self._all:  # as at nearly every login
            return None
        now = self._clock()
        found = [one for one in self._all if one.covers(person, service) and one.left(now) > 0]
        return found[0] if found else None

    def active(self) -> list[Bypass]:
        """The bypasses that are not over, in the order in which they end."""
        now = self._clock()
        return sorted((one for one in self._all if one.left(now) > 0), key=lambda one: one.left(now))

    def add(self, bypass: Bypass) -> list[Ended]:
        """Make a bypass, in place of others for the same person and service; returns the ones that are over.

        It is on the disk when this returns. Raises StateError: then nothing has changed.
        """
        if not 0 < bypass.seconds <= LONGEST_BYPASS:
            raise ValueError(bypass.seconds)
        with self._database.lock:
            kept, ended = self._divided(
                lambda other: (other.user, other.service) == (bypass.user, bypass.service)
            )
            self._write([*kept, bypass])
            return ended

    def end(self, person: str) -> list[Ended]:
        """End all bypasses of a person; returns the ones that are over.

        Raises StateError where that cannot be written: they are over nevertheless, until the agent starts again.
        """
        with self._database.lock:
            kept, ended = self._divided(lambda bypass: bypass.user == person)
            if ended:
                self._all = kept
                self._write(kept)
            return ended

    def prune(self) -> list[Ended]:
        """Remove the bypasses whose time is over, and return them. Raises StateError."""
        if not self._all:
            return []
        with self._database.lock:
            kept, ended = self._divided(lambda _bypass: False)
            if ended:
                self._write(kept)
            return ended

    def _divided(self, ends: Callable[[Bypass], bool]) -> tuple[list[Bypass], list[Ended]]:
        """The bypasses that go on, and those that are over or that `ends` says to end."""
        now = self._clock()
        ended = [Ended(one, one.left(now) <= 0) for one in self._all if one.left(now) <= 0 or ends(one)]
        gone = [one.bypass for one in ended]
        return [one for one in self._all if one not in gone], ended

    def _write(self, bypasses: list[Bypass]) -> None:
        with self._database.transaction(durable=True) as connection:
            connection.execute("DELETE FROM bypasses")
            connection.executemany(
                "INSERT INTO bypasses VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", map(_row, bypasses)
            )
        self._all = bypasses

    def _read(self, connection: sqlite3.Connection) -> None:
        self._all = [_bypass(row) for row in connection.execute("SELECT * FROM bypasses")]


def _row(bypass: Bypass) -> tuple[object, ...]:
    made = bypass.made
    return (
        *(encoded(bypass.user), encoded(bypass.service or ""), bypass.uid, bypass.seconds),
        *(made.boot, made.since_boot, made.wall, encoded(bypass.made_by), bypass.reason),
        bypass.survives_reboot,
    )


def _bypass(row: tuple[Any, ...]) -> Bypass:
    """The bypass in a row. Raises ValueError, TypeError and AttributeError."""
    user, service, uid, seconds, boot, since_boot, wall, made_by, reason, survives_reboot = row
    if not 0 < seconds <= LONGEST_BYPASS:
        raise ValueError(seconds)
    return Bypass(
        user=decoded(user),
        uid=None if uid is None else int(uid),
        service=decoded(service) or None,
        seconds=seconds,
        made=Moment(boot, float(since_boot), float(wall)),
        made_by=decoded(made_by),
        reason=str(reason),
        survives_reboot=survives_reboot == 1,
    )

"""Bypasses: root lets one person in without the phone for a while. The first factor is still required.

Only root writes the files, in folders that only root can change: a process of the module can use a bypass, and cannot
make one. A file that is corrupt or that others can write grants nothing, and the phone is asked.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

from pam_iampass.config.settings import same_program
from pam_iampass.errors import MissingFile, PamIampassError, StateError
from pam_iampass.system import paths, trusted_file
from pam_iampass.system.boot import boot_id, since_boot

if TYPE_CHECKING:
    from pam_iampass.system.accounts import Account

LONGEST = 86400.0
"""The longest that a bypass may last. Seconds."""


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
    """The person whose phone would be asked, by the name that NSS has."""
    uid: int
    """An account that is made anew under the same name has no bypass."""
    service: str | None
    """The PAM service; None for all."""
    seconds: float
    made: Moment
    made_by: str
    reason: str
    """Empty if none was given."""
    survives_reboot: bool

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

    def covers(self, account: Account, service: str) -> bool:
        """Whether it is for a login that `account` would have to approve."""
        meant = self.service in (None, service, same_program(service))
        return meant and (self.user, self.uid) == (account.name, account.uid)


class Bypasses:
    """The bypasses of this machine, in one file for each kind."""

    def __init__(
        self,
        until_reboot: str = paths.BYPASSES,
        lasting: str = paths.LASTING_BYPASSES,
        owner: int = 0,
        clock: Callable[[], Moment] = Moment.now,
    ) -> None:
        """`owner` is as for `trusted_file.read`."""
        self.files = {False: until_reboot, True: lasting}
        """By whether their bypasses survive a reboot."""
        self.owner = owner
        self.clock = clock

    def find(self, account: Account, service: str) -> Bypass | None:
        """The bypass for a login that `account` would have to approve, or None."""
        for survives in self.files:
            try:
                found = self.read(survives)
            except PamIampassError:
                continue
            if found:
                now = self.clock()
                for bypass in found:
                    if bypass.covers(account, service) and bypass.left(now) > 0:
                        return bypass
        return None

    def active(self) -> list[Bypass]:
        """All that are not over, those that end first first. Raises UntrustedFile and StateError."""
        now = self.clock()
        found = [bypass for survives in self.files for bypass in self.read(survives) if bypass.left(now) > 0]
        return sorted(found, key=lambda bypass: bypass.left(now))

    def read(self, survives_reboot: bool) -> list[Bypass]:
        """What is in one of the files. Raises UntrustedFile and StateError."""
        path = self.files[survives_reboot]
        if trusted_file.is_missing(path):  # as at nearly every login
            return []
        try:
            return _decoded(trusted_file.read(path, owner=self.owner), survives_reboot)
        except MissingFile:
            return []
        except (ValueError, KeyError, TypeError, RecursionError):
            raise StateError(f"{path} is corrupt: its bypasses do not count", f"rm {path}") from None


def encoded(bypasses: list[Bypass]) -> bytes:
    """The content of a file."""
    import json

    stored = [
        {
            "user": bypass.user,
            "uid": bypass.uid,
            "service": bypass.service,
            "seconds": bypass.seconds,
            "boot": bypass.made.boot,
            "since_boot": bypass.made.since_boot,
            "wall": bypass.made.wall,
            "made_by": bypass.made_by,
            "reason": bypass.reason,
        }
        for bypass in bypasses
    ]
    return json.dumps({"version": 1, "bypasses": stored}, indent=1).encode("ascii")


def _decoded(data: bytes, survives_reboot: bool) -> list[Bypass]:
    """Raises ValueError, KeyError, TypeError and RecursionError for anything that `encoded` does not write."""
    import json

    read = json.loads(data)
    if read["version"] != 1:
        raise ValueError
    return [_bypass(item, survives_reboot) for item in read["bypasses"]]


def _bypass(item: dict[str, Any], survives_reboot: bool) -> Bypass:
    seconds = _number(item["seconds"])
    if not 0 < seconds <= LONGEST or type(item["uid"]) is not int:
        raise ValueError
    return Bypass(
        user=_text(item["user"]),
        uid=item["uid"],
        service=None if item["service"] is None else _text(item["service"]),
        seconds=seconds,
        made=Moment(_text(item["boot"]), _number(item["since_boot"]), _number(item["wall"])),
        made_by=_text(item["made_by"]),
        reason=_text(item["reason"]),
        survives_reboot=survives_reboot,
    )


def _number(value: object) -> float:
    if type(value) not in (int, float) or not 0 <= value < 1e12:  # type: ignore[operator]
        raise ValueError
    return float(value)  # type: ignore[arg-type]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value

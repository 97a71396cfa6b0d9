"""Users, their devices, and the links and messages through which they come by one."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass

from pam_iampass.sandbox.accounts_file import AccountsFile
from pam_iampass.sandbox.changes import Changes
from pam_iampass.sandbox.events import Event, EventKind


@dataclass(frozen=True)
class Sms:
    """A registration message that would have been sent."""

    user: str
    phone_number: str
    display_name: str | None
    text: str
    """What the person would read, link included."""
    at: float
    """``time.monotonic()`` seconds."""


class Accounts:
    """Who is known to the service."""

    def __init__(self, changes: Changes, file: AccountsFile) -> None:
        self._changes = changes
        self._file = file
        self._known = file.load()
        self._messages: list[Sms] = []

    @property
    def users(self) -> dict[str, bool]:
        """Each user, and whether it has a device."""
        with self._changes:
            return dict(self._known.devices)

    def add(self, user: str, device: bool = False) -> bool:
        """Add a user; False where it was there before (its device is then left as it is)."""
        return self.add_all([user], device)[user]

    def add_all(self, users: Iterable[str], device: bool = False) -> dict[str, bool]:
        """Add users; each with whether it was new."""
        with self._changes:
            new = {user: user not in self._known.devices for user in users}
            added = [user for user in new if new[user]]
            self._known.devices.update(dict.fromkeys(added, device))
            self._file.save(self._known)
            for user in added:
                self._tell(EventKind.USER_ADDED, user, "with a device" if device else "no device yet")
            return new

    def remove(self, user: str) -> bool:
        """Forget a user with its device and links; False where it was not there."""
        with self._changes:
            if self._known.devices.pop(user, None) is None:
                return False
            for token in [token for token, of in self._known.links.items() if of == user]:
                del self._known.links[token]
            self._file.save(self._known)
            self._tell(EventKind.USER_DELETED, user)
            return True

    def has_device(self, user: str) -> bool | None:
        """Whether this user has a device; None for an unknown user."""
        with self._changes:
            return self._known.devices.get(user)

    def set_device(self, user: str, device: bool) -> None:
        """Give a known user a device, or take it away. Raises LookupError for an unknown user."""
        with self._changes:
            if user not in self._known.devices:
                raise LookupError(f"no user {user!r}")
            self._known.devices[user] = device
            self._file.save(self._known)
            self._tell(EventKind.DEVICE_REGISTERED if device else EventKind.DEVICE_REMOVED, user)

    def make_link(self, user: str) -> str:
        """A new one-time token with which a device of this user can be registered."""
        with self._changes:
            token = secrets.token_urlsafe(18)
            self._known.links[token] = user
            self._file.save(self._known)
            self._tell(EventKind.LINK_MADE, user)
            return token

    def user_of_link(self, token: str) -> str | None:
        """Whose device this link registers; None where it is unknown or was used."""
        with self._changes:
            return self._known.links.get(token)

    def use_link(self, token: str) -> str | None:
        """Register a device through a link. Answers whose, None where the link is unknown or was used."""
        with self._changes:
            user = self._known.links.pop(token, None)
            if user is not None:
                self.set_device(user, True)
            return user

    @property
    def messages(self) -> tuple[Sms, ...]:
        """Every message so far."""
        with self._changes:
            return tuple(self._messages)

    def send_sms(self, user: str, phone_number: str, display_name: str | None, text: str) -> None:
        """Record a message; nothing is sent anywhere."""
        with self._changes:
            self._messages.append(Sms(user, phone_number, display_name, text, time.monotonic()))
            self._tell(EventKind.SMS, user, f"to {phone_number}: {text}")

    def _tell(self, kind: EventKind, user: str, detail: str = "") -> None:
        self._changes.made(Event(kind, user, detail))

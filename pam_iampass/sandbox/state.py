"""The state of the simulated service: its users, their devices, links and messages, and its sessions, under one lock.

The server changes it in its event loop, tests in their own threads.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass

from pam_iampass.client.status import Status
from pam_iampass.sandbox.events import Event, EventKind, Listener, Notifier
from pam_iampass.sandbox.sessions import EndedBy, SandboxSession, SessionOrUser, SessionRegistry
from pam_iampass.sandbox.state_folder import USERS_FILE, SandboxError, StateFolder


@dataclass(frozen=True)
class Sms:
    """A registration message that the service would have sent."""

    user: str
    phone_number: str
    display_name: str | None
    text: str
    """The message to the user, with the link."""
    at: float
    """``time.monotonic()`` seconds."""


class UserRegistry:
    """The users that the service knows. They are kept in the state folder, unless it is temporary.

    Raises SandboxError from ``__init__`` if the file in the folder is invalid.
    """

    def __init__(self, notifier: Notifier, state: StateFolder) -> None:
        self._notifier = notifier
        self._state = state
        self._devices: dict[str, bool] = {}
        self._lost: set[str] = set()  # users whose phone is lost, registered still or disabled
        self._links: dict[str, str] = {}  # the user of each unused registration link, by the link's token
        self._messages: list[Sms] = []
        self._load()

    @property
    def devices(self) -> dict[str, bool]:
        """Each user, and whether it has a device."""
        with self._notifier:
            return dict(self._devices)

    def add(self, users: Iterable[str], device: bool = False) -> dict[str, bool]:
        """Add users; returns for each whether it is new. Known users keep their devices."""
        with self._notifier:
            new = {user: user not in self._devices for user in users}
            added = [user for user in new if new[user]]
            self._devices.update(dict.fromkeys(added, device))
            self._save()
            for user in added:
                self._notify(EventKind.USER_ADDED, user, "with a device" if device else "no device yet")
            return new

    def remove(self, user: str) -> bool:
        """Remove a user with its device and links; False for an unknown user."""
        with self._notifier:
            if self._devices.pop(user, None) is None:
                return False
            self._links = {token: owner for token, owner in self._links.items() if owner != user}
            self._lost.discard(user)
            self._save()
            self._notify(EventKind.USER_DELETED, user)
            return True

    def has_device(self, user: str) -> bool | None:
        """Whether the user has a device; None for an unknown user."""
        with self._notifier:
            return self._devices.get(user)

    def set_device(self, user: str, device: bool) -> None:
        """Register or remove the device of a known user. Raises LookupError for an unknown user."""
        kind = EventKind.DEVICE_REGISTERED if device else EventKind.DEVICE_REMOVED
        self._change(user, kind, device=device, lost=False)

    def is_lost(self, user: str) -> bool:
        """Whether the user's phone is lost, registered still or disabled."""
        with self._notifier:
            return user in self._lost

    def set_lost(self, user: str, lost: bool) -> None:
        """The user loses a registered phone, or finds it again. Raises LookupError if there is none."""
        with self._notifier:
            if not self._devices.get(user):
                raise LookupError(f"{user!r} has no phone")
            self._change(
                user, EventKind.DEVICE_LOST if lost else EventKind.DEVICE_FOUND, device=True, lost=lost
            )

    def disable_device(self, user: str) -> None:
        """Disable the device of a known user because it is lost. Raises LookupError for an unknown user."""
        self._change(user, EventKind.DEVICE_DISABLED, device=False, lost=True)

    def make_link(self, user: str) -> str:
        """A new one-time token that registers a device of this user."""
        with self._notifier:
            token = secrets.token_urlsafe(18)
            self._links[token] = user
            self._save()
            self._notify(EventKind.LINK_MADE, user)
            return token

    def user_of_link(self, token: str) -> str | None:
        """The user of a link; None if it is unknown or used."""
        with self._notifier:
            return self._links.get(token)

    def use_link(self, token: str) -> str | None:
        """Register a device through a link; returns its user, or None if the link is unknown or used."""
        with self._notifier:
            user = self._links.pop(token, None)
            if user is not None:
                self.set_device(user, True)
            return user

    @property
    def messages(self) -> tuple[Sms, ...]:
        """Every message so far."""
        with self._notifier:
            return tuple(self._messages)

    def send_sms(self, user: str, phone_number: str, display_name: str | None, text: str) -> None:
        """Record a message; nothing is sent."""
        with self._notifier:
            self._messages.append(Sms(user, phone_number, display_name, text, time.monotonic()))
            self._notify(EventKind.SMS, user, f"to {phone_number}: {text}")

    def _change(self, user: str, kind: EventKind, *, device: bool, lost: bool) -> None:
        with self._notifier:
            if user not in self._devices:
                raise LookupError(f"no user {user!r}")
            self._devices[user] = device
            (self._lost.add if lost else self._lost.discard)(user)
            self._save()
            self._notify(kind, user)

    def _notify(self, kind: EventKind, user: str, detail: str = "") -> None:
        self._notifier.changed(Event(kind, user, detail))

    def _load(self) -> None:
        content = self._state.read(USERS_FILE)
        if content is None:
            return
        try:
            value = json.loads(content.decode("utf-8"))
            self._devices, self._links = dict(value["devices"]), dict(value["links"])
            self._lost = set(value.get("lost", ()))
            texts = [*self._devices, *self._links, *self._links.values(), *self._lost]
            typed = [isinstance(text, str) for text in texts]
            typed += [isinstance(device, bool) for device in self._devices.values()]
            if not all(typed):
                raise ValueError("wrong types")
        except (ValueError, TypeError, KeyError) as error:
            file = self._state.path / USERS_FILE
            raise SandboxError(f"{file} is invalid; remove it to begin without users") from error

    def _save(self) -> None:
        if not self._state.temporary:
            value = {"devices": self._devices, "links": self._links, "lost": sorted(self._lost)}
            self._state.write(USERS_FILE, json.dumps(value, indent=1).encode())


class ServiceState:
    """Users and sessions.

    :param listener: called with every event.
    :param folder: keeps users and their devices.
    """

    def __init__(self, listener: Listener, folder: StateFolder) -> None:
        self.notifier = Notifier(listener)
        self.users = UserRegistry(self.notifier, folder)
        self.sessions = SessionRegistry(self.notifier)

    def delete_user(self, user: str) -> bool:
        """Remove a user, and end its sessions; False for an unknown user."""
        with self.notifier:
            for session in self.sessions.all:
                if session.user == user:
                    self.sessions.end(session.number, EndedBy.REMOVAL)
            return self.users.remove(user)

    def answer(self, which: SessionOrUser, status: Status) -> SandboxSession:
        """Answer an undecided request on the phone. Raises LookupError if there is none, or the phone is lost."""
        with self.notifier:
            session = self.sessions.undecided(which)
            if self.users.is_lost(session.user):
                raise LookupError(f"the phone of {session.user!r} is lost")
            return self.sessions.decide(session, status)

    def move(self, which: SessionOrUser, verb: str) -> SandboxSession:
        """End an open session on the phone (``end``), leave it (``away``) or return to it (``back``).

        Raises LookupError if there is no such session, or the phone is lost.
        """
        with self.notifier:
            session = self.sessions.open(which)
            if self.users.is_lost(session.user):
                raise LookupError(f"the phone of {session.user!r} is lost")
            if verb == "end":
                self.sessions.end(session.number, EndedBy.PHONE)
                return self.sessions.numbered(session.number)
            move = self.sessions.walk_away if verb == "away" else self.sessions.come_back
            return move(session)

    def disable_device(self, user: str) -> None:
        """Disable the lost device of a known user, which can no longer answer. Raises LookupError."""
        with self.notifier:
            for session in self.sessions.all:
                if session.user == user and session.undecided:
                    self.sessions.end(session.number, EndedBy.REMOVAL)
            self.users.disable_device(user)

    def report(self, kind: EventKind, user: str = "", detail: str = "") -> None:
        """Report an event that does not change the state."""
        self.notifier.changed(Event(kind, user, detail))

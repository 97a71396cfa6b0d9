"""What the service knows: users, their devices, registration links, messages and sessions.

Safe for threads: the server changes it from its event loop, a test from its own thread. Every change wakes who waits for one.
"""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, replace
from typing import Callable, TypeVar, Union

from pam_iampass.sandbox.events import Event, EventKind, Listener
from pam_iampass.sandbox.sessions import EndedBy, SandboxSession, SessionStatus, begin

SessionOrUser = Union[SandboxSession, int, str]
"""A session, its number, or the user whose only undecided one is meant."""

Found = TypeVar("Found")

_EVENT_OF_DECISION = {
    SessionStatus.ACTIVE: EventKind.APPROVED,
    SessionStatus.FAILED: EventKind.DENIED,
    SessionStatus.TIMEOUT: EventKind.TIMED_OUT,
    SessionStatus.CANCELLED: EventKind.CANCELLED,
    SessionStatus.IDENTIFYING: EventKind.IDENTIFYING,
}


@dataclass(frozen=True)
class Sms:
    """A registration message that would have been sent."""

    user: str
    phone_number: str
    display_name: str | None
    text: str
    at: float
    """``time.monotonic()`` seconds."""


class World:
    """The state of the service.

    :param listener: told of everything that happens.
    :param clock: seconds, monotonic.
    """

    def __init__(self, listener: Listener, clock: Callable[[], float] = time.monotonic) -> None:
        self._listener = listener
        self._clock = clock
        self._changed = threading.Condition(threading.RLock())
        self._devices: dict[str, bool] = {}
        self._links: dict[str, str] = {}
        self._messages: list[Sms] = []
        self._sessions: dict[int, SandboxSession] = {}

    # Users and devices

    def add_user(self, user: str, device: bool = False) -> bool:
        """Add a user; False where it was there before (its device is then left as it is)."""
        with self._changed:
            if user in self._devices:
                return False
            self._devices[user] = device
            self._tell(EventKind.USER_ADDED, user, "with a device" if device else "no device yet")
            return True

    def delete_user(self, user: str) -> bool:
        """Forget a user with its device and links, and end its sessions; False where it was not there."""
        with self._changed:
            if self._devices.pop(user, None) is None:
                return False
            self._links = {link: of for link, of in self._links.items() if of != user}
            for session in self.sessions:
                if session.user == user and session.ended_by is None:
                    self._end(session, EndedBy.REMOVAL)
            self._tell(EventKind.USER_DELETED, user)
            return True

    def has_device(self, user: str) -> bool | None:
        """Whether this user has a device; None for an unknown user."""
        with self._changed:
            return self._devices.get(user)

    def set_device(self, user: str, device: bool) -> None:
        """Give a known user a device, or take it away. Raises LookupError for an unknown user."""
        with self._changed:
            if user not in self._devices:
                raise LookupError(f"no user {user!r}")
            self._devices[user] = device
            if device:
                self._tell(EventKind.DEVICE_REGISTERED, user)

    @property
    def users(self) -> dict[str, bool]:
        """Each user, and whether it has a device."""
        with self._changed:
            return dict(self._devices)

    # Registration

    def make_link(self, user: str) -> str:
        """A new one-time token with which a device of this user can be registered."""
        with self._changed:
            token = secrets.token_urlsafe(18)
            self._links[token] = user
            self._tell(EventKind.LINK_MADE, user)
            return token

    def user_of_link(self, token: str) -> str | None:
        """Whose device this link registers; None where it is unknown or was used."""
        with self._changed:
            return self._links.get(token)

    def use_link(self, token: str) -> str | None:
        """Register a device through a link. Answers whose, None where the link is unknown or was used."""
        with self._changed:
            user = self._links.pop(token, None)
            if user is not None:
                self.set_device(user, True)
            return user

    def send_sms(self, user: str, phone_number: str, display_name: str | None, text: str) -> None:
        """Record a message; nothing is sent anywhere."""
        with self._changed:
            self._messages.append(Sms(user, phone_number, display_name, text, self._clock()))
            self._tell(EventKind.SMS, user, f"to {phone_number}: {text}")

    @property
    def messages(self) -> tuple[Sms, ...]:
        """Every message so far."""
        with self._changed:
            return tuple(self._messages)

    # Sessions

    @property
    def sessions(self) -> tuple[SandboxSession, ...]:
        """Every session so far, in the order of their beginning."""
        with self._changed:
            return tuple(self._sessions.values())

    def session(self, number: int) -> SandboxSession:
        """The session of this number as it is now. Raises LookupError."""
        with self._changed:
            if number not in self._sessions:
                raise LookupError(f"no request {number}")
            return self._sessions[number]

    def begin_session(
        self, user: str, methods: tuple[str, ...], duration: int | None
    ) -> SandboxSession:
        """A new pending session for a user who has a device."""
        with self._changed:
            session = begin(len(self._sessions) + 1, user, methods, duration, self._clock())
            self._put(session)
            self._tell(EventKind.REQUESTED, user, ", ".join(methods), session)
            return session

    def not_started(self, user: str, reason: str) -> None:
        """Tell that an authentication was asked for and could not begin."""
        with self._changed:
            self._tell(EventKind.NOT_STARTED, user, reason)

    def decide(self, which: SessionOrUser, status: SessionStatus) -> SandboxSession:
        """Answer a request that is still undecided. Raises LookupError where there is none such."""
        with self._changed:
            session = self._undecided(which)
            decided_at = None if status.undecided else self._clock()
            session = self._put(replace(session, status=status, decided_at=decided_at))
            self._tell(_EVENT_OF_DECISION[status], session.user, "", session)
            return session

    def walk_away(self, which: SessionOrUser) -> SandboxSession:
        """The person left: an active session is one no more. Raises LookupError where none is active."""
        with self._changed:
            session = self._only(which, lambda each: each.status is SessionStatus.ACTIVE, "active session")
            session = replace(session, status=SessionStatus.WALKAWAY)
            self._put(replace(session, ended_at=self._clock(), ended_by=EndedBy.PHONE))
            self._tell(EventKind.WALKED_AWAY, session.user, "", session)
            return self._sessions[session.number]

    def count_poll(self, number: int) -> SandboxSession:
        """Note one more poll of a session, and answer how the session is."""
        with self._changed:
            session = self.session(number)
            return self._put(replace(session, polls=session.polls + 1))

    def end_session(self, number: int) -> bool:
        """The client ends a session; False where it had ended before."""
        with self._changed:
            session = self.session(number)
            if session.ended_by is not None:
                return False
            self._end(session, EndedBy.CLIENT)
            return True

    def time_out(self, number: int) -> None:
        """The time to answer is over; a request that was answered in time is left as it is."""
        with self._changed:
            if self.session(number).undecided:
                self.decide(number, SessionStatus.TIMEOUT)

    def expire(self, number: int) -> None:
        """The session's own time is over."""
        with self._changed:
            session = self.session(number)
            if session.undecided:
                self.decide(number, SessionStatus.TIMEOUT)
            elif session.ended_by is None:
                self._end(session, EndedBy.EXPIRY)

    def wait_for(self, find: Callable[[], Found | None], timeout: float, what: str) -> Found:
        """Wait until ``find`` has an answer, asking again after each change. Raises TimeoutError."""
        with self._changed:
            found = self._changed.wait_for(find, timeout)
            if not found:
                raise TimeoutError(f"{what}: not within {timeout} s")
            return found

    def notify(self) -> None:
        """Wake who waits, because something outside this object changed."""
        with self._changed:
            self._changed.notify_all()

    def _end(self, session: SandboxSession, by: EndedBy) -> None:
        now = self._clock()
        if session.undecided or session.status is SessionStatus.ACTIVE:
            decided_at = now if session.decided_at is None else session.decided_at
            session = replace(session, status=SessionStatus.CLOSED, decided_at=decided_at)
        self._put(replace(session, ended_at=now, ended_by=by))
        kind = EventKind.EXPIRED if by is EndedBy.EXPIRY else EventKind.ENDED
        self._tell(kind, session.user, f"by {by.value}", session)

    def _undecided(self, which: SessionOrUser) -> SandboxSession:
        return self._only(which, lambda session: session.undecided, "pending request")

    def _only(
        self, which: SessionOrUser, fits: Callable[[SandboxSession], bool], what: str
    ) -> SandboxSession:
        if isinstance(which, str):
            candidates = [session for session in self.sessions if session.user == which]
        else:
            candidates = [self.session(which if isinstance(which, int) else which.number)]
        found = [session for session in candidates if fits(session)]
        if len(found) != 1:
            name = which.number if isinstance(which, SandboxSession) else which
            raise LookupError(f"{len(found)} of what should be one {what}: {name!r}")
        return found[0]

    def _put(self, session: SandboxSession) -> SandboxSession:
        self._sessions[session.number] = session
        self._changed.notify_all()
        return session

    def _tell(
        self, kind: EventKind, user: str, detail: str = "", session: SandboxSession | None = None
    ) -> None:
        self._changed.notify_all()
        self._listener(Event(kind, user, detail, 0 if session is None else session.number))

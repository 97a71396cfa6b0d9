"""Authentications: each is a request on the phone, and a session of the client."""

from __future__ import annotations

import enum
import secrets
import time
from dataclasses import dataclass, field, replace
from typing import Callable, Union

from pam_iampass.client.status import Status
from pam_iampass.sandbox.events import Event, EventKind, Notifier


class EndedBy(str, enum.Enum):
    """The cause of the end of a session."""

    CLIENT = "client"
    EXPIRY = "expiry"
    PHONE = "phone"
    REMOVAL = "removal"


@dataclass(frozen=True)
class SandboxSession:
    """A snapshot of a session. All times are ``time.monotonic()`` seconds."""

    number: int
    """Counts from 1; also identifies the request in control calls and on the terminal."""
    user: str
    methods: tuple[str, ...]
    """The methods in the call; empty to leave the choice to the service."""
    duration: int
    """Seconds after which the session expires."""
    started_at: float
    answer_by: float
    """When the request times out."""
    path: str
    """Identifies the session in its URLs."""
    token: str = field(repr=False)
    secret: str = field(repr=False)
    status: Status = Status.pending
    approved: bool = False
    """Whether it was ever ``active``."""
    polls: int = 0
    decided_at: float | None = None
    """When it left ``pending`` and ``identifying``."""
    ended_at: float | None = None
    ended_by: EndedBy | None = None

    @property
    def undecided(self) -> bool:
        """Whether the user has not answered yet."""
        return self.status.in_progress

    @property
    def open(self) -> bool:
        """Whether the user was approved, and the session has not ended."""
        return self.status is Status.active or self.status.away


SessionOrUser = Union[SandboxSession, int, str]
"""A session, its number, or a user with exactly one matching session."""


_EVENTS = {
    Status.active: EventKind.APPROVED,
    Status.failed: EventKind.NOT_RECOGNIZED,
    Status.timeout: EventKind.TIMED_OUT,
    Status.cancelled: EventKind.DENIED,
    Status.identifying: EventKind.IDENTIFYING,
}


class SessionRegistry:
    """The sessions; each change replaces a session by a new snapshot."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._sessions: dict[int, SandboxSession] = {}
        self._numbers: dict[str, int] = {}  # by path

    @property
    def all(self) -> tuple[SandboxSession, ...]:
        """Every session so far, the oldest first."""
        with self._notifier:
            return tuple(self._sessions.values())

    def numbered(self, number: int) -> SandboxSession:
        """The session with this number. Raises LookupError."""
        with self._notifier:
            if number not in self._sessions:
                raise LookupError(f"there is no request {number}")
            return self._sessions[number]

    def at_path(self, path: str) -> SandboxSession | None:
        """The session whose URLs contain this path."""
        with self._notifier:
            number = self._numbers.get(path)
            return None if number is None else self._sessions[number]

    def begin(self, user: str, methods: tuple[str, ...], duration: int, patience: float) -> SandboxSession:
        """A new pending session, which times out after ``patience`` seconds or its duration."""
        with self._notifier:
            now = time.monotonic()
            session = SandboxSession(
                number=len(self._sessions) + 1,
                user=user,
                methods=methods,
                duration=duration,
                started_at=now,
                answer_by=now + min(patience, duration),
                path=secrets.token_hex(8),
                token=secrets.token_urlsafe(18),
                secret=secrets.token_urlsafe(24),
            )
            self._numbers[session.path] = session.number
            return self._put(session, EventKind.REQUESTED, ", ".join(methods))

    def undecided(self, which: SessionOrUser) -> SandboxSession:
        """The undecided request. Raises LookupError unless there is exactly one."""
        return self._only(which, lambda each: each.undecided, "undecided request")

    def decide(self, which: SessionOrUser, status: Status) -> SandboxSession:
        """Answer an undecided request. Raises LookupError if there is none."""
        with self._notifier:
            session = self.undecided(which)
            decided_at = None if status.in_progress else time.monotonic()
            approved = status is Status.active
            decided = replace(session, status=status, decided_at=decided_at, approved=approved)
            return self._put(decided, _EVENTS[status])

    def walk_away(self, which: SessionOrUser) -> SandboxSession:
        """The user leaves an active session, which stays open. Raises LookupError if none is active."""
        return self._move(which, Status.active, Status.walkaway, EventKind.WALKED_AWAY)

    def come_back(self, which: SessionOrUser) -> SandboxSession:
        """The user returns to a session: it is active again. Raises LookupError if none was left."""
        return self._move(which, Status.walkaway, Status.active, EventKind.CAME_BACK)

    def open(self, which: SessionOrUser) -> SandboxSession:
        """The open session. Raises LookupError unless there is exactly one."""
        return self._only(which, lambda each: each.open, "open session")

    def count_poll(self, number: int) -> SandboxSession:
        """Count one more poll of a session, and return the session."""
        with self._notifier:
            session = self.numbered(number)
            self._sessions[number] = session = replace(session, polls=session.polls + 1)
            self._notifier.changed()
            return session

    def end(self, number: int, by: EndedBy) -> bool:
        """End a session; False if it has ended already. A denied or timed-out session keeps that status."""
        with self._notifier:
            session, now = self.numbered(number), time.monotonic()
            if session.ended_by is not None:
                return False
            if session.undecided:
                session = replace(session, status=Status.closed, decided_at=now)
            if session.open:
                session = replace(session, status=Status.closed)
            kind = EventKind.EXPIRED if by is EndedBy.EXPIRY else EventKind.ENDED
            self._put(replace(session, ended_at=now, ended_by=by), kind, f"by {by.value}")
            return True

    def time_out(self, number: int) -> None:
        """The time to answer is over; an answered request does not change."""
        with self._notifier:
            if self.numbered(number).undecided:
                self.decide(number, Status.timeout)

    def expire(self, number: int) -> None:
        """The session's duration is over."""
        with self._notifier:
            self.time_out(number)
            if self.numbered(number).open:
                self.end(number, EndedBy.EXPIRY)

    def _move(self, which: SessionOrUser, old: Status, new: Status, kind: EventKind) -> SandboxSession:
        with self._notifier:
            session = self._only(which, lambda each: each.status is old, f"session that is {old.name}")
            return self._put(replace(session, status=new), kind)

    def _only(
        self, which: SessionOrUser, fits: Callable[[SandboxSession], bool], what: str
    ) -> SandboxSession:
        if isinstance(which, str):
            candidates = [session for session in self.all if session.user == which]
        else:
            candidates = [self.numbered(which if isinstance(which, int) else which.number)]
        matching = [session for session in candidates if fits(session)]
        if len(matching) != 1:
            name = f"request {which.number}" if isinstance(which, SandboxSession) else repr(which)
            raise LookupError(f"there must be one {what} for {name}; there are {len(matching)}")
        return matching[0]

    def _put(self, session: SandboxSession, kind: EventKind, detail: str = "") -> SandboxSession:
        self._sessions[session.number] = session
        self._notifier.changed(Event(kind, session.user, detail, session.number))
        return session

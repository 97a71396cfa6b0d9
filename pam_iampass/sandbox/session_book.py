"""Every session that was begun, and all that can become of one."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Callable, Union

from pam_iampass.sandbox.changes import Changes
from pam_iampass.sandbox.events import Event, EventKind
from pam_iampass.sandbox.sessions import EndedBy, SandboxSession, SessionStatus, begin

SessionOrUser = Union[SandboxSession, int, str]
"""A session, its number, or the user whose only undecided one is meant."""

_EVENT_OF_DECISION = {
    SessionStatus.ACTIVE: EventKind.APPROVED,
    SessionStatus.FAILED: EventKind.DENIED,
    SessionStatus.TIMEOUT: EventKind.TIMED_OUT,
    SessionStatus.CANCELLED: EventKind.CANCELLED,
    SessionStatus.IDENTIFYING: EventKind.IDENTIFYING,
}


class SessionBook:
    """The sessions, each replaced by its successor whenever something happens to it."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._sessions: dict[int, SandboxSession] = {}
        self._numbers: dict[str, int] = {}

    @property
    def all(self) -> tuple[SandboxSession, ...]:
        """Every session so far, in the order of their beginning."""
        with self._changes:
            return tuple(self._sessions.values())

    def numbered(self, number: int) -> SandboxSession:
        """The session of this number. Raises LookupError."""
        with self._changes:
            if number not in self._sessions:
                raise LookupError(f"there is no request {number}")
            return self._sessions[number]

    def at_path(self, path: str) -> SandboxSession | None:
        """The session whose URLs hold this."""
        with self._changes:
            number = self._numbers.get(path)
            return None if number is None else self._sessions[number]

    def begin(
        self, user: str, methods: tuple[str, ...], duration: int | None, patience: float
    ) -> SandboxSession:
        """A new pending session, to be answered within ``patience`` seconds."""
        with self._changes:
            number = len(self._sessions) + 1
            session = begin(number, user, methods, duration, patience, time.monotonic())
            self._numbers[session.path] = session.number
            return self._put(session, EventKind.REQUESTED, ", ".join(methods))

    def decide(self, which: SessionOrUser, status: SessionStatus) -> SandboxSession:
        """Answer a request that is still undecided. Raises LookupError where there is none such."""
        with self._changes:
            session = self._only(which, lambda each: each.undecided, "undecided request")
            decided_at = None if status.undecided else time.monotonic()
            approved = status is SessionStatus.ACTIVE
            decided = replace(session, status=status, decided_at=decided_at, approved=approved)
            return self._put(decided, _EVENT_OF_DECISION[status])

    def walk_away(self, which: SessionOrUser) -> SandboxSession:
        """The person left: an active session is one no more. Raises LookupError where none is active."""
        with self._changes:
            session = self._only(which, lambda each: each.status is SessionStatus.ACTIVE, "active session")
            session = replace(
                session, status=SessionStatus.WALKAWAY, ended_at=time.monotonic(), ended_by=EndedBy.PHONE
            )
            return self._put(session, EventKind.WALKED_AWAY)

    def count_poll(self, number: int) -> SandboxSession:
        """Note one more poll of a session, and answer how the session is."""
        with self._changes:
            session = self.numbered(number)
            self._sessions[number] = session = replace(session, polls=session.polls + 1)
            self._changes.made()
            return session

    def end(self, number: int, by: EndedBy) -> bool:
        """End a session; False where it had ended before. One that was denied or timed out stays that."""
        with self._changes:
            session, now = self.numbered(number), time.monotonic()
            if session.ended_by is not None:
                return False
            if session.undecided:
                session = replace(session, status=SessionStatus.CLOSED, decided_at=now)
            if session.status is SessionStatus.ACTIVE:
                session = replace(session, status=SessionStatus.CLOSED)
            kind = EventKind.EXPIRED if by is EndedBy.EXPIRY else EventKind.ENDED
            self._put(replace(session, ended_at=now, ended_by=by), kind, f"by {by.value}")
            return True

    def time_out(self, number: int) -> None:
        """The time to answer is over; a request that was answered in time is left as it is."""
        with self._changes:
            if self.numbered(number).undecided:
                self.decide(number, SessionStatus.TIMEOUT)

    def expire(self, number: int) -> None:
        """The session's own time is over."""
        with self._changes:
            self.time_out(number)
            if self.numbered(number).status is SessionStatus.ACTIVE:
                self.end(number, EndedBy.EXPIRY)

    def _only(
        self, which: SessionOrUser, fits: Callable[[SandboxSession], bool], what: str
    ) -> SandboxSession:
        if isinstance(which, str):
            candidates = [session for session in self.all if session.user == which]
        else:
            candidates = [self.numbered(which if isinstance(which, int) else which.number)]
        found = [session for session in candidates if fits(session)]
        if len(found) != 1:
            name = f"request {which.number}" if isinstance(which, SandboxSession) else repr(which)
            raise LookupError(f"there must be one {what} for {name}; there are {len(found)}")
        return found[0]

    def _put(self, session: SandboxSession, kind: EventKind, detail: str = "") -> SandboxSession:
        self._sessions[session.number] = session
        self._changes.made(Event(kind, session.user, detail, session.number))
        return session

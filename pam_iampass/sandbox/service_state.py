"""The state of the simulated service: its users and sessions, under one lock.

The server changes it in its event loop, tests in their own threads.
"""

from __future__ import annotations

from pam_iampass.sandbox.events import Event, EventKind, Listener
from pam_iampass.sandbox.notifier import Notifier
from pam_iampass.sandbox.session_registry import SessionRegistry
from pam_iampass.sandbox.sessions import EndedBy, SandboxSession, SessionOrUser, SessionStatus
from pam_iampass.sandbox.state_folder import StateFolder
from pam_iampass.sandbox.user_registry import UserRegistry


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

    def answer(self, which: SessionOrUser, status: SessionStatus) -> SandboxSession:
        """Answer an undecided request on the phone. Raises LookupError if there is none, or the phone is lost."""
        with self.notifier:
            session = self.sessions.undecided(which)
            if self.users.is_lost(session.user):
                raise LookupError(f"the phone of {session.user!r} is lost")
            return self.sessions.decide(session, status)

    def move(self, which: SessionOrUser, verb: str) -> SandboxSession:
        """On the phone, end an open session (``end``), leave it (``away``) or return to it (``back``).

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

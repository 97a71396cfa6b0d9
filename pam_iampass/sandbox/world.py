"""What the service knows, in one place.

Safe for threads: the server changes it from its event loop, a test from its own thread.
"""

from __future__ import annotations

from pam_iampass.sandbox.accounts import Accounts
from pam_iampass.sandbox.accounts_file import AccountsFile
from pam_iampass.sandbox.changes import Changes
from pam_iampass.sandbox.events import Event, EventKind, Listener
from pam_iampass.sandbox.session_book import SessionBook
from pam_iampass.sandbox.sessions import EndedBy


class World:
    """Users and sessions under one lock.

    :param listener: told of everything that happens.
    :param file: where users and their devices are kept.
    """

    def __init__(self, listener: Listener, file: AccountsFile) -> None:
        self.changes = Changes(listener)
        self.accounts = Accounts(self.changes, file)
        self.sessions = SessionBook(self.changes)

    def delete_user(self, user: str) -> bool:
        """Forget a user, and end its sessions; False where it was not there."""
        with self.changes:
            for session in self.sessions.all:
                if session.user == user:
                    self.sessions.end(session.number, EndedBy.REMOVAL)
            return self.accounts.remove(user)

    def tell(self, kind: EventKind, user: str = "", detail: str = "") -> None:
        """Tell of something that changed nothing here."""
        self.changes.made(Event(kind, user, detail))

"""The state that the agent must not forget: limits, recovery codes, bypasses, lost phones, kept sessions. The agent has
one such object.

Logins and the administrator's verbs, through the agent, use its parts. A person is an approver, by the name that NSS or
the user table has. Every method may be called in any thread.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence

from pam_iampass.audit.journal import CRITICAL, NOTICE, Journal
from pam_iampass.errors import StateError
from pam_iampass.login.bypass import Bypasses
from pam_iampass.login.lost_phones import LostPhones
from pam_iampass.login.recovery import RecoveryCodes
from pam_iampass.login.throttle_store import ThrottleStore
from pam_iampass.session import life
from pam_iampass.session.kept_session import KeptSession, State
from pam_iampass.session.store import KeptSessions
from pam_iampass.system import paths
from pam_iampass.system.database import Database

#: How often it is looked whether sessions have ended. Seconds.
_LOOK = 0.1


class AgentState:
    """The state of the agent, in the file at `path`."""

    def __init__(self, journal: Journal, path: str = paths.STATE) -> None:
        self._journal = journal
        self.database = Database(path, report=self._report)
        self.lost_phones = LostPhones(self.database)
        self.throttle = ThrottleStore(self.database, is_lost=self.lost_phones.has)
        self.recovery_codes = RecoveryCodes(self.database)
        self.bypasses = Bypasses(self.database)
        self.sessions: KeptSessions | None = None
        """None until the agent keeps sessions."""

    def keep(self, sessions: KeptSessions) -> None:
        """Keep sessions: logins that wait look whether one covers them, once it is open."""
        self.sessions = sessions
        sessions.on_opened = self.throttle.wake

    @property
    def problem(self) -> str:
        """Why the state cannot be read or written, with the remedy; empty if it can."""
        return "" if self.database.problem is None else str(self.database.problem)

    def _report(self, problem: StateError | None) -> None:
        if problem is None:
            self._journal.note("the agent's state can be written again", NOTICE)
        else:
            what = "no recovery code is accepted, and a restart of the agent forgets what it has counted"
            self._journal.note(f"{what}: {problem}", CRITICAL)

    def phone_lost(self, person: str, tokens: Collection[str] = ()) -> tuple[int, list[str], str]:
        """Deny the logins of the person that have begun, and end their sessions, which cover nothing from now on.

        Their sessions are the ones that they have approved, and the ones of their logins that a second person has
        approved. Sessions that a phone of these tokens has approved for others end, too.

        Returns how many logins wait, the ids of the sessions that are being ended, and why a restart of the agent would
        forget it, with the remedy; that is empty if it would not.
        """
        pending = self.throttle.phone_lost(person)  # before: a login that is approved meanwhile finds it
        sessions = [
            kept.id
            for kept in self.kept_sessions()
            if person in (kept.approver, kept.person) or kept.token in tokens
        ]
        self.end_sessions(sessions, 0.0)
        try:
            self.throttle.settle(person)
        except StateError as error:
            return pending, sessions, error.diagnostics()
        return pending, sessions, ""

    def resume(self, descriptors: dict[str, int]) -> None:
        """Go on with the sessions of an agent that has ended, without those that `phone_lost` has cut off.

        `descriptors` are the pidfds that systemd has kept.
        """
        if self.sessions is not None:
            self.sessions.resume(descriptors)
            for kept in self.sessions.all():
                lost = max(self.throttle.state(name).lost for name in (kept.approver, kept.person))
                if kept.began <= lost or self.lost_phones.of_token(kept.token):
                    self.sessions.change(kept.id, life.administrator)

    def kept_sessions(self) -> list[KeptSession]:
        """The approved sessions, the oldest first."""
        found = self.sessions.all() if self.sessions is not None else []
        return [kept for kept in found if kept.state is not State.ASKED]

    def end_sessions(self, idents: Sequence[str], patience: float) -> list[str]:
        """End sessions and their logins, as an administrator; returns the ids of the ones that have not ended in time.

        Waits `patience` seconds at most, until IAMPASS knows and the logins are over; 0 does not wait.
        """
        if self.sessions is None:
            return []
        for ident in idents:
            self.sessions.change(ident, life.administrator)
        until = time.monotonic() + patience
        while True:
            known = {kept.id for kept in self.sessions.all()}
            left = [ident for ident in idents if ident in known]
            if not left or time.monotonic() >= until:
                return left
            time.sleep(_LOOK)

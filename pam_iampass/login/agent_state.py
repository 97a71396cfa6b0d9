"""What the agent must not forget: limits, recovery codes, bypasses, kept sessions. One object in the agent.

Logins use its parts; the administrator's verbs call its methods, through the agent. A person is an approver, by the
name that NSS or the user table has. Every method may be called in any thread.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pam_iampass.login.context import StateDirs
from pam_iampass.outcome import Login
from pam_iampass.session import life
from pam_iampass.session.kept_session import State

if TYPE_CHECKING:
    from pam_iampass.login.bypass import Bypass
    from pam_iampass.login.bypass_editing import Ended
    from pam_iampass.login.rate_limit import RateLimit
    from pam_iampass.login.rate_limit_state import RateLimitState
    from pam_iampass.login.recovery_codes import CodeList
    from pam_iampass.session.keeper import KeptSessions
    from pam_iampass.session.kept_session import KeptSession

#: How often it is looked whether sessions have ended. Seconds.
_LOOK = 0.1


class AgentState:
    """The state of the agent. `sessions` is None where none are kept."""

    def __init__(self, dirs: StateDirs, sessions: KeptSessions | None = None) -> None:
        self._dirs = dirs
        self._sessions = sessions

    @property
    def problem(self) -> str:
        """Why the state cannot be read or written, with the remedy; empty if it can."""
        return ""

    # throttle

    def throttle(self, person: str) -> RateLimitState:
        """The person's requests, failures, wrong codes and pending logins now. Raises StateError."""
        return self._limit(person).state()

    def clear_throttle(self, person: str) -> None:
        """Forget failures, requests and wrong codes; pending logins go on. Raises StateError."""
        self._limit(person).clear()

    def phone_lost(self, person: str) -> int:
        """End all pending logins of the person; returns how many there are. Raises StateError."""
        return self._limit(person).phone_lost()

    def _limit(self, person: str) -> RateLimit:
        return self._dirs.rate_limit(person, Login(person, ""))

    # recovery

    def make_codes(self, person: str) -> list[str]:
        """Replace all recovery codes by new ones and return these, in the form for people. Raises StateError.

        They are on the disk when this returns.
        """
        return self._dirs.recovery_codes(person).renew()

    def codes(self, person: str) -> CodeList | None:
        """The person's recovery codes, as hashes, with the moments at which they were used; None without any.

        Raises StateError.
        """
        return self._dirs.recovery_codes(person).stored()

    def revoke_codes(self, person: str) -> bool:
        """Remove all recovery codes; return whether there were any. Raises StateError."""
        return self._dirs.recovery_codes(person).revoke()

    # bypass

    def add_bypass(self, bypass: Bypass) -> list[Ended]:
        """Make a bypass, in place of others for the same person and service; returns those that are over now.

        It is on the disk when this returns. Raises StateError: then there is none.
        """
        raise NotImplementedError

    def bypasses(self) -> list[Bypass]:
        """All bypasses that are not over, those that end first first."""
        return self._dirs.bypasses.active()

    def end_bypasses(self, person: str) -> list[Ended]:
        """End all bypasses of a person; returns those that are over now.

        Raises StateError where that could not be written: they are over all the same, until the agent starts again.
        """
        raise NotImplementedError

    def prune_bypasses(self) -> list[Ended]:
        """Remove the bypasses whose time is over, and return them. Raises StateError."""
        raise NotImplementedError

    # session

    def kept_sessions(self) -> list[KeptSession]:
        """The approved sessions, the oldest first. `KeptSession.public` is what may be shown of one."""
        found = self._sessions.all() if self._sessions is not None else []
        return [kept for kept in found if kept.state is not State.ASKED]

    def end_sessions(self, idents: Sequence[str], patience: float) -> list[str]:
        """End sessions and their logins, as an administrator; returns the ids of those that have not ended in time.

        Waits `patience` seconds at most, until IAMPASS knows and the logins are over; 0 does not wait.
        """
        if self._sessions is None:
            return []
        for ident in idents:
            self._sessions.change(ident, life.administrator)
        until = time.monotonic() + patience
        while True:
            known = {kept.id for kept in self._sessions.all()}
            left = [ident for ident in idents if ident in known]
            if not left or time.monotonic() >= until:
                return left
            time.sleep(_LOOK)

    # user remove

    def forget(self, person: str) -> tuple[bool, list[Ended]]:
        """End the person's pending logins and bypasses, remove recovery codes, forget the limits.

        Returns whether there were codes, and the bypasses that are over now. Raises StateError.
        """
        self.clear_throttle(person)
        self.phone_lost(person)
        codes = self.revoke_codes(person)
        return codes, self.end_bypasses(person)

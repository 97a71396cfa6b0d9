"""Logins that a kept session covers: they need no approval of their own (docs/sessions.md)."""

from __future__ import annotations

import math

from pam_iampass.client import Deadline, IampassError, ManagementAPI, ManagementAPIResult
from pam_iampass.login import decisions
from pam_iampass.login.api import connect
from pam_iampass.login.application import PamApplication
from pam_iampass.login.context import LoginContext
from pam_iampass.login.policy import ApprovalRequired
from pam_iampass.outcome import Decision
from pam_iampass.session import life
from pam_iampass.session.cover import Cover, CoverRequest


class Covered(Exception):
    """A login that waited for its turn is covered."""

    def __init__(self, decision: Decision) -> None:
        super().__init__()
        self.decision = decision


class Covering:
    """Looks for a kept session that covers one login. IAMPASS is asked once about each."""

    def __init__(
        self, required: ApprovalRequired, application: PamApplication, context: LoginContext
    ) -> None:
        self._required = required
        self._application = application
        self._sessions = context.kept_sessions
        self._connect = context.connect
        self._timeout = context.cover_timeout
        self._refused: set[str] = set()
        login = required.login
        self._request = CoverRequest(
            config=context.config,
            service=login.service,
            user=login.user,
            approver=required.approver,
            methods=required.phone.methods,
            real_uid=login.real_uid,
            audit_session=application.audit_session,
            address=login.address,
            first_factor=login.first_factor,
            token=required.phone.token,
        )

    def find(self, time_left: float = math.inf) -> Decision | None:
        """The decision, if a session covers the login and IAMPASS, asked now, says that it is active.

        The phone that approved it may have been reported lost on another machine: IAMPASS must also know a phone.

        Raises ApplicationGone.
        """
        if self._sessions is None:
            return None
        settings = self._required.settings
        deadline = Deadline.after(min(self._timeout, time_left))
        found = self._sessions.candidates(self._request, lambda name: settings.for_service(name).session)
        found = [cover for cover in found if cover.session not in self._refused]
        if not found or not self._sessions.may_ask(self._required.approver):
            return None
        if not self._has_phone(found, deadline):
            return None
        for cover in found:
            if deadline.remaining() <= 0:
                return None
            if self._sessions.confirm(cover, deadline, self._application.opener):
                if cover.connection:
                    self._application.keep(cover.session)
                return decisions.covered(cover, self._required.approver)
            self._refused.add(cover.session)
        return None

    def _has_phone(self, found: list[Cover], deadline: Deadline) -> bool:
        """Whether IAMPASS says that the person has a phone. If it says that there is none, the sessions are revoked."""
        settings, token = self._required.settings, self._required.phone.token
        try:
            manager = connect(ManagementAPI, settings, self._connect(settings).transport)
            answer = manager.has_registered_mobile_device(token, deadline=deadline)
        except (IampassError, ValueError):
            return False
        if answer is ManagementAPIResult.no_mobile_device and self._sessions is not None:
            for cover in found:
                self._sessions.change(cover.session, life.revoked)
        return answer is ManagementAPIResult.has_mobile_device

    def look(self, time_left: float) -> None:
        """Raises Covered where `find` returns a decision, and ApplicationGone."""
        decision = self.find(time_left)
        if decision is not None:
            raise Covered(decision)

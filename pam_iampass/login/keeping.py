"""Kept sessions in a login (docs/one-server/sessions.md): one may cover the login, or the login begins one that
outlives it."""

from __future__ import annotations

import math
import os

from pam_iampass.client import Deadline, Session
from pam_iampass.config.value_types import LONGEST_SESSION
from pam_iampass.errors import StateError
from pam_iampass.login import decisions
from pam_iampass.login.application import PamApplication
from pam_iampass.login.context import ApprovalRequired, LoginContext
from pam_iampass.login.policy import key_names_person
from pam_iampass.outcome import Decision
from pam_iampass.session import life
from pam_iampass.session.cover import CoverRequest
from pam_iampass.session.kept_session import SESSION_MARGIN, KeptSession, State, new_id
from pam_iampass.system.boot import since_boot
from pam_iampass.text import one_line


class Covering:
    """Looks for a kept session that covers one login. IAMPASS is asked once about each."""

    def __init__(
        self, required: ApprovalRequired, application: PamApplication, context: LoginContext
    ) -> None:
        self._required = required
        self._application = application
        self._sessions = context.state.sessions
        self._timeout = context.cover_timeout
        self._refused: set[str] = set()
        self._request = CoverRequest(
            login=required.login,
            config=context.config,
            account=required.account,
            approver=required.approver,
            methods=required.phone.methods,
            audit_session=application.audit_session,
            token=required.phone.token,
            of_gateway=required.decider.of_gateway,
            agent=required.agent,
            key_names_person=key_names_person(required.service, required.configuration.users),
        )

    def find(self, time_left: float = math.inf) -> Decision | None:
        """The decision, if a session covers the login and IAMPASS, asked now, says that it is active.

        The phone that approved it may have been reported lost on another machine: the person must also have a phone. If
        they have none, the sessions are revoked.

        Raises ApplicationGone.
        """
        if self._sessions is None:
            return None
        settings = self._required.settings
        deadline = Deadline.after(min(self._timeout, time_left))
        found = self._sessions.candidates(self._request, lambda name: settings.for_service(name).session)
        found = [cover for cover in found if cover.session not in self._refused]
        if not found or not self._sessions.may_ask(self._required.counted):
            return None
        has_phone = self._required.decider.has_phone(self._required.phone.token, deadline)
        if has_phone is False:
            for cover in found:
                self._sessions.change(cover.session, life.revoked)
        if not has_phone:
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


class Keeping:
    """Hands the session of one request over to the keeper, once it is approved."""

    def __init__(
        self, required: ApprovalRequired, application: PamApplication, context: LoginContext
    ) -> None:
        self._required = required
        self._application = application
        self._sessions = context.state.sessions if required.service.session.keep else None
        self._config = context.config
        self._ident = ""
        self._age = 0
        """How many seconds ago the phone has approved the login that covers this one."""
        self.wanted = self._sessions is not None
        """Whether the settings want it kept."""
        self.problem = ""
        """Why the session cannot be kept, although the settings want it; empty if there is no reason."""
        self.kept = False
        """Whether the keeper ends the session."""

    def duration(self, timeout: float) -> int:
        """The number of seconds after which IAMPASS ends the session, if nobody else does."""
        longest = timeout if self._sessions is None else max(self._required.service.session.longest, timeout)
        return min(int(longest) + SESSION_MARGIN, LONGEST_SESSION)

    def begin(self, session: Session) -> None:
        """The request is on the phone."""
        if self._sessions is None:
            return
        required, login = self._required, self._required.login
        self._age = session.covered_age
        kept = KeptSession(
            id=new_id(),
            state=State.ASKED,
            session=Session.Schema().dumps(session),
            config=self._config,
            user=required.account,
            approver=required.approver,
            service=login.service,
            rhost=login.rhost or "",
            through_sshd=login.through_sshd,
            address=login.address,
            first_factor=login.first_factor,
            methods=required.phone.methods,
            rules=required.service.session,
            began=since_boot(),
            approved=0.0,
            since=0.0,
            token=required.phone.token,
            person=required.person,
            of_gateway=required.decider.of_gateway,
            agent=required.agent,
            covered_by=session.covered_by or "",
        )
        try:
            self._sessions.begin(kept)
        except StateError as error:
            self.problem = f"the session is not kept: {one_line(error.diagnostics())}"
        else:
            self._ident = kept.id

    def approve(self) -> str:
        """The phone has approved: the session is the keeper's. Returns its id; empty if it is not kept.

        Raises ApplicationGone.
        """
        if self._sessions is None or not self._ident:
            return ""
        try:
            pid, pidfd = self._application.opener()
        except OSError as error:  # nothing would tell of a login that ends before it opens its session
            self.problem = f"the session is not kept: its process cannot be seen ({error.strerror})"
            return ""
        try:
            self._application.keep(self._ident)
        except BaseException:
            os.close(pidfd)
            raise
        self._sessions.approve(self._ident, pid, pidfd, self._age)
        self.kept = True
        return self._ident

    def give_back(self) -> None:
        """The login is denied nevertheless, and ends the session itself."""
        self.kept = False

    def drop(self) -> None:
        """The login has ended the session."""
        if self._sessions is not None and self._ident and not self.kept:
            self._sessions.drop(self._ident)

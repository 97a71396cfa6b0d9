"""IAMPASS as the decider (`decider.py`): a host that has joined no gateway asks it directly, and counts everything."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from pam_iampass.client import (
    AuthenticationAPI,
    AuthenticationMethod,
    Deadline,
    ManagementAPI,
    ManagementAPIResult,
    Session,
)
from pam_iampass.client.errors import IampassError, NotFound
from pam_iampass.login import decisions
from pam_iampass.login.decider import (
    Answer,
    Asked,
    RefusedStarts,
    Request,
    Sent,
    poll_failed,
    start_failed,
)
from pam_iampass.login.throttle import Scope
from pam_iampass.outcome import Decision, Outcome, denied

UNKNOWN = "IAMPASS does not know the application"
"""In the reason of a denial that a 404 has caused."""


@dataclass(frozen=True)
class AtIampass:
    """The application of these settings at IAMPASS."""

    api: AuthenticationAPI
    manager: ManagementAPI
    refused: RefusedStarts = field(default_factory=lambda: RefusedStarts("IAMPASS"), compare=False)
    queue_scope: ClassVar[Scope] = Scope.PERSON
    of_gateway: ClassVar[bool] = False
    redeems_codes: ClassVar[bool] = False

    def start(
        self, request: Request, duration: int, *, may_be_covered: bool, may_be_outage: bool
    ) -> Answer | Asked:
        """See `Decider.start`."""
        known = self.refused.find(request)
        if known is not None:
            return known
        try:
            session = self.api.authenticate_user(
                request.phone.token,
                [AuthenticationMethod[name] for name in request.phone.methods],
                duration,
                deadline=request.deadline,
                pause=request.application.pause,
            )
        except NotFound as error:
            return self.refused.add(error, request, self._unknown(error, request))
        except (IampassError, ValueError) as error:
            return start_failed(error, request, "IAMPASS", self.refused, may_be_outage=may_be_outage)
        if session.failure_reason is not None:
            return Answer(decisions.not_asked(session.failure_reason), Sent.MAY_HAVE_RUNG)
        return Asked(session, Sent.MAY_HAVE_RUNG)

    def answer(self, session: Session, request: Request) -> Answer:
        """See `Decider.answer`."""
        return Answer(decisions.answered(session, request.service), Sent.MAY_HAVE_RUNG)

    def explain(self, error: IampassError, request: Request) -> Decision:
        """See `Decider.explain`."""
        return poll_failed(error, request, "IAMPASS")

    def redeem(self, code: str, before: Decision | None, request: Request) -> None:
        """IAMPASS has no recovery codes."""

    def has_phone(self, token: str, deadline: Deadline) -> bool | None:
        """See `Decider.has_phone`."""
        try:
            answer = self.manager.has_registered_mobile_device(token, deadline=deadline)
        except (IampassError, ValueError):
            return None
        known = {ManagementAPIResult.has_mobile_device: True, ManagementAPIResult.no_mobile_device: False}
        return known.get(answer)

    def _unknown(self, error: NotFound, request: Request) -> Decision:
        """IAMPASS does not know the application, or not the person's token, which no log may contain."""
        reason = (
            f'{error}: {UNKNOWN} "{self.api.application_id}", or has no user with the '
            f"token of {request.approver}. Check application_id and server; pam-iampass doctor finds out which it is"
        )
        message = (
            "IAMPASS does not know you, or does not know this machine. " + decisions.ASK_THE_ADMINISTRATOR
        )
        return denied(Outcome.DENIED, reason, message)

"""IAMPASS as the decider (`decider.py`): a host that has joined no gateway asks it directly, and counts everything."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from typing import Callable, ClassVar

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
    Request,
    Sent,
    poll_failed,
    start_failed,
)
from pam_iampass.login.throttle import Scope
from pam_iampass.outcome import Decision, Outcome, denied

UNKNOWN = "IAMPASS does not know the application"
"""A part of the reason of a denial that a 404 has caused."""
MOST_REFUSED = 5
"""How often a start for one person is made within REFUSED_SECONDS, if each is refused by a complete 401, 403 or 404."""
REFUSED_SECONDS = 60.0


class RefusedStarts:
    """The starts that IAMPASS has refused with a complete 401, 403 or 404.

    No phone rang, so they count for nobody's limits; but nobody can cause such calls without end. This belongs to the
    settings as they were read: once the settings are mended, nothing is held against anybody.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._refused: dict[str, list[tuple[float, Decision]]] = {}
        """The last refusals, by the token of the phone."""

    def add(self, request: Request, decision: Decision) -> None:
        """A start was refused."""
        with self._lock:
            before = self._refused.get(request.phone.token, [])
            self._refused[request.phone.token] = [*before, (self._clock(), decision)][-MOST_REFUSED:]

    def find(self, request: Request) -> Answer | None:
        """Return the answer without a call, with the reason of the last refusal; None if a call may be made."""
        with self._lock:
            refused = self._refused.get(request.phone.token, [])
            left = refused[0][0] + REFUSED_SECONDS - self._clock() if len(refused) == MOST_REFUSED else 0.0
            if left <= 0.0:
                return None
            decision = refused[-1][1]
        reason = f"{decision.reason}; {MOST_REFUSED} starts were refused within a minute, and no other one was sent"
        message = f"{decision.message} IAMPASS is asked again in {decisions.wait_of(left)}."
        return Answer(replace(decision, reason=reason, message=message), Sent.NOTHING)


@dataclass(frozen=True)
class AtIampass:
    """The application of these settings at IAMPASS."""

    api: AuthenticationAPI
    manager: ManagementAPI
    refused: RefusedStarts = field(default_factory=RefusedStarts, compare=False)
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
        except (IampassError, ValueError) as error:
            answer = start_failed(error, request, "IAMPASS", may_be_outage=may_be_outage)
            if isinstance(error, NotFound):
                answer = replace(answer, decision=self._unknown(error, request))
            if answer.sent is Sent.RANG_NOBODY:
                self.refused.add(request, answer.decision)
            return answer
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
            f"token of {request.approver}. Check application_id and server; pam-iampass check finds out which it is"
        )
        message = (
            "IAMPASS does not know you, or does not know this machine. " + decisions.ASK_THE_ADMINISTRATOR
        )
        return denied(Outcome.DENIED, reason, message)

"""A gateway of a fleet as the decider (`decider.py`) of a host that has joined it: docs/inside/gateway-protocol.md.

An answer of a gateway can only deny a login, with three exceptions: `active` after it has asked a phone, that its
administrator lets the person in, and that a login on another host covers this one.
"""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass, replace
from typing import ClassVar

from pam_iampass.client import AuthenticationAPI, AuthenticationMethod, Deadline, Session
from pam_iampass.client.application import Redemption
from pam_iampass.client.errors import IampassError, NotFound, Refused, Unavailable
from pam_iampass.client.session import BYPASSED, Refusal
from pam_iampass.config.ssh_keys import AcceptedKey, PlainKey
from pam_iampass.config.value_types import LONGEST_NAME
from pam_iampass.login import decisions
from pam_iampass.login.decider import (
    Answer,
    Asked,
    Covered,
    Request,
    Sent,
    poll_failed,
    start_failed,
)
from pam_iampass.login.policy import PolicyError, accepted
from pam_iampass.login.throttle import Scope, ip_address
from pam_iampass.outcome import Decision, Outcome, Phase, Result, denied
from pam_iampass.system.boot import machine_digest

#: How a login can end that a gateway refuses, by its word. Any other is a denial.
_OUTCOMES = {
    each.value: each
    for each in (
        Outcome.NO_DEVICE,
        Outcome.UNLISTED,
        Outcome.THROTTLED,
        Outcome.MISCONFIGURED,
        Outcome.UNAVAILABLE,
    )
}
#: How long a gateway may take to redeem a recovery code. Seconds.
TIME_TO_REDEEM = 20.0
_PEER = "The gateway"


@dataclass(frozen=True)
class AtGateway:
    """This host at the gateways that its settings name."""

    api: AuthenticationAPI
    queue_scope: ClassVar[Scope] = Scope.ORIGIN
    of_gateway: ClassVar[bool] = True
    redeems_codes: ClassVar[bool] = True

    def start(
        self, request: Request, duration: int, *, may_be_covered: bool, may_be_outage: bool
    ) -> Answer | Covered | Asked:
        """See `Decider.start`. The gateway counts requests itself, also those that it refuses."""
        connection = _connection(request) if may_be_covered else ""
        told = {**_told(request), **({"connection": connection} if connection else {})}
        try:
            session = self.api.authenticate_user(
                request.phone.token,
                [AuthenticationMethod[name] for name in request.phone.methods],
                duration,
                parameters=told,
                command=request.login.participants.command,
                deadline=request.deadline,
                pause=request.application.pause,
            )
        except (IampassError, ValueError) as error:
            answer = start_failed(error, request, _PEER, may_be_outage=may_be_outage)
            return replace(answer, decision=_unknown(error)) if isinstance(error, NotFound) else answer
        if session.failure_reason == BYPASSED and not request.asker:
            return Answer(_bypassed(request), Sent.RANG_NOBODY)
        if session.failure_reason is not None:
            return _not_asked(session, request)
        if session.active and session.covered_by is not None and connection:
            return Covered(session, session.covered_by)
        return Asked(session, Sent.MAY_HAVE_RUNG)

    def answer(self, session: Session, request: Request) -> Answer:
        """See `Decider.answer`. A login may have waited in vain for its turn."""
        if session.queued or session.failure_reason is not None:
            return _not_asked(session, request)
        decision = decisions.answered(session, request.service)
        if decision.outcome is Outcome.APPROVED and not request.asker:
            decision = replace(decision, notice=session.news)
        return Answer(decision, Sent.MAY_HAVE_RUNG)

    def explain(self, error: IampassError, request: Request) -> Decision:
        """See `Decider.explain`. A host may have been suspended meanwhile."""
        if isinstance(error, Refused) and error.status == 403:
            why = "HOST_SUSPENDED, says the gateway: pam-iampass-gateway host resume"
            return denied(Outcome.MISCONFIGURED, why, decisions.NOT_FROM_HERE)
        return poll_failed(error, request, _PEER)

    def redeem(self, code: str, before: Decision | None, request: Request) -> Decision | None:
        """See `Decider.redeem`. Returns None only if no gateway can be reached."""
        request.application.set_deadline(TIME_TO_REDEEM)
        try:
            told = self.api.redeem_code(
                request.phone.token,
                code,
                _told(request),
                command=request.login.participants.command,
                deadline=request.deadline,
                pause=request.application.pause,
            )
        except NotFound as error:
            return _unknown(error)
        except IampassError as error:
            if isinstance(error, Unavailable) and error.outage and not error.may_have_started:
                return None
            return poll_failed(error, request, _PEER)
        if told.left is not None:
            return replace(decisions.recovered(told.left, before), of_gateway=True)
        return _code_refused(told, before)

    def has_phone(self, token: str, deadline: Deadline) -> bool:
        """A gateway tells no host of phones; it ends the sessions of a person who loses theirs."""
        return True


def _told(request: Request) -> dict[str, str]:
    """The parameters that tell a gateway of the login, with a new id of the request.

    What is not known, or no text for a log, is left out.
    """
    login, people = request.login, request.login.participants
    keys: list[AcceptedKey] = []
    with contextlib.suppress(PolicyError):
        keys = accepted(login.ssh_auth_info)
    told = {
        "machine": machine_digest(),
        "login": login.id,
        "service": login.service,
        "remote": login.address if login.through_sshd else str(ip_address(login.rhost or "") or ""),
        "asker": request.asker,
        "caller": people.caller,
        "session_user": "" if people.session_user == request.approver else people.session_user,
        "key": next((key.fingerprint for key in keys if isinstance(key, PlainKey)), ""),
    }
    told = {name: text for name, text in told.items() if text.isprintable() and 0 < len(text) <= LONGEST_NAME}
    timeout = str(max(int(request.deadline.remaining()), 1))
    return {"request_id": secrets.token_urlsafe(16), "timeout": timeout, **told}


def _connection(request: Request) -> str:
    """The connection of sshd, which begins on another host if a login there covers this one.

    Empty outside sshd, and where a second person must approve: the login there would be that person's.
    """
    login = request.login
    if not login.through_sshd or login.real_uid != 0 or request.asker:
        return ""
    return request.application.served_connection


# What a gateway says, as decisions


def _unknown(error: NotFound) -> Decision:
    """The gateway does not know this host."""
    what = "the gateway does not know this host, which must leave and join it again"
    return decisions.misconfigured(f"{error}: {what}")


def _bypassed(request: Request) -> Decision:
    """The gateway has said of this very request that its administrator lets the person in without the phone."""
    reason = f"{request.approver} is bypassed, says the gateway: pam-iampass-gateway bypass list"
    return Decision(Outcome.BYPASSED, Result.IGNORED, reason, decisions.BYPASSED, of_gateway=True)


def _not_asked(session: Session, request: Request) -> Answer:
    """The gateway says why the phone was not asked, or that it does not know whether it was."""
    reason, refusal = session.failure_reason, session.refusal
    if reason is None:  # the session is queued until the end
        return Answer(decisions.turn_did_not_come(), Sent.RANG_NOBODY)
    if reason == decisions.NO_PHONE or refusal is None:  # in the words of IAMPASS
        decision = decisions.not_asked(reason)
    else:
        decision = _refused(reason, refusal)
        if refusal.wait and decision.outcome is Outcome.THROTTLED:
            can_type = request.login.phase is Phase.AUTHENTICATE and not request.asker
            decision = decisions.throttled(decision.reason, refusal.wait, can_type=can_type)
    may_ring = decision.outcome is Outcome.UNAVAILABLE
    return Answer(decision, Sent.MAY_HAVE_RUNG if may_ring else Sent.RANG_NOBODY)


def _code_refused(told: Redemption, before: Decision | None) -> Decision:
    """The gateway has not redeemed the recovery code."""
    if told.reason == "WRONG_CODE":
        return decisions.wrong_code(before)
    if told.refusal is None:
        return denied(Outcome.DENIED, told.reason, "The gateway could not redeem the recovery code.")
    if told.refusal.wait:
        return decisions.too_many_codes(f"{told.reason}, says the gateway", told.refusal.wait)
    return _refused(told.reason, told.refusal)


def _refused(reason: str, refusal: Refusal) -> Decision:
    """The gateway gives the words of a denial."""
    outcome = _OUTCOMES.get(refusal.outcome, Outcome.DENIED)
    return denied(outcome, f"{reason}, says the gateway: {refusal.why}", refusal.message)

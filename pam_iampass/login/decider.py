"""The decider of a request for approval: IAMPASS (`at_iampass.py`), or a gateway of a fleet (`at_gateway.py`).

`Configuration.decider` is one of the two, chosen when the settings are read. A login asks it, and nothing in this
package asks which of the two it is. What only one of them knows is an answer: what a login on another host covers,
whether a phone was asked, the words of a refusal. `queue_scope` also says who counts requests: the gateway, or this
host.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import ClassVar, Protocol

from pam_iampass.client import Deadline, Session
from pam_iampass.client.errors import IampassError, NotFound, ProtocolError, Refused, Unavailable
from pam_iampass.config.settings import ServiceSettings
from pam_iampass.config.value_types import OUTAGE_SERVICES
from pam_iampass.login import decisions
from pam_iampass.login.application import PamApplication
from pam_iampass.login.policy import Phone
from pam_iampass.login.throttle import Scope
from pam_iampass.outcome import Decision, Login


@dataclass(frozen=True)
class Request:
    """One request to approve a login, or to redeem a recovery code for it."""

    login: Login
    approver: str
    """The person whose phone is asked."""
    asker: str
    """The person who asks another one to approve; empty if people approve their own logins."""
    service: ServiceSettings
    phone: Phone
    application: PamApplication
    deadline: Deadline


class Sent(enum.Enum):
    """The state of a request: how far it has come, and so whether its result counts for limits."""

    NOTHING = "nothing has left this machine"
    RANG_NOBODY = "it may have left this machine, but no phone was asked"
    MAY_HAVE_RUNG = "a phone may have been asked"

    @property
    def may_have_left(self) -> bool:
        """Whether something may have left this machine, whatever became of it there."""
        return self is not Sent.NOTHING

    @property
    def may_have_rung(self) -> bool:
        """Whether the request may have reached the phone."""
        return self is Sent.MAY_HAVE_RUNG


@dataclass(frozen=True)
class Answer:
    """The end of a request: the decision, and how far the request has come."""

    decision: Decision
    sent: Sent


@dataclass(frozen=True)
class Covered:
    """A login on another host covers this one, which must be ended with it: by this session."""

    session: Session
    host: str
    sent: ClassVar[Sent] = Sent.RANG_NOBODY


@dataclass(frozen=True)
class Asked:
    """The phone is asked, or will be once other requests are decided (`session.queued`)."""

    session: Session
    sent: Sent


class Decider(Protocol):
    """IAMPASS or a gateway. The methods with a request raise ApplicationGone and Stopping."""

    queue_scope: ClassVar[Scope]
    """The logins for which one waits on this host, before its request is started; and whether this host counts."""
    of_gateway: ClassVar[bool]
    """Whether the sessions that it begins are a gateway's, as a kept session remembers."""
    redeems_codes: ClassVar[bool]
    """Whether people may have recovery codes that it redeems."""

    def start(
        self, request: Request, duration: int, *, may_be_covered: bool, may_be_outage: bool
    ) -> Answer | Covered | Asked:
        """Have the phone asked; an Answer if it is not.

        `duration` is after how many seconds the session ends by itself. `may_be_covered` is whether this login could be
        ended with one that covers it, `may_be_outage` whether it has sent nothing before.
        """

    def answer(self, session: Session, request: Request) -> Answer:
        """Return the end of a session that was polled until it was decided, or until the time was up."""

    def explain(self, error: IampassError, request: Request) -> Decision:
        """Return the decision where polling has failed."""

    def redeem(self, code: str, before: Decision | None, request: Request) -> Decision | None:
        """Redeem a recovery code. Returns None if it has redeemed none: the code has not left this machine.

        `before` is why the person was asked for a code.
        """

    def has_phone(self, token: str, deadline: Deadline) -> bool | None:
        """Return whether the owner of a token has a phone; None if it is not known."""


def start_failed(
    error: IampassError | ValueError,
    request: Request,
    peer: str,
    *,
    may_be_outage: bool,
) -> Answer:
    """The answer where a start has failed, at IAMPASS or at a gateway (`peer`)."""
    if isinstance(error, ValueError):
        return Answer(decisions.misconfigured(f"the request is invalid: {error}"), Sent.NOTHING)
    if isinstance(error, (Refused, NotFound)) and not error.may_have_started:  # by an earlier attempt
        return Answer(decisions.failed(error, peer), Sent.RANG_NOBODY)
    rang = error.may_have_started or isinstance(error, ProtocolError)
    sent = Sent.MAY_HAVE_RUNG if rang else Sent.NOTHING
    if not isinstance(error, Unavailable):
        return Answer(decisions.failed(error, peer), sent)
    # An outage, of a login that its person cannot have made fail by themselves.
    login = request.login
    outage = error.outage and login.service in OUTAGE_SERVICES and login.real_uid == 0
    return Answer(decisions.unavailable(error, request.service, outage and may_be_outage, peer), sent)


def poll_failed(error: IampassError, request: Request, peer: str) -> Decision:
    """The decision where polling has failed, at IAMPASS or at a gateway (`peer`): never an outage."""
    if isinstance(error, Unavailable):
        return decisions.unavailable(error, request.service, False, peer)
    return decisions.failed(error, peer)

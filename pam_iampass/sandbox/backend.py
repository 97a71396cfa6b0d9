"""The simulated service behind its calls: the application, its users' answers, the state, the signatures."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import secrets
from dataclasses import dataclass
from typing import Callable

from pam_iampass.sandbox.errors import Unknown
from pam_iampass.sandbox.protocol import IncomingRequest, SignatureCheck, read_credentials
from pam_iampass.sandbox.sessions import SandboxSession, SessionStatus
from pam_iampass.sandbox.state import ServiceState


class Backend:
    """The service with its one application.

    :param control_token: the bearer token of control calls.
    :param clock: returns the service's Unix time in seconds.
    """

    def __init__(
        self,
        application_id: str,
        secret: str,
        state: ServiceState,
        behaviour: Behaviour,
        control_token: str,
        clock: Callable[[], float],
    ) -> None:
        self.application_id = application_id
        self.secret = secret
        self.state = state
        self.behaviour = behaviour
        self.control_token = control_token
        self.clock = clock
        # New for each run: a page from an earlier run must not control this one.
        self.phone_key = secrets.token_urlsafe(18)
        self._signatures = SignatureCheck(clock)

    def require_application(self, request: IncomingRequest) -> None:
        """Raises Refusal unless the path names the application, and the application signed the request."""
        if request.segments[2] != self.application_id:  # whose secret would the signature be checked with?
            raise Unknown("application", request.segments[2])
        self.require_signature(request, self.application_id, self.secret)

    def require_user(self, request: IncomingRequest) -> str:
        """The known user that the path names, in a request of the application. Raises Refusal."""
        self.require_application(request)
        user = request.user_id()
        if self.state.users.has_device(user) is None:
            raise Unknown("user", user)
        return user

    def require_signature(self, request: IncomingRequest, client_id: str, secret: str) -> None:
        """Raises Refusal unless this client signed the request."""
        credentials = read_credentials(request.headers)
        self._signatures.check(credentials, request.signed_url, client_id, secret)


class Auto(str, enum.Enum):
    """The automatic answer to requests."""

    APPROVE = "approve"
    DENY = "deny"
    IGNORE = "ignore"
    """The request times out; nobody is asked."""
    ASK = "ask"
    """The request waits for an answer from a terminal, a test or a control call."""


@dataclass(eq=False)
class Behaviour:
    """How users behave. It may be changed at any time, for the requests that begin afterwards."""

    auto: Auto | str = Auto.ASK
    """The automatic answer; see Auto."""
    delay: float = 0.0
    """Seconds until ``auto`` answers."""
    request_timeout: float = 60.0
    """Seconds until a request without an answer becomes ``timeout``."""


_DECISIONS = {Auto.APPROVE: SessionStatus.ACTIVE, Auto.DENY: SessionStatus.CANCELLED}


def start_timers(state: ServiceState, behaviour: Behaviour, session: SandboxSession) -> None:
    """Start a new session's timers: automatic answer, time-out and expiry. Call it in the event loop."""
    loop = asyncio.get_running_loop()
    decision = _DECISIONS.get(Auto(behaviour.auto))
    if decision is not None:
        loop.call_later(behaviour.delay, _decide, state, session.number, decision)
    loop.call_later(behaviour.request_timeout, state.sessions.time_out, session.number)
    loop.call_later(session.duration, state.sessions.expire, session.number)


def _decide(state: ServiceState, number: int, decision: SessionStatus) -> None:
    # Something else may have answered already, or the phone is lost.
    with contextlib.suppress(LookupError):
        state.answer(number, decision)

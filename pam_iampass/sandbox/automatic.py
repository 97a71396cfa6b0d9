"""Simulates the user: answers requests automatically, or leaves them to a person."""

from __future__ import annotations

import asyncio
import contextlib
import enum
from dataclasses import dataclass

from pam_iampass.sandbox.service_state import ServiceState
from pam_iampass.sandbox.sessions import SandboxSession, SessionStatus


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

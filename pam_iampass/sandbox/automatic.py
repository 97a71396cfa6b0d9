"""Plays the person: answers requests by itself, or leaves them to somebody else."""

from __future__ import annotations

import asyncio
import contextlib
import enum

from pam_iampass.sandbox.sessions import SandboxSession, SessionStatus
from pam_iampass.sandbox.world import World


class Auto(str, enum.Enum):
    """What becomes of a request by itself."""

    APPROVE = "approve"
    DENY = "deny"
    IGNORE = "ignore"
    """It times out, and nobody is asked."""
    ASK = "ask"
    """It waits for an answer from a terminal, a test or a control call."""


_DECISIONS = {Auto.APPROVE: SessionStatus.ACTIVE, Auto.DENY: SessionStatus.FAILED}


class Automatic:
    """The timers of a request: its answer, the end of its patience, the end of its session.

    ``mode``, ``delay`` and ``request_timeout`` (seconds) count for requests that begin after they are set.
    """

    def __init__(self, world: World) -> None:
        self.mode = Auto.ASK
        self.delay = 0.0
        self.request_timeout = 60.0
        self._world = world

    def begin(self, session: SandboxSession) -> None:
        """Start the timers of a new session. Call it from the event loop."""
        loop = asyncio.get_running_loop()
        decision = _DECISIONS.get(Auto(self.mode))
        if decision is not None:
            loop.call_later(self.delay, self._decide, session.number, decision)
        loop.call_later(self.request_timeout, self._world.sessions.time_out, session.number)
        loop.call_later(session.duration, self._world.sessions.expire, session.number)

    def _decide(self, number: int, decision: SessionStatus) -> None:
        # Somebody else may have been faster: then there is nothing to decide.
        with contextlib.suppress(LookupError):
            self._world.sessions.decide(number, decision)

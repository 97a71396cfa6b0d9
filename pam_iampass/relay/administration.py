"""What an administrator can ask of the agent, by the names of the requests on the control socket."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Callable

from pam_iampass import __version__
from pam_iampass.login.agent_state import AgentState
from pam_iampass.relay.control_server import Handler, Request
from pam_iampass.session.kept_session import KeptSession
from pam_iampass.system.boot import since_boot


class Administration:
    """The requests of an administrator."""

    def __init__(self, state: AgentState, pending: Callable[[], int]) -> None:
        """`pending` returns the number of pending logins."""
        self._state = state
        self._pending = pending
        self._started = time.monotonic()

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """Each request with what answers it."""
        return {
            "agent status": self._agent_status,
            "session list": self._session_list,
        }

    def _agent_status(self, _request: Request) -> dict[str, Any]:
        return {
            "version": __version__,
            "uptime": round(time.monotonic() - self._started, 1),
            "pending": self._pending(),
            "problem": self._state.problem,
        }

    def _session_list(self, _request: Request) -> list[dict[str, Any]]:
        return [_listed(kept) for kept in self._state.kept_sessions()]


def _listed(kept: KeptSession) -> dict[str, Any]:
    return {**kept.public(), "seconds_left": kept.ends_at - since_boot()}

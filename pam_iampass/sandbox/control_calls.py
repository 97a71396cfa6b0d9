"""Lets a script play the person: lists the pending requests and answers them, with a bearer token."""

from __future__ import annotations

import time
from typing import Any

from pam_iampass.sandbox.answer import Answer
from pam_iampass.sandbox.body import require_no_body
from pam_iampass.sandbox.errors import Refusal
from pam_iampass.sandbox.incoming import Incoming
from pam_iampass.sandbox.service import Service
from pam_iampass.sandbox.sessions import SandboxSession, SessionStatus

_DECISIONS = {
    "approve": SessionStatus.ACTIVE,
    "deny": SessionStatus.FAILED,
    "cancel": SessionStatus.CANCELLED,
}


def list_requests(service: Service, incoming: Incoming) -> Answer:
    """``GET /sandbox/requests``: what waits for an answer."""
    incoming.require_bearer(service.control_token, "control token")
    pending = [_described(session) for session in service.world.sessions.all if session.undecided]
    return Answer.of({"requests": pending})


def decide(service: Service, incoming: Incoming) -> Answer:
    """``POST /sandbox/requests/<number>/approve`` (or ``deny``, ``cancel``), no body."""
    incoming.require_bearer(service.control_token, "control token")
    require_no_body(incoming.body)
    number, verb = incoming.target.segments[2:]
    if verb not in _DECISIONS or not (number.isascii() and number.isdigit()):
        raise Refusal(404, "UNKNOWN_CALL", f"a request can be: {', '.join(_DECISIONS)}")
    try:
        session = service.world.sessions.decide(int(number), _DECISIONS[verb])
    except LookupError as error:
        raise Refusal(404, "NOT_PENDING", str(error)) from None
    return Answer.of(_described(session))


def _described(session: SandboxSession) -> dict[str, Any]:
    return {
        "id": session.number,
        "user": session.user,
        "status": session.status.value,
        "methods": list(session.methods),
        "age_seconds": round(time.monotonic() - session.started_at, 3),
    }

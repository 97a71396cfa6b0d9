"""Calls that start, poll and end an authentication."""

from __future__ import annotations

import re
from typing import Any

from pam_iampass.sandbox.automatic import start_timers
from pam_iampass.sandbox.backend import Backend
from pam_iampass.sandbox.errors import Refusal, bad_request
from pam_iampass.sandbox.events import EventKind
from pam_iampass.sandbox.reply import ServiceReply
from pam_iampass.sandbox.request import IncomingRequest
from pam_iampass.sandbox.sessions import (
    LONGEST_DURATION_SECONDS,
    METHODS,
    EndedBy,
    SandboxSession,
    SessionStatus,
)

_DURATION = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)


def start(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``POST /authentication/authenticate_user/<app>/<user>[?methods=a,b][&duration_seconds=n]``.

    The body is ``{}``. The status is 202 if a request went to the phone, 200 if not.
    """
    user = backend.require_user(request)
    parameters = request.parameters("methods", "duration_seconds")
    methods = _methods(parameters.get("methods"))
    duration = _duration(parameters.get("duration_seconds"))
    request.json()
    if not backend.state.users.has_device(user):
        return _not_started(backend, user, "NO_MOBILE_DEVICE")
    session = backend.state.sessions.begin(user, methods, duration, backend.behaviour.request_timeout)
    start_timers(backend.state, backend.behaviour, session)
    return _started(session, request.origin)


def poll(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``GET <status_url>``, signed by the session.

    The published client expects an outer key in the answer. The service's documentation shows the answer without it.
    """
    session = _session_of(backend, request)
    session = backend.state.sessions.count_poll(session.number)
    status: dict[str, Any] = {
        "authenticated": session.status is SessionStatus.ACTIVE,
        "session_status": session.status.value,
    }
    return ServiceReply.of({"authentication_status": status})


def end(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``POST <logout_url>``, signed by the session, no body."""
    session = _session_of(backend, request)
    return ServiceReply.of({"status": backend.state.sessions.end(session.number, EndedBy.CLIENT)})


def _methods(text: str | None) -> tuple[str, ...]:
    methods = () if text is None else tuple(text.split(","))
    if len(set(methods)) != len(methods) or not set(methods) <= set(METHODS):
        raise bad_request("BAD_METHODS", f"methods must be some of {', '.join(METHODS)}, each once")
    return methods


def _duration(text: str | None) -> int | None:
    if text is None:
        return None
    if not _DURATION.fullmatch(text) or int(text) > LONGEST_DURATION_SECONDS:
        raise bad_request("BAD_DURATION", f"duration_seconds must be 1 to {LONGEST_DURATION_SECONDS}")
    return int(text)


def _not_started(backend: Backend, user: str, reason: str) -> ServiceReply:
    backend.state.report(EventKind.NOT_STARTED, user, reason)
    return ServiceReply.of({"authentication_status": {"authenticated": False, "reason": reason}})


def _started(session: SandboxSession, origin: str) -> ServiceReply:
    base = f"{origin}/session/{session.path}"
    status = {
        "authenticated": True,
        "session_status": session.status.value,
        "session_token": session.token,
        "session_secret": session.secret,
        "status_url": f"{base}/status",
        "logout_url": f"{base}/logout",
    }
    return ServiceReply.of({"authentication_status": status}, 202)


def _session_of(backend: Backend, request: IncomingRequest) -> SandboxSession:
    session = backend.state.sessions.at_path(request.segments[1])
    if session is None:
        raise Refusal(404, "UNKNOWN_SESSION", "there is no such session")
    backend.require_signature(request, session.token, session.secret)
    request.parameters()
    request.require_content_type()
    request.require_no_body()
    return session

"""Start, poll and end of an authentication."""

from __future__ import annotations

import re

from pam_iampass.sandbox.answer import Answer
from pam_iampass.sandbox.body import read_object, require_content_type, require_no_body
from pam_iampass.sandbox.errors import Refusal, bad_request
from pam_iampass.sandbox.events import EventKind
from pam_iampass.sandbox.incoming import Incoming
from pam_iampass.sandbox.service import Service
from pam_iampass.sandbox.sessions import LONGEST_DURATION_SECONDS, METHODS, EndedBy, SandboxSession
from pam_iampass.sandbox.target import user_id

_DURATION = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_START_PARAMETERS = frozenset({"methods", "duration_seconds"})


def start(service: Service, incoming: Incoming) -> Answer:
    """``POST /authentication/authenticate_user/<app>/<user>[?methods=a,b][&duration_seconds=n]``.

    The body is ``{}``.
    """
    service.require_application(incoming)
    user = user_id(incoming.target.segments[3])
    parameters = incoming.target.parameters(_START_PARAMETERS)
    methods = _methods(parameters.get("methods"))
    duration = _duration(parameters.get("duration_seconds"))
    require_content_type(incoming.headers)
    read_object(incoming.body, frozenset())
    has_device = service.world.accounts.has_device(user)
    if not has_device:
        return _not_started(service, user, "UNKNOWN_USER" if has_device is None else "NO_MOBILE_DEVICE")
    patience = service.automatic.request_timeout
    session = service.world.sessions.begin(user, methods, duration, patience)
    service.automatic.begin(session)
    return _started(session, incoming.origin)


def poll(service: Service, incoming: Incoming) -> Answer:
    """``GET <status_url>``, signed by the session."""
    session = _session_of(service, incoming)
    session = service.world.sessions.count_poll(session.number)
    return Answer.of({"authentication_status": {"session_status": session.status.value}})


def end(service: Service, incoming: Incoming) -> Answer:
    """``POST <logout_url>``, signed by the session, no body."""
    session = _session_of(service, incoming)
    return Answer.of({"status": service.world.sessions.end(session.number, EndedBy.CLIENT)})


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


def _not_started(service: Service, user: str, reason: str) -> Answer:
    service.world.tell(EventKind.NOT_STARTED, user, reason)
    return Answer.of({"authentication_status": {"authenticated": False, "reason": reason}})


def _started(session: SandboxSession, origin: str) -> Answer:
    base = f"{origin}/session/{session.path}"
    status = {
        "authenticated": True,
        "session_status": session.status.value,
        "session_token": session.token,
        "session_secret": session.secret,
        "status_url": f"{base}/status",
        "logout_url": f"{base}/logout",
    }
    return Answer.of({"authentication_status": status})


def _session_of(service: Service, incoming: Incoming) -> SandboxSession:
    session = service.world.sessions.at_path(incoming.target.segments[1])
    if session is None:
        raise Refusal(404, "UNKNOWN_SESSION", "there is no such session")
    service.require_session(incoming, session.token, session.secret)
    incoming.target.parameters(frozenset())
    require_content_type(incoming.headers)
    require_no_body(incoming.body)
    return session

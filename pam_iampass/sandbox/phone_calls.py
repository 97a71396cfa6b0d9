"""Calls that answer requests: those of the phone page, and control calls for scripts.

The page sends its key in a header. There is no cookie that another site could use.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

from pam_iampass.sandbox.backend import Backend
from pam_iampass.sandbox.errors import Refusal
from pam_iampass.sandbox.reply import ServiceReply
from pam_iampass.sandbox.request import IncomingRequest
from pam_iampass.sandbox.sessions import SandboxSession, SessionStatus
from pam_iampass.text import clean

_DECISIONS = {
    "approve": SessionStatus.ACTIVE,
    "deny": SessionStatus.CANCELLED,
    "fail": SessionStatus.FAILED,
    "identify": SessionStatus.IDENTIFYING,
}
_MOVES = ("end", "away", "back")


def events(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``GET /phone/events``: server-sent events, each with the whole content of the page."""
    _require_page(backend, request)
    return ServiceReply(content_type="text/event-stream", stream=backend.phone.respond)


def decide(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``POST /phone/requests/<number>/approve`` (or ``deny``, ``fail``, ``identify``), no body."""
    _require_page(backend, request)
    try:
        _decide(backend, request)
    except LookupError:
        raise Refusal(
            409, "NOT_PENDING", "this request no longer waits for an answer of this phone"
        ) from None
    return ServiceReply.of({})


def move(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``POST /phone/sessions/<number>/end`` (or ``away``, ``back``): what becomes of an open session; no body."""
    _require_page(backend, request)
    try:
        _move(backend, request)
    except LookupError:
        raise Refusal(409, "NOT_OPEN", "this session is over, or the phone is lost") from None
    return ServiceReply.of({})


def register(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``POST /phone/register/<token>``: registers a device through a registration link, no body."""
    _require_page(backend, request)
    request.require_no_body()
    user = backend.state.users.use_link(request.segments[2])
    if user is None:
        raise Refusal(410, "LINK_NOT_VALID", "this link has been used, or its user was deleted")
    return ServiceReply.of({"user": clean(user)})


def lose_or_find(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``POST /phone/devices/lost/<user>`` (or ``found``): the user loses the phone, or finds it again; no body."""
    _require_page(backend, request)
    request.require_no_body()
    verb, user = request.segments[2], request.user_id()
    if verb not in ("lost", "found"):
        raise Refusal(404, "UNKNOWN_CALL", "a phone is lost or found")
    try:
        backend.state.users.set_lost(user, verb == "lost")
    except LookupError:
        raise Refusal(409, "NO_PHONE", "this user has no phone") from None
    return ServiceReply.of({})


def list_for_script(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``GET /sandbox/requests``: the pending requests."""
    request.require_bearer(backend.control_token, "control token")
    pending = [_described(session) for session in backend.state.sessions.all if session.undecided]
    return ServiceReply.of({"requests": pending})


def decide_for_script(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``POST /sandbox/requests/<number>/approve`` (or ``deny``, ``fail``, ``identify``), no body."""
    request.require_bearer(backend.control_token, "control token")
    try:
        return ServiceReply.of(_described(_decide(backend, request)))
    except LookupError as error:
        raise Refusal(404, "NOT_PENDING", str(error)) from None


def list_sessions_for_script(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``GET /sandbox/sessions``: the open sessions."""
    request.require_bearer(backend.control_token, "control token")
    found = [_described(session) for session in backend.state.sessions.all if session.status.is_open]
    return ServiceReply.of({"sessions": found})


def move_for_script(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``POST /sandbox/sessions/<number>/end`` (or ``away``, ``back``), no body."""
    request.require_bearer(backend.control_token, "control token")
    try:
        return ServiceReply.of(_described(_move(backend, request)))
    except LookupError as error:
        raise Refusal(404, "NOT_OPEN", str(error)) from None


def _require_page(backend: Backend, request: IncomingRequest) -> None:
    # A second line of defence: pages of other sites cannot even try keys.
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise Refusal(403, "WRONG_SITE", "only the phone page may make this call")
    request.require_bearer(backend.phone_key, "phone key")


def _decide(backend: Backend, request: IncomingRequest) -> SandboxSession:
    number, verb = _number_and_verb(request, _DECISIONS)
    return backend.state.answer(number, _DECISIONS[verb])


def _move(backend: Backend, request: IncomingRequest) -> SandboxSession:
    return backend.state.move(*_number_and_verb(request, _MOVES))


def _number_and_verb(request: IncomingRequest, verbs: Collection[str]) -> tuple[int, str]:
    request.require_no_body()
    number, verb = request.segments[2:]
    if verb not in verbs or not (number.isascii() and number.isdigit() and len(number) < 10):
        raise Refusal(404, "UNKNOWN_CALL", f"the last part of the path is one of: {', '.join(verbs)}")
    return int(number), verb


def _described(session: SandboxSession) -> dict[str, Any]:
    return {
        "id": session.number,
        "user": session.user,
        "status": session.status.value,
        "methods": list(session.methods),
        "age_seconds": round(time.monotonic() - session.started_at, 3),
    }

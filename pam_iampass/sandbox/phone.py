"""The phone: its page, the page behind a registration link, the calls of both, and those of scripts instead.

The page sends its key in a header. There is no cookie that another site could use. Its files are static, without any
data from requests.
"""

from __future__ import annotations

import html
import time
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

from pam_iampass.sandbox import phone_stream
from pam_iampass.sandbox.backend import Backend
from pam_iampass.sandbox.errors import Refusal
from pam_iampass.sandbox.protocol import Headers, IncomingRequest, ServiceReply
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
    return ServiceReply(content_type="text/event-stream", stream=partial(phone_stream.respond, backend.state))


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


_FOLDER = Path(__file__).with_name("page")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'",
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
)
HEADERS: Headers = (
    ("Content-Security-Policy", "; ".join(_POLICY)),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)
"""For every page of the sandbox: loads only its own files, in no frame, and sends no referrer."""


def page(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``GET /phone``: the page."""
    return _file("phone.html")


def asset(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``GET /phone/<file>``: a style sheet, script or picture."""
    return _file(request.segments[1])


def _file(name: str) -> ServiceReply:
    # The name is compared with those of the files, and never becomes part of a path.
    files = {path.name: path for path in _FOLDER.iterdir() if path.suffix in _TYPES}
    if name not in files:
        raise Refusal(404, "UNKNOWN_CALL", "there is no such file")
    return ServiceReply(200, files[name].read_bytes(), _TYPES[files[name].suffix], HEADERS)


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="/phone/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/phone/phone.css">
<title>{title} · IAMPASS sandbox</title>
</head>
<body class="one-thing"><main><div class="card"><h1>{title}</h1>{content}</div></main></body>
</html>
"""
_BUTTON = (
    "<p>It will be the phone of <strong><bdi>{user}</bdi></strong> in the IAMPASS sandbox."
    " Continue only if that is you.</p>"
    '<form method="post"><button class="approve" type="submit">Register this device</button></form>'
)
_DONE = (
    "<p><strong><bdi>{user}</bdi></strong> can now approve logins.</p>"
    '<p><a href="/phone">Open the phone page</a></p>'
)


def registration(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``GET /register/<token>``: the page with the button."""
    user = backend.state.users.user_of_link(request.segments[1])
    return _used() if user is None else _page("Register this device", _BUTTON, user)


def register_by_link(backend: Backend, request: IncomingRequest) -> ServiceReply:
    """``POST /register/<token>``: registers the device; a link works once."""
    request.require_no_body()
    user = backend.state.users.use_link(request.segments[1])
    return _used() if user is None else _page("Device registered", _DONE, user)


def _used() -> ServiceReply:
    return _page("This link is not valid", "<p>It has been used, or its user was deleted.</p>", "", 410)


def _page(title: str, content: str, user: str, status: int = 200) -> ServiceReply:
    body = _PAGE.format(title=title, content=content.format(user=html.escape(clean(user))))
    return ServiceReply(status, body.encode(), "text/html; charset=utf-8", HEADERS)

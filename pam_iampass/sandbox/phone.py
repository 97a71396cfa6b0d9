"""The phone: its page, the page behind a registration link, the calls of both, and those of scripts instead.

The page sends its key in a header. There is no cookie that another site could use. Its files are static, without any
data from requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import re
import time
from collections.abc import Collection, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from aiohttp import web

from pam_iampass.sandbox.calls import Backend
from pam_iampass.sandbox.errors import Refusal
from pam_iampass.sandbox.protocol import Headers, IncomingRequest, ServiceReply
from pam_iampass.sandbox.sessions import SandboxSession, SessionStatus
from pam_iampass.sandbox.state import ServiceState, Sms
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
    return ServiceReply(content_type="text/event-stream", stream=partial(_respond, backend.state))


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


# A page that receives nothing for three beats considers the connection lost.
_BEAT_SECONDS = 5.0
# Combines changes that follow each other into one event.
_REST_SECONDS = 0.05
_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


async def _respond(
    state: ServiceState, request: web.BaseRequest, stopping: asyncio.Event
) -> web.StreamResponse:
    """Send the view after each change, until the page is closed or the sandbox stops."""
    response = web.StreamResponse(headers=_HEADERS)
    changed, loop = asyncio.Event(), asyncio.get_running_loop()

    def wake() -> None:
        loop.call_soon_threadsafe(changed.set)

    sent: View | None = None
    with contextlib.suppress(ConnectionError), state.notifier.watched(wake):
        await response.prepare(request)
        while not stopping.is_set():
            changed.clear()
            view = _phone_view(state)
            # JSON without line breaks: one data line.
            event = f"data: {json.dumps({**view, 'now': time.monotonic()})}\n\n".encode()
            await response.write(b": heartbeat\n\n" if view == sent else event)
            sent = view
            await _first_of(changed, stopping, _BEAT_SECONDS)
            await asyncio.sleep(_REST_SECONDS)
    return response


async def _first_of(one: asyncio.Event, other: asyncio.Event, seconds: float) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in (one, other)]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


_SHOWN = 20
_USERS_SHOWN = 100
_LINK = re.compile(r"/register/([A-Za-z0-9_-]+)", re.ASCII)
_WITHDRAWN = "withdrawn"
_OUTCOMES = {
    SessionStatus.CANCELLED: "denied",
    SessionStatus.FAILED: "unrecognized",
    SessionStatus.TIMEOUT: "expired",
}

View = dict[str, Any]


def _phone_view(state: ServiceState) -> View:
    """The current requests, phones and messages. All times are ``time.monotonic()`` seconds.

    Texts from outside are cleaned: a name must not look like another one.
    """
    with state.notifier:
        sessions, users, messages = state.sessions.all, state.users.devices, state.users.messages
        decided = (session for session in reversed(sessions) if not session.undecided)
        return {
            "requests": [_request(state, session) for session in sessions if session.undecided],
            "sessions": [_open(state, each) for each in reversed(sessions) if each.status.is_open][
                :_USERS_SHOWN
            ],
            "recent": [_decided(session) for session in islice(decided, _SHOWN)],
            "users": [_user(state, *each) for each in islice(users.items(), _USERS_SHOWN)],
            "users_total": len(users),
            "messages": list(_messages(state, messages)),
        }


def outcome(session: SandboxSession) -> str:
    """The outcome of a decided request, in the page's words."""
    return "approved" if session.approved else _OUTCOMES.get(session.status, _WITHDRAWN)


def _request(state: ServiceState, session: SandboxSession) -> View:
    return {
        "number": session.number,
        "user": clean(session.user),
        "methods": list(session.methods),
        "identifying": session.status is SessionStatus.IDENTIFYING,
        "lost": state.users.is_lost(session.user),
        "started": session.started_at,
        "answer_by": session.answer_by,
    }


def _open(state: ServiceState, session: SandboxSession) -> View:
    return {
        "number": session.number,
        "user": clean(session.user),
        "away": session.status is SessionStatus.WALKAWAY,
        "lost": state.users.is_lost(session.user),
        "at": session.decided_at,
    }


def _decided(session: SandboxSession) -> View:
    return {
        "number": session.number,
        "user": clean(session.user),
        "outcome": outcome(session),
        "at": session.decided_at,
    }


def _user(state: ServiceState, user: str, device: bool) -> View:
    quoted = quote_plus(user)  # as calls name the user
    return {"user": clean(user), "quoted": quoted, "device": device, "lost": state.users.is_lost(user)}


def _messages(state: ServiceState, messages: tuple[Sms, ...]) -> Iterable[View]:
    first = max(0, len(messages) - _SHOWN)
    for number, message in reversed(list(enumerate(messages))[first:]):
        # The last link is from the service; the text before it is from the application.
        tokens = [token for token in _LINK.findall(message.text) if state.users.user_of_link(token)]
        yield {
            "number": number,
            "user": clean(message.user),
            "to": message.phone_number,
            "sender": clean(message.display_name or ""),
            "text": clean(message.text, 2000),
            "link": tokens[-1] if tokens else None,
            "at": message.at,
        }

"""The phone: its page, the page behind a registration link, the calls of both, and those of scripts instead.

Other users of the machine, and other web sites, must not approve logins. The page's address ends with `#` and a key,
new at each start; browsers do not send this part. The page sends the key in a header. There is no cookie: cookies do
not distinguish ports, so the page of another local user would get it. Other host names (DNS rebinding) are refused. The
files of the page are static, without any data from requests.
"""

from __future__ import annotations

import asyncio
import hmac
import html
import json
import re
import time
from collections.abc import AsyncGenerator, Collection, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from pam_iampass.client.status import Status
from pam_iampass.sandbox.calls import Backend
from pam_iampass.sandbox.sessions import SandboxSession
from pam_iampass.sandbox.state import ServiceState, Sms
from pam_iampass.server.http import Route
from pam_iampass.server.messages import Headers, IncomingRequest, RefusedRequest, Reply, unauthorized
from pam_iampass.text import clean

_DECISIONS = {
    "approve": Status.active,
    "deny": Status.cancelled,
    "fail": Status.failed,
    "identify": Status.identifying,
}
_MOVES = ("end", "away", "back")


async def events(backend: Backend, request: IncomingRequest) -> Reply:
    """``GET /phone/events``: server-sent events, each with the whole content of the page."""
    _require_page(backend, request)
    return Reply(
        content_type="text/event-stream",
        headers=(("X-Content-Type-Options", "nosniff"),),
        stream=partial(_views, backend.state),
    )


async def decide(backend: Backend, request: IncomingRequest) -> Reply:
    """``POST /phone/requests/<number>/approve`` (or ``deny``, ``fail``, ``identify``), no body."""
    _require_page(backend, request)
    try:
        _decide(backend, request)
    except LookupError:
        raise RefusedRequest(
            409, "NOT_PENDING", "this request no longer waits for an answer of this phone"
        ) from None
    return Reply.of({})


async def move(backend: Backend, request: IncomingRequest) -> Reply:
    """``POST /phone/sessions/<number>/end`` (or ``away``, ``back``): what becomes of an open session; no body."""
    _require_page(backend, request)
    try:
        _move(backend, request)
    except LookupError:
        raise RefusedRequest(409, "NOT_OPEN", "this session is over, or the phone is lost") from None
    return Reply.of({})


async def register(backend: Backend, request: IncomingRequest) -> Reply:
    """``POST /phone/register/<token>``: registers a device through a registration link, no body."""
    _require_page(backend, request)
    request.require_no_body()
    user = backend.state.users.use_link(request.segments[2])
    if user is None:
        raise RefusedRequest(410, "LINK_NOT_VALID", "this link has been used, or its user was deleted")
    return Reply.of({"user": clean(user)})


async def lose_or_find(backend: Backend, request: IncomingRequest) -> Reply:
    """``POST /phone/devices/lost/<user>`` (or ``found``): the user loses the phone, or finds it again; no body."""
    _require_page(backend, request)
    request.require_no_body()
    verb, user = request.segments[2], request.user_id()
    if verb not in ("lost", "found"):
        raise RefusedRequest(404, "UNKNOWN_CALL", "a phone is lost or found")
    try:
        backend.state.users.set_lost(user, verb == "lost")
    except LookupError:
        raise RefusedRequest(409, "NO_PHONE", "this user has no phone") from None
    return Reply.of({})


async def list_for_script(backend: Backend, request: IncomingRequest) -> Reply:
    """``GET /sandbox/requests``: the pending requests."""
    _require_bearer(request, backend.control_token, "control token")
    pending = [_described(session) for session in backend.state.sessions.all if session.undecided]
    return Reply.of({"requests": pending})


async def decide_for_script(backend: Backend, request: IncomingRequest) -> Reply:
    """``POST /sandbox/requests/<number>/approve`` (or ``deny``, ``fail``, ``identify``), no body."""
    _require_bearer(request, backend.control_token, "control token")
    try:
        return Reply.of(_described(_decide(backend, request)))
    except LookupError as error:
        raise RefusedRequest(404, "NOT_PENDING", str(error)) from None


async def list_sessions_for_script(backend: Backend, request: IncomingRequest) -> Reply:
    """``GET /sandbox/sessions``: the open sessions."""
    _require_bearer(request, backend.control_token, "control token")
    found = [_described(session) for session in backend.state.sessions.all if session.open]
    return Reply.of({"sessions": found})


async def move_for_script(backend: Backend, request: IncomingRequest) -> Reply:
    """``POST /sandbox/sessions/<number>/end`` (or ``away``, ``back``), no body."""
    _require_bearer(request, backend.control_token, "control token")
    try:
        return Reply.of(_described(_move(backend, request)))
    except LookupError as error:
        raise RefusedRequest(404, "NOT_OPEN", str(error)) from None


def _require_page(backend: Backend, request: IncomingRequest) -> None:
    # A second line of defence: pages of other sites cannot even try keys.
    if request.header("Sec-Fetch-Site") not in (None, "same-origin"):
        raise RefusedRequest(403, "WRONG_SITE", "only the phone page may make this call")
    _require_bearer(request, backend.phone_key, "phone key")


def _require_bearer(request: IncomingRequest, token: str, name: str) -> None:
    """Refuse a request (401) without this token. ``name`` names it for people."""
    sent = (request.header("Authorization") or "").encode("utf-8", "surrogateescape")
    if not hmac.compare_digest(f"Bearer {token}".encode(), sent):
        raise unauthorized("BAD_TOKEN", f"this call needs: Authorization: Bearer <{name}>")


def _decide(backend: Backend, request: IncomingRequest) -> SandboxSession:
    number, verb = _number_and_verb(request, _DECISIONS)
    return backend.state.answer(number, _DECISIONS[verb])


def _move(backend: Backend, request: IncomingRequest) -> SandboxSession:
    return backend.state.move(*_number_and_verb(request, _MOVES))


def _number_and_verb(request: IncomingRequest, verbs: Collection[str]) -> tuple[int, str]:
    request.require_no_body()
    number, verb = request.segments[2:]
    if verb not in verbs or not (number.isascii() and number.isdigit() and len(number) < 10):
        raise RefusedRequest(404, "UNKNOWN_CALL", f"the last part of the path is one of: {', '.join(verbs)}")
    return int(number), verb


def _described(session: SandboxSession) -> dict[str, Any]:
    return {
        "id": session.number,
        "user": session.user,
        "status": session.status.name,
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
"""The headers of every page of the sandbox, which loads only its own files, in no frame, and sends no referrer."""


async def page(backend: Backend, request: IncomingRequest) -> Reply:
    """``GET /phone``: the page."""
    return _file("phone.html")


async def asset(backend: Backend, request: IncomingRequest) -> Reply:
    """``GET /phone/<file>``: a style sheet, script or picture."""
    return _file(request.segments[1])


def _file(name: str) -> Reply:
    # The name is compared with those of the files, and never becomes part of a path.
    files = {path.name: path for path in _FOLDER.iterdir() if path.suffix in _TYPES}
    if name not in files:
        raise RefusedRequest(404, "UNKNOWN_CALL", "there is no such file")
    return Reply(200, files[name].read_bytes(), _TYPES[files[name].suffix], HEADERS)


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


async def registration(backend: Backend, request: IncomingRequest) -> Reply:
    """``GET /register/<token>``: the page with the button."""
    user = backend.state.users.user_of_link(request.segments[1])
    return _used() if user is None else _page("Register this device", _BUTTON, user)


async def register_by_link(backend: Backend, request: IncomingRequest) -> Reply:
    """``POST /register/<token>``: registers the device; a link works once."""
    request.require_no_body()
    user = backend.state.users.use_link(request.segments[1])
    return _used() if user is None else _page("Device registered", _DONE, user)


def _used() -> Reply:
    return _page("This link is not valid", "<p>It has been used, or its user was deleted.</p>", "", 410)


def _page(title: str, content: str, user: str, status: int = 200) -> Reply:
    body = _PAGE.format(title=title, content=content.format(user=html.escape(clean(user))))
    return Reply(status, body.encode(), "text/html; charset=utf-8", HEADERS)


# A page that receives nothing for three beats considers the connection lost.
_BEAT_SECONDS = 5.0
# Combines changes that follow each other into one event.
_REST_SECONDS = 0.05


async def _views(state: ServiceState, stopping: asyncio.Event) -> AsyncGenerator[bytes, None]:
    """The view after each change, as events, until the page is closed or the sandbox stops."""
    changed, loop = asyncio.Event(), asyncio.get_running_loop()

    def wake() -> None:
        loop.call_soon_threadsafe(changed.set)

    sent: View | None = None
    with state.notifier.watched(wake):
        while not stopping.is_set():
            changed.clear()
            view = _phone_view(state)
            # JSON without line breaks: one data line.
            event = f"data: {json.dumps({**view, 'now': time.monotonic()})}\n\n".encode()
            yield b": heartbeat\n\n" if view == sent else event
            sent = view
            await _first_of(changed, stopping, _BEAT_SECONDS)
            await asyncio.sleep(_REST_SECONDS)


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
    Status.cancelled: "denied",
    Status.failed: "unrecognized",
    Status.timeout: "expired",
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
            "sessions": [_open(state, each) for each in reversed(sessions) if each.open][:_USERS_SHOWN],
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
        "identifying": session.status is Status.identifying,
        "lost": state.users.is_lost(session.user),
        "started": session.started_at,
        "answer_by": session.answer_by,
    }


def _open(state: ServiceState, session: SandboxSession) -> View:
    return {
        "number": session.number,
        "user": clean(session.user),
        "away": session.status is Status.walkaway,
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


ROUTES = (
    Route("GET", "/register/*", registration),
    Route("POST", "/register/*", register_by_link),
    Route("GET", "/phone", page),
    Route("GET", "/phone/events", events),
    Route("GET", "/phone/*", asset),
    Route("POST", "/phone/requests/*/*", decide),
    Route("POST", "/phone/sessions/*/*", move),
    Route("POST", "/phone/register/*", register),
    Route("POST", "/phone/devices/*/*", lose_or_find),
    Route("GET", "/sandbox/requests", list_for_script),
    Route("POST", "/sandbox/requests/*/*", decide_for_script),
    Route("GET", "/sandbox/sessions", list_sessions_for_script),
    Route("POST", "/sandbox/sessions/*/*", move_for_script),
)
"""The calls of the phone page, of registration links, and of scripts."""

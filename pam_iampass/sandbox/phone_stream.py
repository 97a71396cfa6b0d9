"""What the phone page shows: one JSON object, sent anew with each change (server-sent events, WHATWG HTML 9.2)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Iterable
from itertools import islice
from typing import Any
from urllib.parse import quote_plus

from aiohttp import web

from pam_iampass.sandbox.sessions import SandboxSession, SessionStatus
from pam_iampass.sandbox.state import ServiceState, Sms
from pam_iampass.text import clean

# A page that receives nothing for three beats considers the connection lost.
_BEAT_SECONDS = 5.0
# Combines changes that follow each other into one event.
_REST_SECONDS = 0.05
_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


async def respond(
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
            view = phone_view(state)
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


def phone_view(state: ServiceState) -> View:
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

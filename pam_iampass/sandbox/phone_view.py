"""What the phone page shows, as one JSON object: the page draws it, and decides nothing by itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice
from typing import Any

from pam_iampass.sandbox.accounts import Sms
from pam_iampass.sandbox.sessions import SandboxSession, SessionStatus
from pam_iampass.sandbox.world import World
from pam_iampass.text import clean

_SHOWN = 20
_USERS_SHOWN = 100
_LINK = re.compile(r"/register/([A-Za-z0-9_-]+)", re.ASCII)
_WITHDRAWN = "withdrawn"
_OUTCOMES = {SessionStatus.FAILED: "denied", SessionStatus.TIMEOUT: "expired"}

View = dict[str, Any]


def phone_view(world: World) -> View:
    """Requests, phones and messages as they are now. All times are ``time.monotonic()`` seconds.

    Text that others chose is cleaned: a name must not read as another one.
    """
    with world.changes:
        sessions, users, messages = world.sessions.all, world.accounts.users, world.accounts.messages
        decided = (session for session in reversed(sessions) if not session.undecided)
        return {
            "requests": [_request(session) for session in sessions if session.undecided],
            "recent": [_decided(session) for session in islice(decided, _SHOWN)],
            "users": [_user(*each) for each in islice(users.items(), _USERS_SHOWN)],
            "users_total": len(users),
            "messages": list(_messages(world, messages)),
        }


def outcome(session: SandboxSession) -> str:
    """What became of a decided request, in the page's words."""
    return "approved" if session.approved else _OUTCOMES.get(session.status, _WITHDRAWN)


def _request(session: SandboxSession) -> View:
    return {
        "number": session.number,
        "user": clean(session.user),
        "methods": list(session.methods),
        "identifying": session.status is SessionStatus.IDENTIFYING,
        "started": session.started_at,
        "answer_by": session.answer_by,
    }


def _decided(session: SandboxSession) -> View:
    return {
        "number": session.number,
        "user": clean(session.user),
        "outcome": outcome(session),
        "at": session.decided_at,
    }


def _user(user: str, device: bool) -> View:
    return {"user": clean(user), "device": device}


def _messages(world: World, messages: tuple[Sms, ...]) -> Iterable[View]:
    first = max(0, len(messages) - _SHOWN)
    for number, message in reversed(list(enumerate(messages))[first:]):
        # The last link is the service's own; what stands before it the application chose.
        tokens = [token for token in _LINK.findall(message.text) if world.accounts.user_of_link(token)]
        yield {
            "number": number,
            "user": clean(message.user),
            "to": message.phone_number,
            "sender": clean(message.display_name or ""),
            "text": clean(message.text, 2000),
            "link": tokens[-1] if tokens else None,
            "at": message.at,
        }

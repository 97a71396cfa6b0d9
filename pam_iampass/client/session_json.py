"""A session as JSON, in the form that the published client writes and reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .origin import Origin
from .status import FAILED, TOKEN, Status

_STARTED = ("session_token", "session_secret", "logout_url", "status_url")
_OPTIONAL = "failure_reason"
_NAMES = frozenset({*_STARTED, _OPTIONAL, "session_status"})


def encode(session: object) -> str:
    """The JSON of a session, the secret included."""
    members = {name: getattr(session, name) for name in (*_STARTED, _OPTIONAL)}
    return json.dumps({**members, "session_status": session.session_status.name})  # type: ignore[attr-defined]


def decode(text: str, origin: Origin | None) -> dict[str, Any]:
    """The members of the session in the JSON. Raises ValueError for anything that neither `encode` nor the published
    client can have written, and for a session of another server than `origin`."""
    members: Any = None
    try:
        members = json.loads(text)
        problem = None if isinstance(members, dict) else "not an object"
    except (ValueError, TypeError, RecursionError):
        problem = "not JSON"
    problem = problem or _problem(members)
    if problem:  # outside of the handler, whose error contains the text and its secret
        raise ValueError(f"this is not a session: {problem}")
    started = members["session_token"] is not None
    if origin is not None and started and not all(origin.owns(members[name]) for name in _STARTED[2:]):
        raise ValueError(f"this session does not belong to {origin.url}")
    return {**members, "session_status": Status[members["session_status"]]}


def _problem(members: Mapping[str, Any]) -> str | None:
    if not _NAMES - {_OPTIONAL} <= set(members) <= _NAMES:
        return "it has other members than those of a session"
    status = members["session_status"]
    if not isinstance(status, str) or status not in Status.__members__:
        return "unknown session_status"
    if not isinstance(members.get(_OPTIONAL), (str, type(None))):
        return "failure_reason is neither text nor null"
    started = [members[name] for name in _STARTED]
    if all(value is None for value in started):
        return None if Status[status] in FAILED else "it was never started, and has not failed"
    if not all(isinstance(value, str) for value in started):
        return "it has some of token, secret and URLs, but not all"
    return None if TOKEN.fullmatch(started[0]) else "session_token has characters that no header can have"

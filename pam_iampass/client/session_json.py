"""A session as JSON, in the form that the published client writes and reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .session import TOKEN, Session
from .status import Status

if TYPE_CHECKING:
    from .application import Application

_BEGUN = ("session_token", "session_secret", "logout_url", "status_url")
_OPTIONAL = "failure_reason"
_NAMES = frozenset({*_BEGUN, _OPTIONAL, "session_status"})


class SessionSchema:
    """Writes sessions as JSON, and reads them back. The secret of the session stands in the JSON."""

    def __init__(self, api: Application | None = None) -> None:
        """Sessions that are read belong to `api`; without one they can be looked at, but not asked about."""
        self._transport = None if api is None else api.transport

    def dumps(self, session: Session) -> str:
        """The session as JSON, the secret included."""
        members = {name: getattr(session, name) for name in (*_BEGUN, _OPTIONAL)}
        return json.dumps({**members, "session_status": session.session_status.name})

    def loads(self, text: str) -> Session:
        """The session that the JSON describes.

        Raises ValueError for anything that `dumps`, here or in the published client, cannot have written, and
        for a session of another server than that of `api`.
        """
        session = Session(**_members(text), transport=self._transport)
        _check(session)
        return session


def _members(text: str) -> dict[str, Any]:
    problem = "no JSON"
    members: Any = None
    try:
        members = json.loads(text)
        problem = "" if isinstance(members, dict) else "no object"
    except (ValueError, TypeError, RecursionError):
        pass
    if not problem and not _NAMES - {_OPTIONAL} <= set(members) <= _NAMES:
        problem = "other members than those of a session"
    if not problem and not (
        isinstance(members["session_status"], str) and members["session_status"] in Status.__members__
    ):
        problem = "an unknown session_status"
    if problem:  # outside of the handler, whose error holds the text and its secret
        raise ValueError(f"this is no session: {problem}")
    return {**members, "session_status": Status[members["session_status"]]}


def _check(session: Session) -> None:
    begun = [getattr(session, name) for name in _BEGUN]
    reason = session.failure_reason
    if reason is not None and not isinstance(reason, str):
        raise ValueError("this is no session: failure_reason is neither text nor null")
    if all(value is None for value in begun):
        if not session.failed:
            raise ValueError("this is no session: it never began, and has not failed")
        return
    if not all(isinstance(value, str) for value in begun):
        raise ValueError("this is no session: some of token, secret and URLs are there, some are not")
    if not TOKEN.fullmatch(session.session_token or ""):
        raise ValueError("this is no session: session_token holds what no header can")
    transport = session.transport
    if transport is not None and not all(transport.origin.owns(url) for url in begun[2:]):
        raise ValueError(f"this session does not belong to {transport.origin.url}")

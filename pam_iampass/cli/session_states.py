"""The kept sessions as the command shows and ends them: through the files of the agent, as its user."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from pam_iampass.errors import PamIampassError, shown
from pam_iampass.session.kept_session import KeptSession, State, is_id
from pam_iampass.session.store import SessionStore
from pam_iampass.system.boot import since_boot
from pam_iampass.system.service_user import as_service_user

PATIENCE = 20.0
"""How long to wait until the agent has ended sessions: longer than the time between a warning and the end. Seconds."""
PATIENCE_FOR_EACH = 0.5
"""How much longer for each session: the agent ends some at a time. Seconds."""
_POLL_SECONDS = 0.2
_SHORTEST_PREFIX = 4
_READ_SECONDS = 10.0


@dataclass(frozen=True)
class ListedSession:
    """A kept session that was approved, without its secrets."""

    id: str
    user: str
    approver: str
    service: str
    rhost: str
    since: float
    """Unix time of the approval."""
    status: str
    """`active`, `away`, `revoked` or `ending`."""
    seconds_left: float
    covered: int
    last_covered: float
    """Unix time; 0 if it covered nothing."""
    logins: tuple[dict[str, Any], ...]
    """The attached login sessions."""

    @property
    def facts(self) -> tuple[object, ...]:
        """Everything but the time that is left."""
        return (self.id, self.status, self.covered, self.last_covered, self.logins)

    def as_object(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "id": self.id,
            "user": self.user,
            "approver": self.approver,
            "service": self.service,
            "from": self.rhost,
            "since": _timestamp(self.since),
            "status": self.status,
            "seconds_left": round(self.seconds_left),
            "covered": self.covered,
            "last_covered": _timestamp(self.last_covered) if self.last_covered else None,
            "logins": [
                {name: login.get(name) for name in ("user", "service", "tty", "pid")} for login in self.logins
            ],
        }


def listed() -> list[ListedSession]:
    """The approved sessions, the oldest first. Raises PamIampassError."""
    found = as_service_user(_read, patience=_READ_SECONDS)
    return [_listed(members) for members in found["sessions"]]


def chosen(who: str | None) -> list[ListedSession]:
    """The sessions of a user, or of an id or its beginning; all for None. Raises click.ClickException for two ids."""
    found = listed()
    if who is None:
        return found
    of_user = [session for session in found if who in (session.user, session.approver)]
    if of_user or len(who) < _SHORTEST_PREFIX:
        return of_user
    of_id = [session for session in found if session.id.startswith(who)]
    if len(of_id) > 1:
        raise click.ClickException(f"the ids of {len(of_id)} sessions begin with {shown(who)}")
    return of_id


def end(sessions: Sequence[str]) -> list[str]:
    """Have the agent end sessions and their logins; returns those that it has not ended in time.

    Raises PamIampassError.
    """
    if not sessions:
        return []
    as_service_user(lambda: _request_ends(sessions), patience=_READ_SECONDS)
    until = time.monotonic() + PATIENCE + PATIENCE_FOR_EACH * len(sessions)
    while left := [session.id for session in listed() if session.id in sessions]:
        if time.monotonic() >= until:
            return left
        time.sleep(_POLL_SECONDS)
    return []


def end_of_user(name: str) -> int:
    """Have the agent end all sessions that a user has approved, without waiting; returns their number.

    Raises PamIampassError.
    """
    found = [session.id for session in listed() if session.approver == name]
    if found:
        as_service_user(lambda: _request_ends(found), patience=_READ_SECONDS)
    return len(found)


def _read() -> dict[str, Any]:
    store = SessionStore()
    kept, _broken = store.all()
    return {"sessions": [_members(one) for one in kept if one.state is not State.ASKED]}


def _members(kept: KeptSession) -> dict[str, Any]:
    return {**kept.public(), "seconds_left": kept.ends_at - since_boot()}


def _request_ends(sessions: Sequence[str]) -> None:
    store = SessionStore()
    for ident in sessions:
        if is_id(ident):
            store.request_end(ident)


def _listed(members: dict[str, Any]) -> ListedSession:
    """The child process belongs to the agent's user: what it says is text of unknown origin."""
    try:
        return ListedSession(
            id=str(members["id"]),
            user=str(members["user"]),
            approver=str(members["approver"]),
            service=str(members["service"]),
            rhost=str(members["rhost"]),
            since=float(members["since"]),
            status=_status(members),
            seconds_left=float(members["seconds_left"]),
            covered=int(members["covered"]),
            last_covered=float(members["last_covered"]),
            logins=tuple(dict(login) for login in members["attached"]),
        )
    except (KeyError, TypeError, ValueError):
        raise PamIampassError("a file of a kept session is invalid", "run: pam-iampass check") from None


def _status(members: dict[str, Any]) -> str:
    if members["state"] == State.ENDING.value:
        return "ending"
    if members["away"]:
        return "away"
    return "revoked" if members["revoked"] else "active"


def _timestamp(unix_time: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(unix_time))

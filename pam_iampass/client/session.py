"""A session: one request for approval on the phone, and its result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Callable

from . import session_json
from .base_api import BaseAPI
from .deadline import Deadline
from .errors import printable
from .json_object import JsonObject
from .origin import Origin
from .request import SignedRequest
from .retries import ATTEMPTS
from .status import FAILED, TOKEN, Status
from .transport import Transport

_OUTER = "authentication_status"


@dataclass
class Session:
    """One IAMPASS session. Sessions with the same six public values are equal.

    Its `repr` shows neither the token nor the secret, nor the URLs, which contain the token.
    """

    session_status: Status
    """The status in the last response."""
    session_token: str | None = field(repr=False)
    session_secret: str | None = field(repr=False)
    logout_url: str | None = field(repr=False)
    status_url: str | None = field(repr=False)
    failure_reason: str | None = None
    """Why no session was started. The server's own text: not cleaned for a terminal or a log."""
    transport: Transport | None = field(default=None, repr=False, compare=False)
    clock_offset: float = field(default=0.0, repr=False, compare=False)
    """Seconds that the server's clock is ahead of ours, once it refused a signature for that."""

    @property
    def failed(self) -> bool:
        """It ended without an approval: failed, timeout, cancelled."""
        return self.session_status in FAILED

    @property
    def in_progress(self) -> bool:
        """The person has not answered yet: pending, identifying."""
        return self.session_status.in_progress

    @property
    def active(self) -> bool:
        """The person has approved."""
        return self.session_status is Status.active

    @property
    def away(self) -> bool:
        """The phone is no longer near, after an approval. Poll on: the session may become active again."""
        return self.session_status.away

    @property
    def ended(self) -> bool:
        """It is over, and will never be active again: failed, timeout, cancelled, closed."""
        return self.session_status.ended

    def get_status(
        self,
        deadline: Deadline | None = None,
        *,
        attempts: int = ATTEMPTS,
        pause: Callable[[float], None] | None = None,
    ) -> Status:
        """Asks IAMPASS (within 30 s without a deadline) and stores the status in `session_status`, which
        stays unchanged if the call raises an IampassError. With `attempts=1` a failed poll is not
        retried. A session that was never started stays failed, without a call."""
        if self.status_url is None:
            return self.session_status
        response = self._call("poll", "GET", self.status_url, deadline, attempts, pause)
        self.session_status = _read_poll(response)
        return self.session_status

    def destroy(
        self,
        deadline: Deadline | None = None,
        *,
        attempts: int = ATTEMPTS,
        pause: Callable[[float], None] | None = None,
    ) -> bool:
        """Ends the session; True if IAMPASS confirms it. A session that was never started gives False,
        without a call. Raises IampassError."""
        if self.logout_url is None:
            return False
        return self._call("end", "POST", self.logout_url, deadline, attempts, pause).boolean("status")

    @staticmethod
    def Schema(api: BaseAPI | None = None) -> SessionSchema:
        """Writes (`dumps`) and reads (`loads`) sessions as JSON, in the form of the published client.

        Sessions that are read belong to `api`, an API object; without one they make no calls.
        """
        return SessionSchema(api)

    def _call(
        self,
        name: str,
        method: str,
        url: str,
        deadline: Deadline | None,
        attempts: int,
        pause: Callable[[float], None] | None,
    ) -> JsonObject:
        if self.transport is None or self.session_token is None or self.session_secret is None:
            raise ValueError("this session belongs to no API object; read it with Session.Schema(api)")
        if not self.transport.origin.owns(url):
            raise ValueError("this session belongs to another server")
        request = SignedRequest(name, method, url, self.session_token, self.session_secret, idempotent=True)
        reply = self.transport.call(
            request, deadline, attempts=attempts, pause=pause, clock_offset=self.clock_offset
        )
        self.clock_offset = reply.clock_offset
        return reply.json


class SessionSchema:
    """Writes sessions as JSON, and reads them back. The JSON contains the secret of the session."""

    def __init__(self, api: BaseAPI | None = None) -> None:
        """Sessions that are read belong to `api`; without one they make no calls."""
        self._transport = None if api is None else api.transport

    def dumps(self, session: Session) -> str:
        """The session as JSON, the secret included."""
        return session_json.encode(session)

    def loads(self, text: str) -> Session:
        """The session in the JSON.

        Raises ValueError for anything that `dumps`, here or in the published client, cannot have written, and
        for a session of another server than that of `api`.
        """
        origin = None if self._transport is None else self._transport.origin
        return Session(**session_json.decode(text, origin), transport=self._transport)


def read_session(response: JsonObject, transport: Transport, clock_offset: float) -> Session:
    """The session in the response to a start. Raises ProtocolError."""
    members = response.child(_OUTER)
    if not members.boolean("authenticated"):
        return Session(Status.failed, None, None, None, None, members.text("reason"), transport)
    token = members.text("session_token")
    if not TOKEN.fullmatch(token):
        raise members.error("session_token is empty or has characters that no header can have")
    return Session(
        session_status=_read_status(members),
        session_token=token,
        session_secret=members.text("session_secret"),
        logout_url=_own_url(members, "logout_url", transport.origin),
        status_url=_own_url(members, "status_url", transport.origin),
        transport=transport,
        clock_offset=clock_offset,
    )


def _read_poll(response: JsonObject) -> Status:
    """The status in the response to a poll. The published client reads it in an outer object; the service's
    documentation has no such object, and says in `authenticated` whether the person is authenticated."""
    members = response.child(_OUTER) if _OUTER in response else response
    status = _read_status(members)
    denies = "authenticated" in members and not members.boolean("authenticated")
    if status is Status.active and denies:
        raise members.error("the session is active, but authenticated is false")
    return status


def _read_status(members: JsonObject) -> Status:
    """The `session_status` of a response. An unknown one is a ProtocolError, never an approval."""
    name = members.text("session_status")
    if name not in Status.__members__:
        raise members.error(f'unknown session status "{printable(name)}"')
    return Status[name]


def _own_url(members: JsonObject, key: str, origin: Origin) -> str:
    """A session's calls are signed, so they go to the configured server only."""
    url = members.text(key)
    if not origin.owns(url):
        raise members.error(f"{key} is not a plain URL on {origin.url}")
    return url

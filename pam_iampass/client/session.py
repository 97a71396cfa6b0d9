"""A session: one request on the phone, and what became of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable

from .answer import Document
from .deadline import Deadline
from .errors import printable
from .exchange import Call
from .origin import Origin
from .retries import ATTEMPTS
from .status import FAILED, IN_PROGRESS, Status

if TYPE_CHECKING:
    from .application import Application
    from .session_json import SessionSchema
    from .transport import Transport

# It stands in a header.
TOKEN = re.compile(r"[!-~]+")


@dataclass
class Session:
    """One IAMPASS session. Sessions with the same six public values are equal.

    Its `repr` shows neither token nor secret, nor the URLs, which hold the token.
    """

    session_status: Status
    """What the last answer said."""
    session_token: str | None = field(repr=False)
    session_secret: str | None = field(repr=False)
    logout_url: str | None = field(repr=False)
    status_url: str | None = field(repr=False)
    failure_reason: str | None = None
    """Why no session began, as the server said it: not cleaned for a terminal or a log."""
    transport: Transport | None = field(default=None, repr=False, compare=False)
    clock_offset: float = field(default=0.0, repr=False, compare=False)
    """Seconds that the server's clock is ahead of ours, once it refused a signature for that."""

    @property
    def failed(self) -> bool:
        """It did not come to an approval: failed, timeout, cancelled."""
        return self.session_status in FAILED

    @property
    def in_progress(self) -> bool:
        """The person has not answered yet: pending, identifying."""
        return self.session_status in IN_PROGRESS

    @property
    def active(self) -> bool:
        """The person has approved."""
        return self.session_status is Status.active

    def get_status(
        self,
        deadline: Deadline | None = None,
        *,
        attempts: int = ATTEMPTS,
        pause: Callable[[float], None] | None = None,
    ) -> Status:
        """Asks IAMPASS (within 30 s without a deadline) and remembers the answer in `session_status`, which
        stays as it was where the call raises an IampassError. With `attempts=1` a failed poll is not
        repeated. A session that never began stays failed, without a call."""
        if self.status_url is None:
            return self.session_status
        document = self._call("poll", "GET", self.status_url, deadline, attempts, pause)
        self.session_status = read_status(document.child("authentication_status"))
        return self.session_status

    def destroy(
        self,
        deadline: Deadline | None = None,
        *,
        attempts: int = ATTEMPTS,
        pause: Callable[[float], None] | None = None,
    ) -> bool:
        """Ends the session; True where IAMPASS says that it did. A session that never began gives False,
        without a call. Raises IampassError."""
        if self.logout_url is None:
            return False
        return self._call("end", "POST", self.logout_url, deadline, attempts, pause).truth("status")

    @staticmethod
    def Schema(api: Application | None = None) -> SessionSchema:
        """Writes (`dumps`) and reads (`loads`) sessions as JSON, which the published client understands.

        Sessions that are read belong to `api`, an API object; without one they can be looked at, but not
        asked about.
        """
        from .session_json import SessionSchema

        return SessionSchema(api)

    def _call(
        self,
        name: str,
        method: str,
        url: str,
        deadline: Deadline | None,
        attempts: int,
        pause: Callable[[float], None] | None,
    ) -> Document:
        if self.transport is None or self.session_token is None or self.session_secret is None:
            raise ValueError("this session belongs to no API object; read it with Session.Schema(api)")
        if not self.transport.origin.owns(url):
            raise ValueError("this session belongs to another server")
        call = Call(name, method, url, self.session_token, self.session_secret, harmless_to_repeat=True)
        reply = self.transport.call(
            call, deadline, attempts=attempts, pause=pause, clock_offset=self.clock_offset
        )
        self.clock_offset = reply.clock_offset
        return reply.document


def read_status(members: Document) -> Status:
    """The `session_status` of an answer. An unknown one is a ProtocolError, never an approval."""
    name = members.text("session_status")
    if name not in Status.__members__:
        raise members.error(f"unknown session status «{printable(name)}»")
    return Status[name]


def read_session(document: Document, transport: Transport, clock_offset: float) -> Session:
    """The session that the answer to a start describes. Raises ProtocolError."""
    members = document.child("authentication_status")
    if not members.truth("authenticated"):
        return Session(Status.failed, None, None, None, None, members.text("reason"), transport)
    token = members.text("session_token")
    if not TOKEN.fullmatch(token):
        raise members.error("session_token is empty or holds what no header can")
    return Session(
        session_status=read_status(members),
        session_token=token,
        session_secret=members.text("session_secret"),
        logout_url=_own_url(members, "logout_url", transport.origin),
        status_url=_own_url(members, "status_url", transport.origin),
        transport=transport,
        clock_offset=clock_offset,
    )


def _own_url(members: Document, key: str, origin: Origin) -> str:
    """A session's calls are signed, so they go to the configured server only."""
    url = members.text(key)
    if not origin.owns(url):
        raise members.error(f"{key} is no plain URL on {origin.url}")
    return url

"""One authentication: what the phone sees as a request, and the client as a session."""

from __future__ import annotations

import enum
import secrets
from dataclasses import dataclass, field

DEFAULT_DURATION_SECONDS = 3600
LONGEST_DURATION_SECONDS = 86400
METHODS = ("acceptance", "device", "facial")


class SessionStatus(str, enum.Enum):
    """The session statuses of the service."""

    PENDING = "pending"
    IDENTIFYING = "identifying"
    ACTIVE = "active"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    CLOSED = "closed"
    WALKAWAY = "walkaway"

    @property
    def undecided(self) -> bool:
        """The person has not answered yet."""
        return self in (SessionStatus.PENDING, SessionStatus.IDENTIFYING)


class EndedBy(str, enum.Enum):
    """Who ended a session."""

    CLIENT = "client"
    EXPIRY = "expiry"
    PHONE = "phone"
    REMOVAL = "removal"


@dataclass(frozen=True)
class SandboxSession:
    """A session as it was when it was asked for. All times are ``time.monotonic()`` seconds."""

    number: int
    """Counts from 1; also the name of the request in control calls and on the terminal."""
    user: str
    methods: tuple[str, ...]
    """What the call asked for; empty where it left the choice to the service."""
    duration: int
    """Seconds after which the session ends by itself."""
    duration_given: bool
    """Whether the call said ``duration_seconds``."""
    started_at: float
    answer_by: float
    """When it times out, unless it is answered before."""
    path: str
    """Names the session in its URLs."""
    token: str = field(repr=False)
    secret: str = field(repr=False)
    status: SessionStatus = SessionStatus.PENDING
    approved: bool = False
    """Whether it was ever ``active``, whatever became of it afterwards."""
    polls: int = 0
    decided_at: float | None = None
    """When it left ``pending`` and ``identifying``."""
    ended_at: float | None = None
    ended_by: EndedBy | None = None

    @property
    def undecided(self) -> bool:
        """The person has not answered yet."""
        return self.status.undecided


def begin(
    number: int, user: str, methods: tuple[str, ...], duration: int | None, patience: float, now: float
) -> SandboxSession:
    """A new pending session with a token and a secret of its own.

    :param patience: seconds that the person has to answer; the session's own duration may be shorter.
    """
    length = DEFAULT_DURATION_SECONDS if duration is None else duration
    return SandboxSession(
        number=number,
        user=user,
        methods=methods,
        duration=length,
        duration_given=duration is not None,
        started_at=now,
        answer_by=now + min(patience, length),
        path=secrets.token_hex(8),
        token=secrets.token_urlsafe(18),
        secret=secrets.token_urlsafe(24),
    )

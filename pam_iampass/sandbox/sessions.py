"""Authentications: each is a request on the phone, and a session of the client."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Union

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
        """Whether the user has not answered yet."""
        return self in (SessionStatus.PENDING, SessionStatus.IDENTIFYING)

    @property
    def is_open(self) -> bool:
        """Whether the user was approved, and the session has not ended."""
        return self in (SessionStatus.ACTIVE, SessionStatus.WALKAWAY)


class EndedBy(str, enum.Enum):
    """What ended a session."""

    CLIENT = "client"
    EXPIRY = "expiry"
    PHONE = "phone"
    REMOVAL = "removal"


@dataclass(frozen=True)
class SandboxSession:
    """A snapshot of a session. All times are ``time.monotonic()`` seconds."""

    number: int
    """Counts from 1; also identifies the request in control calls and on the terminal."""
    user: str
    methods: tuple[str, ...]
    """From the call; empty to leave the choice to the service."""
    duration: int
    """Seconds after which the session expires."""
    duration_given: bool
    """Whether the call had ``duration_seconds``."""
    started_at: float
    answer_by: float
    """When the request times out."""
    path: str
    """Identifies the session in its URLs."""
    token: str = field(repr=False)
    secret: str = field(repr=False)
    status: SessionStatus = SessionStatus.PENDING
    approved: bool = False
    """Whether it was ever ``active``."""
    polls: int = 0
    decided_at: float | None = None
    """When it left ``pending`` and ``identifying``."""
    ended_at: float | None = None
    ended_by: EndedBy | None = None

    @property
    def undecided(self) -> bool:
        """Whether the user has not answered yet."""
        return self.status.undecided


SessionOrUser = Union[SandboxSession, int, str]
"""A session, its number, or a user with exactly one matching session."""

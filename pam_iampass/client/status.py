"""What IAMPASS says about a session, and the ways in which it can ask a person."""

from __future__ import annotations

import enum


class Status(enum.Enum):
    """Where a session stands. Names and values are those of the published client."""

    pending = 1
    timeout = 2
    closed = 3
    failed = 4
    walkaway = 5
    active = 6
    identifying = 7
    cancelled = 8


class AuthenticationMethod(enum.Enum):
    """How the person proves to be there. Names and values are those of the published client."""

    acceptance = "acceptance"
    device = "device"
    facial = "facial"


IN_PROGRESS = frozenset({Status.pending, Status.identifying})
FAILED = frozenset({Status.failed, Status.timeout, Status.cancelled})

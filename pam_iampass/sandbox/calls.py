"""Every call that reached the sandbox, kept for tests to look at."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from pam_iampass.sandbox.faults import Fault


class CallKind(str, enum.Enum):
    """The calls of the service, and what else comes in."""

    START = "start"
    POLL = "poll"
    END = "end"
    ADD_USERS = "add_users"
    DELETE_USERS = "delete_users"
    LINK = "registration_link"
    SMS = "registration_sms"
    DEVICE = "has_device"
    PAGE = "page"
    PHONE = "phone"
    CONTROL = "control"
    UNKNOWN = "unknown"


_OTHERS = (CallKind.PAGE, CallKind.PHONE, CallKind.CONTROL, CallKind.UNKNOWN)
SERVICE_CALLS = tuple(kind for kind in CallKind if kind not in _OTHERS)
"""The calls of the wire protocol: those that can be answered with a fault."""


@dataclass(frozen=True)
class Call:
    """One call. Compare ``kind`` with its text or with CallKind, as you like."""

    kind: CallKind
    method: str
    path: str
    """As it was sent, without the query."""
    query: str
    """As it was sent, without the question mark."""
    headers: Mapping[str, str]
    """Looked up without regard to case."""
    body: bytes
    connection: str
    """The caller's address and port: calls that are alike here came over one connection."""
    at: float
    """``time.monotonic()`` seconds when the call was complete."""
    status: int
    """The HTTP status of the answer. A fault may have kept it from arriving."""
    fault: Fault | None = None
    """How the sandbox misbehaved, None where it did not."""

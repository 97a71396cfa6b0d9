"""The calls that the sandbox received, recorded for tests."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from pam_iampass.sandbox.faults import Fault


class CallKind(str, enum.Enum):
    """The calls of the service, and all other requests."""

    START = "start"
    POLL = "poll"
    END = "end"
    ADD_USERS = "add_users"
    DELETE_USERS = "delete_users"
    LINK = "registration_link"
    SMS = "registration_sms"
    DEVICE = "has_device"
    LOST = "lost_device"
    PAGE = "page"
    PHONE = "phone"
    CONTROL = "control"
    UNKNOWN = "unknown"


_OTHERS = (CallKind.PAGE, CallKind.PHONE, CallKind.CONTROL, CallKind.UNKNOWN)
SERVICE_CALLS = tuple(kind for kind in CallKind if kind not in _OTHERS)
"""The calls of the wire protocol, which can be answered with a fault."""


@dataclass(frozen=True)
class Call:
    """One call. ``kind`` also equals its text."""

    kind: CallKind
    method: str
    path: str
    """As it was sent, without the query."""
    query: str
    """As it was sent, without the question mark."""
    headers: Mapping[str, str]
    """Case-insensitive."""
    body: bytes
    connection: str
    """The client's address and port: the same for calls over one connection."""
    at: float
    """``time.monotonic()`` seconds when the call was complete."""
    status: int
    """The HTTP status of the reply, which a fault may have prevented."""
    fault: Fault | None = None
    """The fault of the reply, or None."""

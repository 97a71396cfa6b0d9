"""The IAMPASS API, usable on its own: ask a person's phone, and wait for the answer."""

from __future__ import annotations

from .authentication import AuthenticationAPI
from .deadline import Deadline
from .errors import IampassError, LocalFailure, ProtocolError, Refused, SessionFailed, TLSFailure, Unavailable
from .session import Session
from .status import AuthenticationMethod, Status
from .transport import Transport

__all__ = [
    "AuthenticationAPI",
    "AuthenticationMethod",
    "Deadline",
    "IampassError",
    "LocalFailure",
    "ProtocolError",
    "Refused",
    "Session",
    "SessionFailed",
    "Status",
    "TLSFailure",
    "Transport",
    "Unavailable",
]

"""The IAMPASS API, usable on its own: ask for approval on a person's phone, manage users and their devices."""

from __future__ import annotations

from .api import AuthenticationAPI, ManagementAPI
from .connection import Deadline
from .errors import (
    BadSignature,
    Declined,
    IampassError,
    LocalFailure,
    NotFound,
    ProtocolError,
    Refused,
    SessionFailed,
    TLSFailure,
    Unavailable,
)
from .gateways import Gateways
from .http import Transport
from .session import Session, SessionSigner
from .status import AuthenticationMethod, ManagementAPIResult, Status

__all__ = [
    "AuthenticationAPI",
    "AuthenticationMethod",
    "BadSignature",
    "Deadline",
    "Declined",
    "Gateways",
    "IampassError",
    "LocalFailure",
    "ManagementAPI",
    "ManagementAPIResult",
    "NotFound",
    "ProtocolError",
    "Refused",
    "Session",
    "SessionFailed",
    "SessionSigner",
    "Status",
    "TLSFailure",
    "Transport",
    "Unavailable",
]

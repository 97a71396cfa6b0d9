"""The IAMPASS API, usable on its own: ask a person's phone, and wait for the answer; manage users and devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .authentication import AuthenticationAPI
from .deadline import Deadline
from .errors import (
    Declined,
    IampassError,
    LocalFailure,
    ProtocolError,
    Refused,
    SealBroken,
    SessionFailed,
    TLSFailure,
    Unavailable,
)
from .session import Session
from .status import AuthenticationMethod, Status
from .transport import Transport

if TYPE_CHECKING:
    from .management import ManagementAPI, ManagementAPIResult
    from .sealing import SessionSealer

__all__ = [
    "AuthenticationAPI",
    "AuthenticationMethod",
    "Deadline",
    "Declined",
    "IampassError",
    "LocalFailure",
    "ManagementAPI",
    "ManagementAPIResult",
    "ProtocolError",
    "Refused",
    "SealBroken",
    "Session",
    "SessionFailed",
    "SessionSealer",
    "Status",
    "TLSFailure",
    "Transport",
    "Unavailable",
]

# No login needs these, so none shall pay for loading them.
_LATE = {"ManagementAPI": "management", "ManagementAPIResult": "management", "SessionSealer": "sealing"}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)

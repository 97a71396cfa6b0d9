"""The IAMPASS API, usable on its own: ask for approval on a person's phone, manage users and their devices."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .authentication import AuthenticationAPI
    from .deadline import Deadline
    from .errors import (
        BadSignature,
        Cause,
        Declined,
        IampassError,
        LocalFailure,
        NotFound,
        ProtocolError,
        Refused,
        SealBroken,
        SessionFailed,
        TLSFailure,
        Unavailable,
    )
    from .management import ManagementAPI, ManagementAPIResult
    from .session import Session
    from .signed_tokens import SessionSealer, SessionSigner
    from .status import AuthenticationMethod, Status
    from .transport import Transport

__all__ = [
    "AuthenticationAPI",
    "AuthenticationMethod",
    "BadSignature",
    "Cause",
    "Deadline",
    "Declined",
    "IampassError",
    "LocalFailure",
    "ManagementAPI",
    "ManagementAPIResult",
    "NotFound",
    "ProtocolError",
    "Refused",
    "SealBroken",
    "Session",
    "SessionFailed",
    "SessionSealer",
    "SessionSigner",
    "Status",
    "TLSFailure",
    "Transport",
    "Unavailable",
]

# Each is imported when it is first used: a login loads no more of the client than it needs.
_MODULES = {
    "AuthenticationAPI": "authentication",
    "AuthenticationMethod": "status",
    "Deadline": "deadline",
    "ManagementAPI": "management",
    "ManagementAPIResult": "management",
    "Session": "session",
    "SessionSealer": "signed_tokens",
    "SessionSigner": "signed_tokens",
    "Status": "status",
    "Transport": "transport",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)

"""What IAMPASS says about a session, and the ways in which it can authenticate a person."""

from __future__ import annotations

import enum
import re


class Status(enum.Enum):
    """The status of a session. Names and values are those of the published client."""

    pending = 1
    timeout = 2
    closed = 3
    failed = 4
    walkaway = 5
    active = 6
    identifying = 7
    cancelled = 8


class AuthenticationMethod(enum.Enum):
    """How the person is authenticated. Names and values are those of the published client."""

    acceptance = "acceptance"
    device = "device"
    facial = "facial"


IN_PROGRESS = frozenset({Status.pending, Status.identifying})
FAILED = frozenset({Status.failed, Status.timeout, Status.cancelled})
TOKEN = re.compile(r"[!-~]+")
"""A session token: it stands in a header."""

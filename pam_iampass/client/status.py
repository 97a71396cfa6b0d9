"""The statuses and results that IAMPASS reports, and the ways in which it can authenticate a person."""

from __future__ import annotations

import enum
import re
from types import DynamicClassAttribute


class _Status(enum.Enum):
    """The properties of `Status`. Exactly one of them is true of each status.

    `active` is also a member. Without the property, `Status.pending.active` would be that member, which is true.
    """

    @property
    def in_progress(self) -> bool:
        """The person has not answered yet: pending, identifying."""
        return self in (Status.pending, Status.identifying)

    @DynamicClassAttribute
    def active(self) -> bool:
        """The person has approved."""
        return self is Status.active

    @property
    def away(self) -> bool:
        """The phone is no longer near, and the session may become active again: walkaway."""
        return self is Status.walkaway

    @property
    def ended(self) -> bool:
        """The session is over: failed, timeout, cancelled, closed."""
        return not (self.in_progress or self.active or self.away)


class Status(_Status):
    """The status of a session."""

    pending = 1
    """The person has not answered."""
    timeout = 2
    """The person did not answer, or the duration of the session is over."""
    closed = 3
    """The session was ended: by `destroy`, from the phone, or by an administrator."""
    failed = 4
    """The person was not recognized."""
    walkaway = 5
    """The phone is no longer near, after an approval."""
    active = 6  # type: ignore[assignment]
    """The person has approved."""
    identifying = 7
    """The phone is checking who the person is."""
    cancelled = 8
    """The person refused."""


class AuthenticationMethod(enum.Enum):
    """How the person approves."""

    acceptance = "acceptance"
    device = "device"
    facial = "facial"


class ManagementAPIResult(enum.IntEnum):
    """The result of a management call."""

    success = 0
    failed = 1
    """Never returned here: a failure raises an error."""
    user_exists = 2
    has_mobile_device = 3
    no_mobile_device = 4

    __str__ = enum.Enum.__str__  # the name, as all Pythons before 3.11 print it


FAILED = frozenset({Status.failed, Status.timeout, Status.cancelled})
TOKEN = re.compile(r"[!-~]+")
"""A session token: it stands in a header."""

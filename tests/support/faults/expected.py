"""Common `Expected` values."""

from __future__ import annotations

from tests.support import deadline
from tests.support.deadline import DEADLINE
from tests.support.faults.case import ABORT, IGNORE, NONE, SUCCESS, Expected, Requests

NO_PHONE = "No phone is registered for you at IAMPASS. Please ask your administrator."
OUT_OF_REACH = "IAMPASS is unreachable from this machine. Try again in a minute, or ask your administrator."
NOT_SET_UP = "The phone check is misconfigured on this machine. Please ask your administrator."
NO_SENSE = "IAMPASS sent an invalid response. Please ask your administrator."

#: One request that was sent to the phone, polled and ended.
ASKED = Requests(1, None, 1)
#: A session that was over before the first poll.
AT_ONCE = Requests(1, 0, 1)
STARTED = Requests(1, 0, 0)

APPROVED = Expected(SUCCESS, "approved", "success", deadline.APPROVED, ASKED, within=4.0)
DENIED = Expected(ABORT, "denied", "denied", deadline.DENIED, ASKED, within=4.0)
NO_DEVICE = Expected(ABORT, "no_device", "denied", NO_PHONE, STARTED)
NO_ACCOUNT = Expected(ABORT, "denied", "denied", record='reason="no account on this machine"')
EXEMPT = Expected(IGNORE, "exempt", "ignored")
BYPASSED = Expected(
    IGNORE,
    "bypassed",
    "ignored",
    "Continuing without phone approval: your administrator allows it for now.",
)
UNLISTED = Expected(
    ABORT,
    "unlisted",
    "denied",
    "No phone is on record for you on this machine. Please ask your administrator.",
)
OUTAGE = Expected(ABORT, "unavailable", "denied", OUT_OF_REACH, NONE)
NONSENSE = Expected(ABORT, "unavailable", "denied", NO_SENSE, STARTED)
MISCONFIGURED = Expected(ABORT, "misconfigured", "denied", NOT_SET_UP, NONE)
UNKNOWN = Expected(
    ABORT,
    "denied",
    "denied",
    "IAMPASS does not know you, or does not know this machine. Please ask your administrator.",
    STARTED,
    record="IAMPASS does not know the application",
)
BY_THE_DOOR = Expected(ABORT, "unavailable", "denied")
"""The door gets no result from the module, and displays nothing."""


def timed_out(seconds: int = DEADLINE) -> Expected:
    """The request timed out."""
    message = f"Nobody answered on your phone within {seconds} seconds."
    return Expected(ABORT, "timed_out", "denied", message, ASKED, within=seconds + 1.0)

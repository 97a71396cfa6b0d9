"""How long tests wait, and a login for the phone; what its user reads."""

from __future__ import annotations

#: How many seconds tests wait for something that happens immediately on an idle machine.
PATIENCE = 90.0

#: Seconds. Long enough that a login which waits for its time-out has sent its request, even if the machine stalls for
#: five seconds.
DEADLINE = 8
#: As the setting `timeout`.
TIMEOUT = f"{DEADLINE}s"

#: Seconds for a login of the system tests whose phone is answered: more than a busy machine needs.
PLENTY = 60


def approve_within(seconds: int) -> str:
    """What the user reads once the request is sent."""
    return f"Approve this on your phone within {seconds} seconds."


def press_enter(seconds: int) -> str:
    """The prompt."""
    return (
        "IAMPASS: press Enter to get a request on your phone, or type a recovery code; "
        f"you then have {seconds} seconds: "
    )


APPROVE_WITHIN = approve_within(DEADLINE)
PRESS_ENTER = press_enter(DEADLINE)
NOBODY_ANSWERED = f"Nobody answered on your phone within {DEADLINE} seconds."
APPROVED = "Approved on your phone."
DENIED = "Denied on your phone."


def not_approved_by(approver: str) -> str:
    """What the user of a session reads that somebody else had to approve."""
    return f"{approver} has not approved this."

"""How long a login waits for the phone in tests."""

from __future__ import annotations

#: Seconds. Long enough that a login which waits for its time-out has sent its request, even if the machine stalls for
#: five seconds.
DEADLINE = 8
#: As the setting `timeout`.
TIMEOUT = f"{DEADLINE}s"

APPROVE_WITHIN = f"Approve this on your phone within {DEADLINE} seconds."
NOBODY_ANSWERED = f"Nobody answered on your phone within {DEADLINE} seconds."
PRESS_ENTER = (
    "IAMPASS: press Enter to get a request on your phone, or type a recovery code; "
    f"you then have {DEADLINE} seconds: "
)

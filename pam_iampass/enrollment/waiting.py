"""Waits until phones are registered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Callable

from pam_iampass.client import Deadline, ManagementAPI, ManagementAPIResult, Unavailable

INTERVAL = 2.0
"""Seconds between two rounds of questions; more if there are many tokens."""
_CALL = 10.0  # seconds for one question


def wait_for_devices(
    manager: ManagementAPI,
    tokens: Iterable[str],
    deadline: Deadline,
    pause: Callable[[float], None],
    registered: Callable[[str], None],
    availability_changed: Callable[[Unavailable | None], None],
) -> list[str]:
    """Poll until each user has a device. Returns the tokens that have none at the deadline.

    Calls `registered` with each token that gets a device, and `availability_changed` with an error when IAMPASS becomes
    unreachable, with None when it is back. Waits in between; every other IampassError is raised.
    """
    missing = list(tokens)
    interval = max(INTERVAL, len(missing) / 20)
    unreachable = False
    while missing and not deadline.expired:
        try:
            for token in list(missing):
                found = manager.has_registered_mobile_device(token, deadline=deadline.sooner(_CALL))
                if unreachable:
                    unreachable = False
                    availability_changed(None)
                if found is ManagementAPIResult.has_mobile_device:
                    missing.remove(token)
                    registered(token)
        except Unavailable as error:
            if not unreachable and not deadline.expired:
                unreachable = True
                availability_changed(error)
        if missing:
            pause(min(interval, deadline.remaining()))
    return missing

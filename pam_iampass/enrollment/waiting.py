"""Waits until phones are registered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Callable

from pam_iampass.client import Deadline, ManagementAPI, ManagementAPIResult, Unavailable

INTERVAL = 2.0
"""Seconds between two rounds of questions; more where there are many to ask about."""
_CALL = 10.0  # seconds for one question


def wait_for_devices(
    manager: ManagementAPI,
    tokens: Iterable[str],
    deadline: Deadline,
    pause: Callable[[float], None],
    registered: Callable[[str], None],
    out_of_reach: Callable[[Unavailable | None], None],
) -> list[str]:
    """Ask until each of the users has a device. Returns those who have none at the deadline.

    `registered` is told of each who has one; `out_of_reach` of IAMPASS going away, and with None of its coming back:
    that is waited for, while every other IampassError is raised.
    """
    missing = list(tokens)
    interval = max(INTERVAL, len(missing) / 20)
    away = False
    while missing and not deadline.expired:
        try:
            for token in list(missing):
                found = manager.has_registered_mobile_device(token, deadline=deadline.sooner(_CALL))
                if away:
                    away = False
                    out_of_reach(None)
                if found is ManagementAPIResult.has_mobile_device:
                    missing.remove(token)
                    registered(token)
        except Unavailable as error:
            if not away and not deadline.expired:
                away = True
                out_of_reach(error)
        if missing:
            pause(min(interval, deadline.remaining()))
    return missing

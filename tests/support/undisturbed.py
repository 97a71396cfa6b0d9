"""Timing that does not depend on other load of the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.support import processes


@contextmanager
def undisturbed() -> Iterator[None]:
    """Run this process and its descendants with priority over all others (sched(7)).

    Where root must not do that (CAP_SYS_NICE), and for other users, they run as usual.
    """
    _schedule(os.SCHED_RR, 1)
    try:
        yield
    finally:
        _schedule(os.SCHED_OTHER, 0)


def _schedule(policy: int, priority: int) -> None:
    for process in (os.getpid(), *processes.descendants(os.getpid())):
        with suppress(OSError):  # it has ended
            for thread in os.listdir(f"/proc/{process}/task"):
                with suppress(ProcessLookupError, PermissionError):
                    os.sched_setscheduler(int(thread), policy, os.sched_param(priority))

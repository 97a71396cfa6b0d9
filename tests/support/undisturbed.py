"""Time that does not depend on what else the machine does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def undisturbed() -> Iterator[None]:
    """This thread, and the processes and threads that it starts, run before all others of the machine (sched(7)).

    Where root must not do that (CAP_SYS_NICE), they run as ever.
    """
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))

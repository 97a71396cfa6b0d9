"""The faults of the next calls."""

from __future__ import annotations

import threading
from collections import deque

from pam_iampass.sandbox.calls import SERVICE_CALLS, CallKind
from pam_iampass.sandbox.faults import Fault


class FaultPlan:
    """A queue of faults for each kind of call. Safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[CallKind, deque[Fault]] = {}
        self._always: dict[CallKind, Fault] = {}

    def add(self, kind: CallKind, fault: Fault, times: int | None) -> None:
        """Answer the next ``times`` calls of a kind with a fault; None: all calls after the queued faults."""
        if kind not in SERVICE_CALLS:
            raise ValueError(f"{kind.value} calls cannot be answered with a fault")
        with self._lock:
            if times is None:
                self._always[kind] = fault
            else:
                queue = self._queues.setdefault(kind, deque())
                queue.extend([fault] * times)

    def take(self, kind: CallKind) -> Fault | None:
        """The fault for a new call, or None."""
        with self._lock:
            queue = self._queues.get(kind)
            return queue.popleft() if queue else self._always.get(kind)

    def clear(self) -> None:
        """Delete all faults."""
        with self._lock:
            self._queues.clear()
            self._always.clear()

"""Threads that do what may wait for the network. They end when there is nothing to do."""

from __future__ import annotations

import queue
import threading
from typing import Callable

#: How long an idle thread waits for more. Seconds.
IDLE = 1.0

Job = Callable[[], None]


class Workers:
    """At most `most` threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0

    def submit(self, job: Job) -> None:
        """Have a thread do it. `job` raises nothing. Raises RuntimeError where no thread can be started."""
        with self._lock:
            starts = self._idle <= self._jobs.qsize() and self._threads < self._most
            if starts:
                threading.Thread(target=self._run, daemon=True, name="session").start()
                self._threads += 1
            self._jobs.put(job)

    def _run(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
            try:
                job = self._jobs.get(timeout=IDLE)
            except queue.Empty:
                with self._lock:
                    self._idle -= 1
                    if self._jobs.empty():
                        self._threads -= 1
                        return
                continue
            with self._lock:
                self._idle -= 1
            job()

"""The thread that watches kept sessions: logins that end, and tasks that are due."""

from __future__ import annotations

import queue
import threading
import time
from functools import partial
from typing import Callable

from pam_iampass.audit.journal import ERROR
from pam_iampass.session import life
from pam_iampass.session.descriptors import Descriptors, Process
from pam_iampass.session.entry import Entry, Task
from pam_iampass.session.kept_session import State
from pam_iampass.session.registry import Registry
from pam_iampass.session.tasks import Tasks

#: Threads that ask IAMPASS.
CALLERS = 8
#: Threads for what does not wait for IAMPASS: calls that hang hold up no end. The enforcer takes 5 s to end a login.
ENFORCERS = 16
#: Tasks that are due within so many seconds are handed out together.
LEAST_WAIT = 0.1
#: The longest that it waits, and how long after an error. Seconds.
TICK = 0.5
#: How long the agent, when it stops, tells IAMPASS of sessions that have just ended. Seconds.
STOP_TIMEOUT = 8.0
#: How long an idle thread waits for more. Seconds.
IDLE = 1.0

Job = Callable[[], None]


class Watcher:
    """Runs while there are sessions."""

    def __init__(self, registry: Registry, tasks: Tasks, descriptors: Descriptors) -> None:
        self._registry = registry
        self._tasks = tasks
        self._descriptors = descriptors
        self._callers, self._enforcers = Workers(CALLERS), Workers(ENFORCERS)
        self._thread: threading.Thread | None = None
        self._stop_at: float | None = None
        registry.on_change = self._changed

    def stop(self) -> None:
        """Tell IAMPASS of the sessions that have just ended, and end."""
        with self._registry.lock:
            thread, self._stop_at = self._thread, time.monotonic() + STOP_TIMEOUT
        if thread is not None:
            self._descriptors.wake()
            thread.join(STOP_TIMEOUT + 1.0)

    def _changed(self, entry: Entry) -> None:
        if entry.kept.id not in self._registry.entries:
            self._descriptors.remove_all(entry.kept.id)
        if self._thread is None and self._registry.entries and self._stop_at is None:
            self._thread = threading.Thread(target=self._run, daemon=True, name="sessions")
            try:
                self._thread.start()
            except RuntimeError:  # out of threads: the next change tries again
                self._thread = None
        self._descriptors.wake()

    def _run(self) -> None:
        """Watch until there is no session any more."""
        while True:
            try:
                self._watch()
            except Exception as error:  # noqa: BLE001 - the sessions must go on being watched
                self._registry.journal.note(f"kept sessions: {type(error).__name__} in their watcher", ERROR)
                time.sleep(TICK)
            if self._is_finished():
                return

    def _watch(self) -> None:
        registry = self._registry
        for process in self._descriptors.wait(registry.wait(LEAST_WAIT, TICK)):
            self._process_ended(process)
        for entry, task in registry.take_due():
            self._hand_out(entry, task)
        self._tasks.look_for_silence()

    def _is_finished(self) -> bool:
        with self._registry.lock:
            entries, now = self._registry.entries, self._registry.clock()
            finished = not entries
            if self._stop_at is not None:
                ending = [each for each in entries.values() if each.kept.state is State.ENDING]
                telling = any(not each.kept.told and each.tell_at <= now for each in ending)
                finished = time.monotonic() > self._stop_at or not telling
            if finished:
                self._thread = None
            return finished

    def _process_ended(self, process: Process) -> None:
        event = partial(life.login_over, closed=False) if process.attached else life.not_opened
        self._registry.change(process.session, partial(event, pid=process.pid))

    def _hand_out(self, entry: Entry, task: Task) -> None:
        if self._stop_at is not None and task is not Task.TELL:
            return
        workers = self._callers if task.is_call else self._enforcers
        try:
            workers.submit(lambda: self._tasks.do(entry, task))
        except RuntimeError:  # out of threads
            self._registry.done(entry, task)


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

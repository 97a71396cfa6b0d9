"""All kept sessions of the agent: in memory, in its file, and in the order of what is due."""

from __future__ import annotations

import contextlib
import heapq
import sqlite3
import threading
import time
from typing import Callable

from pam_iampass.audit.journal import Journal, SessionRecord
from pam_iampass.errors import StateError
from pam_iampass.outcome import SessionEvent
from pam_iampass.session.entry import Entry, Task
from pam_iampass.session.kept_session import EndCause, KeptSession, decode, encode
from pam_iampass.session.life import Step
from pam_iampass.session.pacing import PollBudget
from pam_iampass.system.boot import since_boot
from pam_iampass.system.database import Database


class SessionStore:
    """The rows of kept sessions. Every method raises StateError."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.on_open.append(self._forget_older)

    def write(self, kept: KeptSession) -> None:
        """Store a session."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO sessions VALUES (?, ?, ?)",
                (kept.id, self._database.boot, encode(kept)),
            )

    def remove(self, ident: str) -> None:
        """Forget a session."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM sessions WHERE id = ?", (ident,))

    def all(self) -> tuple[list[KeptSession], list[str]]:
        """All sessions of this boot, the oldest first, and the ids of those that cannot be read."""
        found, broken = [], []
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT id, content FROM sessions WHERE boot = ?", (self._database.boot,)
            ).fetchall()
        for ident, content in rows:
            try:
                kept = decode(content)
                if kept.id != ident:
                    raise ValueError("it has the id of another session")
                found.append(kept)
            except ValueError:
                broken.append(str(ident))
        return sorted(found, key=lambda kept: kept.began), broken

    def _forget_older(self, connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM sessions WHERE boot != ?", (self._database.boot,))


#: When a poll is tried again that there was no budget for. Seconds.
LATER = 0.1


class Registry:
    """The sessions. Every method may be called in any thread."""

    def __init__(
        self,
        store: SessionStore,
        journal: Journal,
        *,
        clock: Callable[[], float] = since_boot,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` is in seconds since boot, `wall_clock` in Unix time."""
        self.store = store
        self.journal = journal
        self.clock = clock
        self.wall_clock = wall_clock
        self.lock = threading.RLock()
        self.entries: dict[str, Entry] = {}
        self.on_change: Callable[[Entry], None] = lambda _entry: None
        """Called under the lock where a session is new or forgotten, or has a task before `wait` is over."""
        self._of_approver: dict[str, dict[str, Entry]] = {}
        self._due: list[tuple[float, str]] = []
        self._awake_at = 0.0
        self._budget = PollBudget()
        self._counted = (-1.0, 0.0)

    def add(self, entry: Entry) -> None:
        """A new session. Raises StateError where it cannot be stored."""
        with self.lock:
            self.store.write(entry.kept)
            self.resume(entry)

    def resume(self, entry: Entry) -> None:
        """A session that was stored."""
        with self.lock:
            self.entries[entry.kept.id] = entry
            self._of_approver.setdefault(entry.kept.approver, {})[entry.kept.id] = entry
            self.schedule(entry)
            self.on_change(entry)

    def of_approver(self, name: str) -> list[KeptSession]:
        """The sessions that a user has approved. A login looks for them: there may be thousands of other people's."""
        with self.lock:
            return [entry.kept for entry in self._of_approver.get(name, {}).values()]

    def change(self, ident: str, event: Callable[[KeptSession], Step]) -> KeptSession | None:
        """Carry out an event (`life`); returns the session as it is then, None if it is unknown."""
        with self.lock:
            entry = self.entries.get(ident)
            if entry is None:
                return None
            before, step = entry.kept, event(entry.kept)
            entry.kept = step.kept
            if step.record is not None:
                self._record(step.record, step)
            if step.kept.is_over:
                self.forget(ident)
            elif step.kept != before:
                self._write(step.kept)
                if (step.kept.wanted, step.kept.awaited) != (before.wanted, before.awaited):
                    entry.enforce_at, entry.enforcements = 0.0, 0
                self.schedule(entry)
            return step.kept

    def forget(self, ident: str) -> None:
        """Keep the session no longer."""
        with self.lock:
            entry = self.entries.pop(ident, None)
            if entry is not None:
                theirs = self._of_approver[entry.kept.approver]
                del theirs[ident]
                if not theirs:
                    del self._of_approver[entry.kept.approver]
                self._remove(ident)
                self.on_change(entry)

    def schedule(self, entry: Entry) -> None:
        """Put the session in the order of what is due, after its times have changed."""
        due, task = entry.next_task()
        if task is not None:
            heapq.heappush(self._due, (due, entry.kept.id))
        if due < self._awake_at:
            self.on_change(entry)

    def take_due(self) -> list[tuple[Entry, Task]]:
        """The sessions with a task that is due now; `done` follows each."""
        taken = []
        with self.lock:
            now = self.clock()
            self._budget.refill(now, self._rate(now))
            while self._due and self._due[0][0] <= now:
                _due, ident = heapq.heappop(self._due)
                entry = self.entries.get(ident)
                due, task = (now, None) if entry is None else entry.next_task()
                if entry is None or task is None or due > now:
                    continue
                if task is Task.POLL:
                    entry.unanswered_since = min(entry.unanswered_since, now)
                    if not self._budget.take():
                        heapq.heappush(self._due, (now + LATER, ident))
                        continue
                entry.doing.add(task)
                taken.append((entry, task))
                self.schedule(entry)
        return taken

    def _rate(self, now: float) -> float:
        """Polls per second if none is late; counted once a second."""
        counted_at, rate = self._counted
        if now - counted_at >= 1.0:
            kept = (entry.kept for entry in self.entries.values())
            rate = sum(1.0 / each.rules.check for each in kept if each.is_let_in)
            self._counted = now, rate
        return rate

    def done(self, entry: Entry, task: Task) -> None:
        """The task of the session has been done, or was put off."""
        with self.lock:
            if task is Task.POLL:
                self._budget.done()
            entry.doing.discard(task)
            if entry.kept.id in self.entries:
                self.schedule(entry)

    def wait(self, least: float, most: float) -> float:
        """Seconds until a task is due, within bounds: tasks that are due soon after one another are done together."""
        with self.lock:
            now = self.clock()
            due = self._due[0][0] if self._due else now + most
            seconds = min(max(due - now, least), most)
            self._awake_at = now + seconds
            return seconds

    def _remove(self, ident: str) -> None:
        with contextlib.suppress(StateError):
            self.store.remove(ident)

    def _write(self, kept: KeptSession) -> None:
        with contextlib.suppress(StateError):  # it is kept all the same, until this process ends
            self.store.write(kept)

    def _record(self, event: SessionEvent, step: Step) -> None:
        kept = step.kept
        warning = event is SessionEvent.AWAY or kept.ended_by not in (
            None,
            EndCause.LOGIN,
            EndCause.NOT_OPENED,
        )
        self.journal.session(
            SessionRecord(
                *(event, kept.id, kept.user, kept.approver, kept.service, kept.rhost),
                step.reason,
                warning,
            )
        )

"""All kept sessions, in the memory of the agent and in its file (docs/one-server/sessions.md)."""

from __future__ import annotations

import contextlib
import heapq
import os
import sqlite3
import threading
import time
from collections import deque
from dataclasses import replace
from functools import partial
from typing import Callable

from pam_iampass.audit.journal import WARNING, Journal, SessionRecord
from pam_iampass.client import AuthenticationAPI, Deadline, Session, Status
from pam_iampass.client.errors import IampassError
from pam_iampass.config.settings import SessionSettings
from pam_iampass.errors import PamIampassError, StateError
from pam_iampass.outcome import SessionEvent
from pam_iampass.session import life
from pam_iampass.session.cover import Cover, CoverRequest, cover, is_within
from pam_iampass.session.descriptors import Descriptors, WatchedProcess
from pam_iampass.session.kept_session import (
    AttachedLogin,
    EndCause,
    KeptSession,
    Opener,
    State,
    decode,
    encode,
)
from pam_iampass.session.presence import begins_in
from pam_iampass.session.schedule import Pacing, PollBudget, Scheduled, Task
from pam_iampass.system.boot import since_boot
from pam_iampass.system.database import Database

#: How long after the approval a session is not polled: by then most login sessions are open. Seconds.
OPENING = 5.0
#: When a poll is tried again that there was no budget for. Seconds.
LATER = 0.1
#: How often IAMPASS is asked what covers a person's logins, and within which time, in seconds. A user who ran sudo all
#: the time could otherwise make IAMPASS refuse everyone's polls.
MOST_COVERS, COVERS_WITHIN = 30, 60.0

#: The API of the settings in a file. Raises PamIampassError.
Connect = Callable[[str], AuthenticationAPI]
#: `status_of`, or a substitute.
AskStatus = Callable[[KeptSession, Connect, Deadline], Status]


def at_iampass(kept: KeptSession, connect: Connect) -> Session:
    """The session at IAMPASS. Raises PamIampassError and ValueError."""
    return Session.Schema(connect(kept.config)).loads(kept.session)


def status_of(kept: KeptSession, connect: Connect, deadline: Deadline) -> Status:
    """Ask IAMPASS for the status of a session now. Raises IampassError, PamIampassError and ValueError."""
    return at_iampass(kept, connect).get_status(deadline, attempts=1)


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
        """All sessions of this boot, the oldest first, and the ids of the ones that cannot be read."""
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


class KeptSessions:
    """The sessions. Every method may be called in any thread."""

    def __init__(
        self,
        store: SessionStore,
        journal: Journal,
        connect: Connect,
        *,
        ask_status: AskStatus = status_of,
        descriptors: Descriptors | None = None,
        pacing: Pacing | None = None,
        clock: Callable[[], float] = since_boot,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` is in seconds since boot, `wall_clock` in Unix time."""
        self.journal = journal
        self.connect = connect
        self.descriptors = descriptors or Descriptors()
        self.pacing = pacing or Pacing()
        self.clock = clock
        self.lock = threading.RLock()
        self.entries: dict[str, Scheduled] = {}
        self.on_change: Callable[[Scheduled], None] = lambda _entry: None
        """Called under the lock if a session is new or forgotten, or has a task before `wait` is over."""
        self.on_opened: Callable[[str], None] = lambda _approver: None
        """Called with the approver's name when a login session is attached: it may cover logins that wait."""
        self._store = store
        self._ask_status = ask_status
        self._wall_clock = wall_clock
        self._of_approver: dict[str, dict[str, Scheduled]] = {}
        self._asked: dict[str, deque[float]] = {}
        """When IAMPASS was asked what covers a person's logins, in seconds since boot."""
        self._due: list[tuple[float, str]] = []
        self._awake_at = 0.0
        self._budget = PollBudget()
        self._counted = (-1.0, 0.0)

    @property
    def count(self) -> int:
        """The number of kept sessions."""
        return len(self.entries)

    def all(self) -> list[KeptSession]:
        """All kept sessions, the oldest first."""
        with self.lock:
            found = [entry.kept for entry in self.entries.values()]
        return sorted(found, key=lambda kept: kept.began)

    def change(self, ident: str, event: Callable[[KeptSession], life.Step]) -> KeptSession | None:
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
                self.drop(ident)
            elif step.kept != before:
                with contextlib.suppress(StateError):  # it is kept nevertheless, until this process ends
                    self._store.write(step.kept)
                if (step.kept.wanted, step.kept.awaited) != (before.wanted, before.awaited):
                    entry.enforce_at, entry.enforcements = 0.0, 0
                self._schedule(entry)
            return step.kept

    def _record(self, event: SessionEvent, step: life.Step) -> None:
        kept = step.kept
        usual = (None, EndCause.LOGIN, EndCause.NOT_OPENED)
        warning = event is SessionEvent.AWAY or kept.ended_by not in usual
        people = kept.user, kept.approver, kept.service, kept.rhost
        self.journal.session(SessionRecord(event, kept.id, *people, step.reason, warning, kept.person))

    # The login that begins a session

    def begin(self, kept: KeptSession) -> None:
        """Remember a session whose request is on the phone, so that it is ended whatever happens to this process.

        Raises StateError.
        """
        with self.lock:
            self._store.write(kept)
            self.add(Scheduled(kept))

    def add(self, entry: Scheduled) -> None:
        """Keep a session that is stored."""
        with self.lock:
            self.entries[entry.kept.id] = entry
            self._of_approver.setdefault(entry.kept.approver, {})[entry.kept.id] = entry
            self._schedule(entry)
            self.on_change(entry)

    def approve(self, ident: str, pid: int, pidfd: int, age: float = 0.0) -> None:
        """The phone has approved, `age` seconds ago. The end of the process `pid` means that no login session will be
        opened.

        Takes over `pidfd`.
        """
        now, since, opener = self.clock(), self._wall_clock(), Opener(pid, self.descriptors.inode(pidfd))
        with self.lock:
            entry = self.entries.get(ident)
            if entry is not None:
                entry.poll_at = self.pacing.first(now + OPENING, entry.kept.rules.check)
            self.descriptors.add(WatchedProcess(ident, pid, attached=False), pidfd)
            if self.change(ident, lambda kept: life.approved(kept, now - age or now, since, opener)) is None:
                self.descriptors.remove_all(ident)

    def drop(self, ident: str) -> None:
        """Keep the session no longer: it is over, or its login was not approved and has ended it itself."""
        with self.lock:
            entry = self.entries.pop(ident, None)
            if entry is not None:
                theirs = self._of_approver[entry.kept.approver]
                del theirs[ident]
                if not theirs:
                    del self._of_approver[entry.kept.approver]
                with contextlib.suppress(StateError):
                    self._store.remove(ident)
                self.on_change(entry)

    # The session phase

    def opened(self, session: str, login: AttachedLogin, pidfd: int) -> bool:
        """`login` has opened its session. Returns whether there is such a kept session for it.

        Takes over `pidfd`, the pidfd of its process, whatever it returns. The application waits for it, at most 2 s.
        """
        login = replace(login, since=self._wall_clock(), inode=self.descriptors.inode(pidfd))
        with self.lock:
            entry = self.entries.get(session)
            step = None if entry is None else life.opened(entry.kept, login)
            if entry is None or step is None or login not in step.kept.attached:
                os.close(pidfd)
                return False
            self.descriptors.add(WatchedProcess(session, login.pid), pidfd)
            for opener in {*entry.kept.awaited} - {*step.kept.awaited}:
                self.descriptors.remove(WatchedProcess(session, opener.pid, attached=False))
            if entry.kept.state is State.APPROVED:
                entry.poll_at = self.pacing.first(self.clock(), entry.kept.rules.check)
            self.change(session, lambda kept: life.opened(kept, login))
        self.on_opened(entry.kept.approver)
        return True

    def closed(self, session: str, pid: int) -> None:
        """The login session of the process `pid` is over. The application waits for it, at most 2 s."""
        self.descriptors.remove(WatchedProcess(session, pid))
        self.change(session, lambda kept: life.login_over(kept, pid, closed=True))

    def process_ended(self, process: WatchedProcess) -> None:
        """A process has ended without closing its login session, or before it had opened one."""
        event = partial(life.login_over, closed=False) if process.attached else life.not_opened
        self.change(process.session, partial(event, pid=process.pid))

    def people_within(self, config: str, audit_session: int | None, uid: int | None) -> frozenset[str]:
        """The people who began the login sessions in which an application runs: one, if it is in one of ours.

        `config` is the settings file that the application has, `uid` its real user id. A session that covers nothing
        any more still says who began it, and a second person who approved it did not.
        """
        with self.lock:
            every = [entry.kept for entry in self.entries.values()]
        here = [kept for kept in every if kept.config == config and is_within(kept, audit_session, uid)]
        return frozenset(kept.person for kept in here if kept.person)

    # Covers

    def may_ask(self, approver: str) -> bool:
        """Whether IAMPASS is asked once more what covers a login of this person; counts it."""
        with self.lock:
            asked, now = self._asked.setdefault(approver, deque(maxlen=MOST_COVERS)), self.clock()
            if len(asked) == MOST_COVERS and now - asked[0] < COVERS_WITHIN:
                return False
            asked.append(now)
            return True

    def candidates(self, request: CoverRequest, settings: Callable[[str], SessionSettings]) -> list[Cover]:
        """The sessions that may cover a login, the youngest first. `settings` returns the settings of a service now."""
        with self.lock:  # there may be thousands of other people's
            theirs = [entry.kept for entry in self._of_approver.get(request.approver, {}).values()]
        now = self.clock()
        found = [cover(kept, request, settings(kept.service), now) for kept in theirs]
        return sorted(filter(None, found), key=lambda each: each.age)

    def confirm(self, candidate: Cover, deadline: Deadline, opener_of: Callable[[], tuple[int, int]]) -> bool:
        """Ask IAMPASS whether the session is active; if so, it covers the login, which is counted.

        `opener_of` is `PamApplication.opener`, and raises what that raises.
        """
        with self.lock:
            entry = self.entries.get(candidate.session)
        if entry is None or entry.unaskable:
            return False
        try:
            active = self._ask_status(entry.kept, self.connect, deadline) is Status.active
        except (IampassError, PamIampassError, ValueError):
            return False
        with self.lock:
            if not active and Task.POLL not in entry.doing and entry.suspect is None:
                entry.poll_at = self.clock()
                self._schedule(entry)
            return active and candidate.holds(entry.kept) and self._covers(entry, candidate, opener_of)

    def begins_in(self, ident: str, connection: str) -> bool:
        """Whether a connection to another host begins in a login of this session (`presence.begins_in`)."""
        with self.lock:
            entry = self.entries.get(ident)
            kept = None if entry is None else entry.kept
        return kept is not None and begins_in(
            kept,
            connection,
            lambda login: self.descriptors.is_running(WatchedProcess(kept.id, login.pid)),
        )

    def _covers(self, entry: Scheduled, candidate: Cover, opener_of: Callable[[], tuple[int, int]]) -> bool:
        """Count the login that is covered; returns whether the session still covers it. Under the lock."""
        now, opener = self._wall_clock(), None
        before, ident = entry.kept.covered, entry.kept.id
        if candidate.connection:
            try:
                pid, pidfd = opener_of()
            except OSError:
                return False
            opener = Opener(pid, self.descriptors.inode(pidfd))
            self.descriptors.add(WatchedProcess(ident, pid, attached=False), pidfd)
        self.change(ident, lambda kept: life.covered(kept, now, opener))
        if entry.kept.covered == before and opener is not None:
            self.descriptors.remove(WatchedProcess(ident, opener.pid, attached=False))
        return entry.kept.covered > before

    # What is due

    def _schedule(self, entry: Scheduled) -> None:
        """Put the session in the order of what is due, after its times have changed."""
        due, task = entry.next_task()
        if task is not None:
            heapq.heappush(self._due, (due, entry.kept.id))
        if due < self._awake_at:
            self.on_change(entry)

    def watch_elsewhere(self, entry: Scheduled, watched: bool) -> None:
        """Begin to poll a session, or end it, since a call at a gateway waits for it."""
        with self.lock:
            if entry.watched_elsewhere is not watched:
                entry.watched_elsewhere, entry.suspect = watched, None
                entry.poll_at = self.pacing.first(self.clock(), entry.kept.rules.check)
                if entry.kept.id in self.entries:
                    self._schedule(entry)

    def take_due(self) -> list[tuple[Scheduled, Task]]:
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
                self._schedule(entry)
        return taken

    def _rate(self, now: float) -> float:
        """Polls per second if none is late; counted once a second."""
        counted_at, rate = self._counted
        if now - counted_at >= 1.0:
            kept = (entry.kept for entry in self.entries.values())
            rate = sum(1.0 / each.rules.check for each in kept if each.is_let_in)
            self._counted = now, rate
        return rate

    def done(self, entry: Scheduled, task: Task) -> None:
        """The task of the session has been done, or was put off."""
        with self.lock:
            if task is Task.POLL:
                self._budget.done()
            entry.doing.discard(task)
            if entry.kept.id in self.entries:
                self._schedule(entry)

    def wait(self, least: float, most: float) -> float:
        """Seconds until a task is due, within bounds: tasks that are due soon after one another are done together."""
        with self.lock:
            now = self.clock()
            due = self._due[0][0] if self._due else now + most
            seconds = min(max(due - now, least), most)
            self._awake_at = now + seconds
            return seconds

    # After a restart

    def resume(self, descriptors: dict[str, int]) -> None:
        """Go on with the sessions of an agent that has ended. `descriptors` are the pidfds that systemd has kept."""
        try:
            found, broken = self._store.all()
        except StateError:
            found, broken = [], []
        for name in broken:
            self.journal.note(f"the session {name} cannot be read, and is kept no longer", WARNING)
        for kept in found:
            self.add(Scheduled(kept, self.pacing.first(self.clock(), kept.rules.check)))
            self.change(kept.id, life.not_approved)
            for login in kept.attached:
                self._watch_again(WatchedProcess(kept.id, login.pid), login.inode, descriptors)
            for opener in kept.awaited:
                self._watch_again(
                    WatchedProcess(kept.id, opener.pid, attached=False), opener.inode, descriptors
                )
        for name, descriptor in descriptors.items():
            os.close(descriptor)
            self.descriptors.discard(name)

    def _watch_again(self, process: WatchedProcess, inode: int | None, descriptors: dict[str, int]) -> None:
        """Watch a process that an agent before this one has watched.

        systemd has lost the descriptor if socket and agent were stopped. Then the process may have ended, and another
        process may have its id: its inode tells; without one the session covers nothing from now on.
        """
        stored = process.name in descriptors
        try:
            pidfd = descriptors.pop(process.name) if stored else os.pidfd_open(process.pid)
        except ProcessLookupError:
            self.process_ended(process)
            return
        except OSError as error:  # it is over at `longest`, if not before
            self.journal.note(f"the end of a login cannot be seen: {error.strerror}", WARNING)
            self.change(process.session, life.revoked)
            return
        if not stored and inode is not None and self.descriptors.inode(pidfd) != inode:
            os.close(pidfd)
            self.process_ended(process)
            return
        if not stored and inode is None:
            which = f"session {process.session} covers nothing any more"
            self.journal.note(f"{which}: its login may have ended while no agent ran", WARNING)
            self.change(process.session, life.revoked)
        self.descriptors.add(process, pidfd, stored=stored)

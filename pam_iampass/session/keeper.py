"""Keeps IAMPASS sessions for as long as the logins that they belong to (docs/sessions.md). One in the agent."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import replace
from functools import partial
from typing import Callable

from pam_iampass.audit.journal import WARNING
from pam_iampass.client import Deadline, Status
from pam_iampass.client.errors import IampassError
from pam_iampass.config.settings import SessionSettings
from pam_iampass.enforcer import protocol as enforcer
from pam_iampass.errors import PamIampassError, StateError
from pam_iampass.session import life
from pam_iampass.session.covers import Cover, CoverRequest, cover
from pam_iampass.session.descriptors import Descriptors, Process
from pam_iampass.session.entry import Entry, Task
from pam_iampass.session.kept_session import AttachedLogin, KeptSession, Opener, State
from pam_iampass.session.pacing import Pacing
from pam_iampass.session.registry import Registry
from pam_iampass.session.tasks import Ask, AskStatus, Connect, Manage, Tasks, status_of
from pam_iampass.session.watcher import Watcher

#: How long after the approval a session is not polled: by then most login sessions are open. Seconds.
OPENING = 5.0

#: How often IAMPASS is asked what covers a person's logins, and within which time, in seconds. A user who ran sudo all
#: the time could otherwise make IAMPASS refuse everyone's polls.
MOST_COVERS, COVERS_WITHIN = 30, 60.0


class KeptSessions:
    """All kept sessions. Every method may be called in any thread."""

    def __init__(
        self,
        registry: Registry,
        connect: Connect,
        manage: Manage,
        *,
        ask: Ask = enforcer.ask,
        ask_status: AskStatus = status_of,
        descriptors: Descriptors | None = None,
        pacing: Pacing | None = None,
    ) -> None:
        self._registry = registry
        self._connect = connect
        self._ask_status = ask_status
        self._descriptors = descriptors or Descriptors()
        self._pacing = pacing or Pacing()
        self._asked: dict[str, deque[float]] = {}
        """When IAMPASS was asked what covers a person's logins, in seconds since boot. Under the registry's lock."""
        self.on_opened: Callable[[str], None] = lambda _approver: None
        """Called with the approver's name where a login session is attached: it may cover logins that wait."""
        self._watcher = Watcher(
            registry, Tasks(registry, self._pacing, connect, manage, ask), self._descriptors
        )

    @property
    def count(self) -> int:
        """The number of kept sessions."""
        return len(self._registry.entries)

    def all(self) -> list[KeptSession]:
        """All kept sessions, the oldest first."""
        with self._registry.lock:
            found = [entry.kept for entry in self._registry.entries.values()]
        return sorted(found, key=lambda kept: kept.began)

    def change(self, ident: str, event: Callable[[KeptSession], life.Step]) -> KeptSession | None:
        """Carry out an event (`life`); returns the session as it is then, None if it is unknown."""
        return self._registry.change(ident, event)

    # The login that begins a session

    def begin(self, kept: KeptSession) -> None:
        """Remember a session whose request is on the phone, so that it is ended whatever happens to this process.

        Raises StateError.
        """
        self._registry.add(Entry(kept, poll_at=float("inf")))

    def approve(self, ident: str, pid: int, pidfd: int) -> None:
        """The phone has approved. The end of the process `pid` means that no login session will be opened.

        Takes over `pidfd`.
        """
        registry = self._registry
        now, since, opener = registry.clock(), registry.wall_clock(), self._opener(pid, pidfd)
        with registry.lock:
            entry = registry.entries.get(ident)
            if entry is not None:
                entry.poll_at = self._pacing.first(now + OPENING, entry.kept.rules.check)
            self._descriptors.add(Process(ident, pid, attached=False), pidfd)
            if registry.change(ident, lambda kept: life.approved(kept, now, since, opener)) is None:
                self._descriptors.remove_all(ident)

    def drop(self, ident: str) -> None:
        """The login was not approved, and has ended its session itself."""
        self._registry.forget(ident)

    # The session phase

    def opened(self, session: str, login: AttachedLogin, pidfd: int) -> bool:
        """See `kept_session.Attachments`."""
        registry = self._registry
        login = replace(login, since=registry.wall_clock(), inode=self._descriptors.inode(pidfd))
        with registry.lock:
            entry = registry.entries.get(session)
            step = None if entry is None else life.opened(entry.kept, login)
            if entry is None or step is None or login not in step.kept.attached:
                os.close(pidfd)
                return False
            self._descriptors.add(Process(session, login.pid), pidfd)
            for opener in {*entry.kept.awaited} - {*step.kept.awaited}:
                self._descriptors.remove(Process(session, opener.pid, attached=False))
            if entry.kept.state is State.APPROVED:
                entry.poll_at = self._pacing.first(registry.clock(), entry.kept.rules.check)
            registry.change(session, lambda kept: life.opened(kept, login))
        self.on_opened(entry.kept.approver)
        return True

    def closed(self, session: str, pid: int) -> None:
        """See `kept_session.Attachments`."""
        self._descriptors.remove(Process(session, pid))
        self._registry.change(session, lambda kept: life.login_over(kept, pid, closed=True))

    # Covers

    def may_ask(self, approver: str) -> bool:
        """Whether IAMPASS is asked once more what covers a login of this person; counts it."""
        with self._registry.lock:
            asked, now = self._asked.setdefault(approver, deque(maxlen=MOST_COVERS)), self._registry.clock()
            if len(asked) == MOST_COVERS and now - asked[0] < COVERS_WITHIN:
                return False
            asked.append(now)
            return True

    def candidates(self, request: CoverRequest, settings: Callable[[str], SessionSettings]) -> list[Cover]:
        """The sessions that may cover a login, the youngest first. `settings` are those of a service now."""
        registry = self._registry
        kept, now = registry.of_approver(request.approver), registry.clock()
        found = [cover(each, request, settings(each.service), now) for each in kept]
        return sorted(filter(None, found), key=lambda each: each.age)

    def confirm(self, candidate: Cover, deadline: Deadline, opener_of: Callable[[], tuple[int, int]]) -> bool:
        """Ask IAMPASS whether the session is active; if so, it covers the login, which is counted.

        `opener_of` is `PamApplication.opener`, and raises what that raises.
        """
        registry = self._registry
        with registry.lock:
            entry = registry.entries.get(candidate.session)
        if entry is None or entry.unaskable:
            return False
        try:
            active = self._ask_status(entry.kept, self._connect, deadline) is Status.active
        except (IampassError, PamIampassError, ValueError):
            return False
        with registry.lock:
            if not active and Task.POLL not in entry.doing and entry.suspect is None:
                entry.poll_at = registry.clock()
                registry.schedule(entry)
            return active and candidate.holds(entry.kept) and self._covers(entry, candidate, opener_of)

    def _covers(self, entry: Entry, candidate: Cover, opener_of: Callable[[], tuple[int, int]]) -> bool:
        """Count the login that is covered; returns whether the session still covers it. Under the lock."""
        registry, now, opener = self._registry, self._registry.wall_clock(), None
        before, ident = entry.kept.covered, entry.kept.id
        if candidate.connection:
            try:
                pid, pidfd = opener_of()
            except OSError:
                return False
            opener = self._opener(pid, pidfd)
            self._descriptors.add(Process(ident, pid, attached=False), pidfd)
        registry.change(ident, lambda kept: life.covered(kept, now, opener))
        if entry.kept.covered == before and opener is not None:
            self._descriptors.remove(Process(ident, opener.pid, attached=False))
        return entry.kept.covered > before

    def _opener(self, pid: int, pidfd: int) -> Opener:
        return Opener(pid, self._descriptors.inode(pidfd))

    # The process

    def start(self, descriptors: dict[str, int]) -> None:
        """Go on with the sessions of an agent that has ended. `descriptors` are those that systemd has kept."""
        registry = self._registry
        try:
            found, broken = registry.store.all()
        except StateError:
            found, broken = [], []
        for name in broken:
            registry.journal.note(f"the session {name} cannot be read, and is kept no longer", WARNING)
        for kept in found:
            self._resume(kept, descriptors)
        for name, descriptor in descriptors.items():
            os.close(descriptor)
            self._descriptors.discard(name)

    def stop(self) -> None:
        """Tell IAMPASS of the sessions that have just ended. All others go on in the next agent."""
        self._watcher.stop()

    def _resume(self, kept: KeptSession, descriptors: dict[str, int]) -> None:
        registry = self._registry
        now = registry.clock()
        entry = Entry(kept, self._pacing.first(now, kept.rules.check))
        registry.resume(entry)
        registry.change(kept.id, life.not_approved)
        for login in kept.attached:
            self._watch_again(Process(kept.id, login.pid), login.inode, descriptors)
        for opener in kept.awaited:
            self._watch_again(Process(kept.id, opener.pid, attached=False), opener.inode, descriptors)

    def _watch_again(self, process: Process, inode: int | None, descriptors: dict[str, int]) -> None:
        """Watch a process that an agent before this one has watched.

        systemd has lost the descriptor where socket and agent were stopped. Then the process may have ended, and its id
        be that of another one: its inode tells, and where there is none, the session covers nothing from now on.
        """
        registry, stored = self._registry, process.name in descriptors
        event = partial(life.login_over, closed=False) if process.attached else life.not_opened
        try:
            pidfd = descriptors.pop(process.name) if stored else os.pidfd_open(process.pid)
        except ProcessLookupError:
            registry.change(process.session, partial(event, pid=process.pid))
            return
        except OSError as error:  # it is over at `longest`, if not before
            registry.journal.note(f"the end of a login cannot be seen: {error.strerror}", WARNING)
            registry.change(process.session, life.revoked)
            return
        if not stored and inode is not None and self._descriptors.inode(pidfd) != inode:
            os.close(pidfd)
            registry.change(process.session, partial(event, pid=process.pid))
            return
        if not stored and inode is None:
            which = f"session {process.session} covers nothing any more"
            registry.journal.note(f"{which}: its login may have ended while no agent ran", WARNING)
            registry.change(process.session, life.revoked)
        self._descriptors.add(process, pidfd, stored=stored)

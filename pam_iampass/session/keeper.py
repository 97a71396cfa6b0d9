"""Keeps IAMPASS sessions for as long as the logins that they belong to (docs/sessions.md). One in the agent."""

from __future__ import annotations

import os
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
from pam_iampass.session.attached import AttachedLogin
from pam_iampass.session.covers import Cover, CoverRequest, cover
from pam_iampass.session.descriptors import Descriptors, Process
from pam_iampass.session.entry import Entry
from pam_iampass.session.kept_session import KeptSession, State
from pam_iampass.session.pacing import Pacing
from pam_iampass.session.registry import Registry
from pam_iampass.session.tasks import Ask, AskStatus, Connect, Tasks, status_of
from pam_iampass.session.watcher import Watcher


class KeptSessions:
    """All kept sessions. Every method may be called in any thread."""

    def __init__(
        self,
        registry: Registry,
        connect: Connect,
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
        self.on_opened: Callable[[str], None] = lambda _approver: None
        """Called with the approver's name where a login session is attached: it may cover logins that wait."""
        self._watcher = Watcher(registry, Tasks(registry, self._pacing, connect, ask), self._descriptors)

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

    def approve(self, ident: str, application: int | None, pid: int, key: str | None) -> None:
        """The phone has approved. `application` is a pidfd whose end means that no login session will be opened.

        Takes over `application`.
        """
        registry = self._registry
        now, since = registry.clock(), registry.wall_clock()
        registry.change(ident, lambda kept: life.approved(kept, now, since, key))
        if application is not None:
            self._descriptors.add(Process(ident, pid, attached=False), application)

    def drop(self, ident: str) -> None:
        """The login was not approved, and has ended its session itself."""
        self._registry.forget(ident)

    # The session phase

    def opened(self, session: str, login: AttachedLogin, pidfd: int) -> bool:
        """See `attached.Attachments`."""
        registry = self._registry
        login = replace(login, since=registry.wall_clock())
        with registry.lock:
            entry = registry.entries.get(session)
            if entry is None or login not in life.opened(entry.kept, login).kept.attached:
                os.close(pidfd)
                return False
            self._descriptors.add(Process(session, login.pid), pidfd)
            self._descriptors.remove_applications(session)
            if entry.kept.state is State.APPROVED:
                entry.answered_at = registry.clock()
                entry.poll_at = self._pacing.first(registry.clock(), entry.kept.rules.check)
            registry.change(session, lambda kept: life.opened(kept, login))
        self.on_opened(entry.kept.approver)
        return True

    def closed(self, session: str, pid: int) -> None:
        """See `attached.Attachments`."""
        self._descriptors.remove(Process(session, pid))
        self._registry.change(session, lambda kept: life.login_over(kept, pid))

    # Covers

    def candidates(self, request: CoverRequest, settings: Callable[[str], SessionSettings]) -> list[Cover]:
        """The sessions that may cover a login, the youngest first. `settings` are those of a service now."""
        registry = self._registry
        kept, now = registry.of_approver(request.approver), registry.clock()
        found = [cover(each, request, settings(each.service), now) for each in kept]
        return sorted(filter(None, found), key=lambda each: each.age)

    def confirm(self, candidate: Cover, deadline: Deadline) -> bool:
        """Ask IAMPASS whether the session is active; if so, it covers the login, which is counted."""
        registry = self._registry
        with registry.lock:
            entry = registry.entries.get(candidate.session)
        if entry is None:
            return False
        try:
            active = self._ask_status(entry.kept, self._connect, deadline) is Status.active
        except (IampassError, PamIampassError, ValueError):
            return False
        with registry.lock:
            if not active and entry.doing is None and entry.suspect is None:
                entry.poll_at = registry.clock()
                registry.schedule(entry)
            before = entry.kept.covered
            if active and candidate.holds(entry.kept):
                now, connection = registry.wall_clock(), candidate.connection
                registry.change(entry.kept.id, lambda kept: life.covered(kept, now, connection=connection))
            return entry.kept.covered > before

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
        entry = Entry(kept, self._pacing.first(now, kept.rules.check), answered_at=now)
        registry.resume(entry)
        registry.change(kept.id, life.not_approved)
        for login in kept.attached:
            process = Process(kept.id, login.pid)
            known = process.name in descriptors
            try:
                pidfd = descriptors.pop(process.name) if known else os.pidfd_open(login.pid)
            except ProcessLookupError:
                registry.change(kept.id, partial(life.login_over, pid=login.pid))
            except OSError as error:  # it is over at `longest`, if not before
                registry.journal.note(f"the end of a login cannot be seen: {error.strerror}", WARNING)
            else:
                self._descriptors.add(process, pidfd, stored=known)

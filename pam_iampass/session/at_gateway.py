"""Waits at a gateway for what becomes of kept sessions, in one call for all of them in place of a poll for each.

What the gateway says has been said by IAMPASS twice, and is acted on at once (docs/inside/decisions/leases.md). A
session that the gateway does not know is polled, as are those beyond the number that a call can name.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import select
import threading
import time
from collections.abc import Collection, Mapping
from typing import Callable, Protocol

from pam_iampass.client import AuthenticationAPI, Deadline, Session, Status
from pam_iampass.client.application import Question
from pam_iampass.client.errors import IampassError
from pam_iampass.errors import PamIampassError
from pam_iampass.session import life
from pam_iampass.session.kept_session import KeptSession
from pam_iampass.session.schedule import Scheduled
from pam_iampass.session.store import KeptSessions
from pam_iampass.system.boot import machine_digest

#: For how long the gateway may hold a call, and how long it may take beyond that. Seconds.
WAIT, ANSWER = 25, 5.0
#: The next gateway is asked at random within this time after one has failed: all its hosts come. Seconds.
AGAIN = 10.0
#: How often it is looked for new sessions, and the least time between two calls. Seconds.
LOOK, LEAST = 1.0, 0.25
#: How long answers to questions can take. Seconds.
CONFIRM = 2.0
#: How long a session is polled that the gateway does not know. Seconds.
UNKNOWN = 60.0
#: Sessions that one call can name.
MOST = 300
_AT_GATEWAY = re.compile(r"/session/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/status")


class Heard(Protocol):
    """The receiver of the answers."""

    def told(self, entry: Scheduled, status: Status) -> None:
        """A gateway says what has become of a session."""

    def answered(self, entries: Collection[Scheduled]) -> None:
        """There was a usable answer about these sessions."""

    def unanswered(self, entries: Collection[Scheduled], error: Exception) -> None:
        """There was no usable answer about these sessions."""


class _CallIsOld(Exception):
    """There are sessions that the call does not name."""


class AtGateways:
    """The calls that wait at gateways: one for each settings file that names some."""

    def __init__(
        self, sessions: KeptSessions, heard: Heard, chance: Callable[[], float] = random.random
    ) -> None:
        """`chance` is a number from 0 to 1."""
        self._sessions = sessions
        self._heard = heard
        self._chance = chance
        self._waiting: dict[str, _Waiting] = {}
        self._look_at = 0.0

    def look(self) -> None:
        """See which sessions there are, once a second."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + LOOK
        by_config: dict[str, list[Scheduled]] = {config: [] for config in self._waiting}
        with self._sessions.lock:
            for entry in self._sessions.entries.values():
                if entry.kept.is_let_in and entry.kept.of_gateway:
                    by_config.setdefault(entry.kept.config, []).append(entry)
        for config, entries in by_config.items():
            if config not in self._waiting:
                self._waiting[config] = _Waiting(config, self._sessions, self._heard, self._chance)
            self._waiting[config].of(entries)

    def stop(self) -> None:
        """Wait no longer."""
        for waiting in self._waiting.values():
            waiting.stop()


class _Waiting:
    """The call that waits, and its thread while there are sessions."""

    def __init__(
        self, config: str, sessions: KeptSessions, heard: Heard, chance: Callable[[], float]
    ) -> None:
        self._config = config
        self._sessions = sessions
        self._heard = heard
        self._chance = chance
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._entries: dict[str, Scheduled] = {}
        """The sessions that the call is about, by their ids at the gateway."""
        self._ids: dict[str, str] = {}
        """The ids at the gateway by the ids of the kept sessions; empty for a session of no gateway."""
        self._unknown: dict[str, float] = {}
        """The times until which sessions that the gateway does not know are polled."""
        self._awake, self._waker = os.pipe()
        for descriptor in (self._awake, self._waker):
            os.set_blocking(descriptor, False)

    def of(self, entries: Collection[Scheduled]) -> None:
        """Wait for these sessions."""
        now = time.monotonic()
        self._unknown = {id: until for id, until in self._unknown.items() if until > now}
        self._ids = {each.kept.id: self._ids.get(each.kept.id) or _id_of(each.kept) for each in entries}
        found: dict[str, Scheduled] = {}
        for entry in sorted(entries, key=lambda each: each.kept.began):
            id = self._ids[entry.kept.id]
            if id and id not in self._unknown and len(found) < MOST:
                found[id] = entry
        with self._lock:
            gone = [each for id, each in self._entries.items() if id not in found]
            if found.keys() - self._entries.keys():
                self._wake()
            self._entries = found
            if found and self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._run, daemon=True, name="gateway-call")
                try:
                    self._thread.start()
                except RuntimeError:  # out of threads: they are polled, and the next look tries again
                    self._thread, self._entries, found = None, {}, {}
        for entry in gone:
            self._sessions.watch_elsewhere(entry, False)
        for entry in found.values():
            self._sessions.watch_elsewhere(entry, True)

    def stop(self) -> None:
        """Wait no longer."""
        self._stopped = True
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._waker, b".")

    def _run(self) -> None:
        try:
            self._wait_on()
        finally:  # whatever has happened, the next look begins again
            with self._lock:
                if self._thread is threading.current_thread():
                    self._thread = None

    def _wait_on(self) -> None:
        """Make one call after the other, while there are sessions."""
        while True:
            with self._lock:
                # The last session of all ends without another look.
                kept = self._sessions.entries
                entries = {
                    id: entry
                    for id, entry in self._entries.items()
                    if entry.kept.is_let_in and entry.kept.id in kept
                }
                self._entries = dict(entries)
                if not entries or self._stopped:
                    self._thread = None
                    return
            began = time.monotonic()
            try:
                self._wait(self._sessions.connect(self._config), entries)
            except _CallIsOld:
                continue
            except (IampassError, PamIampassError, ValueError) as error:
                self._heard.unanswered(entries.values(), error)
                self._pause(entries, self._chance() * AGAIN)
            time.sleep(max(began + LEAST - time.monotonic(), 0.0))

    def _wait(self, api: AuthenticationAPI, entries: dict[str, Scheduled]) -> None:
        """Make one call, and act on the answer. Raises IampassError and _CallIsOld."""

        def until_readable(seconds: float, descriptor: int) -> None:
            until = time.monotonic() + seconds
            while not self._is_old(entries):
                ready = self._ready(until, descriptor)
                if descriptor in ready or not ready:
                    return
            raise _CallIsOld

        if not api.transport.origin.gateways:  # the host has left
            self._poll(entries)
            return
        versions = {id: entry.version for id, entry in entries.items()}
        deadline = Deadline.after(WAIT + ANSWER)
        news = api.watch(versions, WAIT, until_readable=until_readable, deadline=deadline)
        changed = news.changed
        self._heard.answered(entries.values())
        for id in entries.keys() & changed.keys():
            entry, change = entries[id], changed[id]
            if change.status is None:
                self._poll({id: entry})
            else:
                entry.version = change.version
                self._heard.told(entry, change.status)
        self._confirm(api, news.questions)

    def _pause(self, entries: Collection[str], seconds: float) -> None:
        """Wait until a gateway is asked again; less long if a login has been let in meanwhile: a gateway answers."""
        until = time.monotonic() + seconds
        while not self._is_old(entries) and self._ready(until):
            pass

    def _ready(self, until: float, *descriptors: int) -> list[int]:
        """The descriptors that can be read, the one that wakes among them; empty once the time is over."""
        poller = select.poll()
        for each in (*descriptors, self._awake):
            poller.register(each, select.POLLIN)
        ready = [each for each, _ in poller.poll(max(until - time.monotonic(), 0.0) * 1000)]
        if self._awake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._awake, 4096)
        return ready

    def _confirm(self, api: AuthenticationAPI, questions: Mapping[str, Question]) -> None:
        """Say whether connections to other hosts begin in logins here. A login waits for it there."""
        deadline = Deadline.after(CONFIRM)
        for id, question in questions.items():
            kept = next((kept for kept, known in self._ids.items() if known == question.session), None)
            if kept is None:  # it has begun since: the question comes again with the next call
                continue
            begins = self._sessions.begins_in(kept, question.connection)
            if begins:
                self._sessions.change(kept, life.led_on)
            with contextlib.suppress(IampassError):  # the phone is asked
                api.confirm(id, begins, machine_digest(), deadline=deadline)

    def _poll(self, entries: dict[str, Scheduled]) -> None:
        """Have these sessions polled for a while, like sessions of no gateway."""
        for id, entry in entries.items():
            self._unknown[id] = time.monotonic() + UNKNOWN
            with self._lock:
                self._entries.pop(id, None)
            self._sessions.watch_elsewhere(entry, False)

    def _is_old(self, entries: Collection[str]) -> bool:
        with self._lock:
            return self._stopped or any(id not in entries for id in self._entries)


def _id_of(kept: KeptSession) -> str:
    """The id of a session at its gateway; empty if it is none of a gateway."""
    try:
        url = Session.Schema().loads(kept.session).status_url or ""
    except ValueError:
        return ""
    found = _AT_GATEWAY.search(url)
    return found[1] if found else ""

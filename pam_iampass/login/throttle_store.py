"""The throttle of all people: carries out the rules (`throttle.py`) for logins in many threads.

Turns and waiting logins are in the agent's memory; what is counted is in its file as well, so that a restart forgets
nothing. Where the file cannot be written, or not soon, counting goes on in memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Callable, TypeVar, Union

from pam_iampass.config.settings import ThrottleSettings
from pam_iampass.errors import StateError
from pam_iampass.login import throttle
from pam_iampass.login.application import ApplicationGone, Stopping
from pam_iampass.login.throttle import (
    HOUR,
    LEAST_LEFT,
    Cause,
    Pending,
    Refusal,
    RequestResult,
    Scope,
    ThrottleState,
    key_of,
    origin_key,
    origin_of,
)
from pam_iampass.outcome import Decision, Login, Outcome
from pam_iampass.system.boot import since_boot
from pam_iampass.system.database import Database, encoded

OTHER_LOGIN = (
    "Another login in your name is decided before this one. Deny requests that you do not recognize."
)
OTHER_LOGIN_OF = "Another login that {} must approve is decided before this one."
END_TIME = 15.0
"""Seconds after its deadline in which a login ends its session and records its result."""
PATIENCE = 1.0
"""How long a login waits for the file, which a slow disk can keep busy for long. Seconds."""
DURABLE_PATIENCE = 5.0
"""How long an administrator waits for it. Seconds."""

_Found = TypeVar("_Found", bound=Union[ThrottleState, Refusal])


def other_login(approver: str) -> str:
    """The text that a login shows while it waits for another one; `approver` is the second person whom it asks."""
    return OTHER_LOGIN_OF.format(approver) if approver else OTHER_LOGIN


def result_of(end: Decision | BaseException, counts: bool) -> RequestResult:
    """The result of a request that ended with a decision or was broken off by an exception. `counts` is whether the
    phone may have rung.

    A caller who starts requests and breaks them off, by hanging up or by killing the process, is treated like one
    whose requests are refused. Only ApplicationGone and Stopping are known to come while no request is on its way;
    SIGTERM may come at any time.
    """
    if isinstance(end, Decision) and end.outcome is Outcome.APPROVED:
        return RequestResult.APPROVED
    if not counts and isinstance(end, (Decision, ApplicationGone, Stopping)):
        return RequestResult.NOT_SENT
    return RequestResult.STOPPED if isinstance(end, Stopping) else RequestResult.FAILED


class AtCapacity(Exception):
    """Too many logins at a stage at the same time."""


class ThrottleStore:
    """The states of all people. Every method may be called in any thread; only `settle` raises because of the file.

    `user` is the person whose phone is asked, by the name in the user table.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float] = since_boot,
        is_lost: Callable[[bytes], bool] = lambda _person: False,
    ) -> None:
        """`clock` is in seconds since boot; what was written in another boot is dropped. `is_lost` says whether the
        phone of a person is lost: then it is at each moment as if that had just been reported."""
        self._database = database
        self._is_lost = is_lost
        self.now = clock
        self._lock = threading.RLock()
        """A lock that guards what is in memory. A thread that holds it never waits for the file."""
        self._states: dict[bytes, ThrottleState] = {}
        self._waiting: dict[bytes, dict[str, int]] = {}
        """The descriptor that wakes each login that waits, by person and ident."""
        self._stages: Counter[tuple[str, str, str]] = Counter()
        self._unwritten: set[bytes] = set()
        """People whose state has changed since their row was written."""
        self._stored: dict[bytes, str] = {}
        """The state in each person's row of the file, under its lock; empty for no row. It differs from the state in
        memory if a change could not be written."""
        self._next_sweep = 0.0
        database.on_open.append(self._read)

    def state(self, user: str) -> ThrottleState:
        """The state of a person now."""
        with self._lock:
            return self._state(encoded(user), self.now())

    def change(self, user: str, event: Callable[[ThrottleState, float], _Found]) -> _Found:
        """Carry out an event at this time; returns the state afterwards, which is written, or the refusal."""
        person = encoded(user)
        with self._lock:
            now = self.now()
            before = self._state(person, now)
            found = event(before, now)
            if isinstance(found, Refusal) or found == before:
                return found
            self._states[person] = found
            self._unwritten.add(person)
        self.write()
        return found

    # Logins

    def attempt(self, user: str, login: Login, limit: int) -> Refusal | None:
        """Count an attempt with a recovery code, before the code is looked at."""
        origin = origin_key(user, login)
        found = self.change(user, lambda state, now: throttle.attempted(state, origin, limit, now))
        return found if isinstance(found, Refusal) else None

    def attempt_was_right(self, user: str, login: Login) -> None:
        """Do not count the last attempt."""
        self.change(user, lambda state, _now: throttle.attempt_was_right(state, origin_key(user, login)))

    @contextlib.contextmanager
    def stage(self, stage: str, user: str, login: Login, limit: int) -> Iterator[None]:
        """Count a login at a stage as long as the block lasts. Raises AtCapacity where `limit` of its origin are."""
        key = (stage, user, origin_of(login))
        with self._lock:
            if self._stages[key] >= limit:
                raise AtCapacity
            self._stages[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._stages[key] -= 1
                if not self._stages[key]:
                    del self._stages[key]

    def wake(self, user: str) -> None:
        """Have all waiting logins of the person look whether something has changed for them."""
        with self._lock:
            for descriptor in self._waiting.get(encoded(user), {}).values():
                with contextlib.suppress(BlockingIOError):
                    os.write(descriptor, b".")

    @contextlib.contextmanager
    def awake(self, user: str, ident: str) -> Iterator[int]:
        """A descriptor that becomes readable when something may have changed for a login that waits."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        person = encoded(user)
        with self._lock:
            self._waiting.setdefault(person, {})[ident] = writer
        try:
            yield reader
        finally:
            with self._lock:
                del self._waiting[person][ident]
                if not self._waiting[person]:
                    del self._waiting[person]
            os.close(reader)
            os.close(writer)

    # The administrator

    def phone_lost(self, user: str) -> int:
        """End all logins of the person that have begun and are not decided; returns how many have asked."""
        pending = self.change(user, throttle.phone_lost).pending
        self.wake(user)
        return sum(not login.decided for login in pending)

    def clear(self, user: str) -> None:
        """Forget failures, requests and wrong codes, but not pending logins."""
        self.change(user, lambda state, _now: throttle.cleared(state))
        self.wake(user)

    # The file

    def write(self) -> None:
        """Write all that has changed. Where the file is busy for longer than PATIENCE, a later call does it."""
        if not self._database.lock.acquire(timeout=PATIENCE):
            return
        try:
            is_time_to_sweep = self.now() >= self._next_sweep
            if is_time_to_sweep:
                self._next_sweep = self.now() + HOUR
                with self._lock:
                    self._unwritten.update(self._states)
            while self._unwritten:  # only here people are taken out
                with contextlib.suppress(StateError):  # the database reports it, and it changes nothing here
                    self._write(self._unwritten.pop())
            if is_time_to_sweep:
                self._forget_people()
        finally:
            self._database.lock.release()

    def settle(self, user: str) -> None:
        """Have what counts of a person on the disk when this returns. Raises StateError."""
        if not self._database.lock.acquire(timeout=DURABLE_PATIENCE):
            what = f"{self._database.path}: was busy for {DURABLE_PATIENCE:g} s; a restart of the agent forgets this"
            raise StateError(what, "run the command again")
        try:
            self._write(encoded(user), durable=True)
        finally:
            self._database.lock.release()

    def _state(self, person: bytes, now: float) -> ThrottleState:
        """Under the lock."""
        state = self._states.get(person, ThrottleState()).current(now)
        return replace(state, lost=now) if self._is_lost(person) else state

    def _forget_people(self) -> None:
        """Forget the people for whom nothing counts any more."""
        with self._lock:
            for person in list(self._states):
                if self._state(person, self.now()).is_empty and not self._stored.get(person):
                    del self._states[person]
                    self._stored.pop(person, None)

    def _write(self, person: bytes, *, durable: bool = False) -> None:
        """Bring the row of a person up to date. Raises StateError."""
        with self._lock:
            state = self._state(person, self.now())
        # Turns and pending logins end with the process.
        state = replace(state, pending=(), turns={}, next_turn=0.0, agents_from=0.0)
        stored = "" if state.is_empty else json.dumps(state.to_json())
        if stored == self._stored.get(person, "") and not durable:
            return
        with self._database.transaction(durable=durable) as connection:
            if stored:
                row = person, self._database.boot, stored
                connection.execute(
                    "INSERT OR REPLACE INTO limits (person, boot, state) VALUES (?, ?, ?)", row
                )
            else:
                connection.execute("DELETE FROM limits WHERE person = ?", (person,))
        self._stored[person] = stored

    def _read(self, connection: sqlite3.Connection) -> None:
        """Read what the file has of this boot. A state in memory is newer. Raises ValueError."""
        connection.execute("DELETE FROM limits WHERE boot != ?", (self._database.boot,))
        self._stored = dict(connection.execute("SELECT person, state FROM limits").fetchall())
        states = {
            person: ThrottleState.from_json(json.loads(stored)) for person, stored in self._stored.items()
        }
        with self._lock:
            self._states = {**states, **self._states}


class QueuedLogin:
    """One login in the queue of its person."""

    def __init__(
        self,
        store: ThrottleStore,
        user: str,
        login: Login,
        began: float,
        settings: ThrottleSettings,
        scope: Scope = Scope.PERSON,
        asker: str = "",
        *,
        is_agents: bool = False,
    ) -> None:
        """`began` is when the login began, in seconds since boot; `asker` is the person who asks a second person, or an
        account that asks its owner (`is_agents`), wherever it logs in."""
        self._store = store
        self._user = user
        origin = key_of(user, "", asker) if is_agents else origin_key(user, login, asker)
        self._pending = Pending(origin, os.urandom(8).hex(), began, is_agents=is_agents)
        self._other_login = other_login(user if asker else "")
        self._settings = settings
        self._scope = scope
        self.has_turn = False
        """Whether it may send its request, which counts from then on."""
        self.waited = False
        """Whether other logins came first."""
        self._announced = False

    def join(self, time_left: float) -> Refusal | None:
        """Take a place in the queue, until `end` is called; the IAMPASS session must be over by then.

        The login has to be over in `time_left` seconds. Returns why it may not join.
        """
        now = self._store.now()
        self._pending = replace(self._pending, since=now, until=now + time_left + END_TIME)
        return self._try(
            lambda state, _now: throttle.joined(state, self._pending, self._settings, self._scope)
        )

    def wait(
        self,
        remaining: Callable[[], float],
        pause: Callable[[float, int | None], None],
        announce: Callable[[str], None] | None,
        look: Callable[[], Decision | None],
        *,
        prompted: bool = False,
    ) -> Decision | Refusal | None:
        """Wait until the login has its turn; returns None then, else what ends it without a request.

        `look` is called whenever something has changed for the person, and once the turn has come; a decision that it
        returns ends the waiting. Without a wait it is called only if the login was `prompted`: much may have happened
        while the person did not answer. `remaining` returns the seconds that are left, `pause` waits for some.
        `announce` shows the person that another login comes first; None where nothing can be shown. To leave after
        that counts as a failure, if this host counts requests: otherwise a caller could find out again and again, for
        nothing, when the person logs in. Raises what `pause` raises.
        """
        try:
            end = None if self.has_turn else self._wait(remaining, pause, announce, look)
            if end is None and (self.waited or prompted):
                end = look()
        except BaseException as gone:
            self._leave(failed=self._announced and isinstance(gone, ApplicationGone))
            raise
        if end is not None:
            self._leave(failed=False)
        return end

    def _wait(
        self,
        remaining: Callable[[], float],
        pause: Callable[[float, int | None], None],
        announce: Callable[[str], None] | None,
        look: Callable[[], Decision | None],
    ) -> Decision | Refusal | None:
        self.waited = True
        least = remaining() * LEAST_LEFT
        with self._store.awake(self._user, self._pending.ident) as woken:
            while True:
                refusal = self.try_turn()
                if refusal is not None or self.has_turn:
                    return refusal
                state = self._store.state(self._user)
                if announce is not None and not self._announced and state.others_wait(self._pending):
                    self._announced = True
                    announce(self._other_login)
                left = remaining() - least
                if left <= 0:
                    return Refusal(Cause.NO_TURN)
                chance = state.within(self._scope, self._pending).next_chance(
                    self._pending, self._store.now()
                )
                pause(min(chance, left), woken)
                with contextlib.suppress(BlockingIOError):
                    os.read(woken, 4096)
                decision = look()
                if decision is not None:
                    return decision

    def try_turn(self) -> Refusal | None:
        """Take the turn if it is this login's; returns why it may have none any more."""
        return self._try(
            lambda state, now: throttle.tried(state, self._pending, self._settings, now, self._scope)
        )

    def _try(self, event: Callable[[ThrottleState, float], ThrottleState | Refusal]) -> Refusal | None:
        found = self._store.change(self._user, event)
        if isinstance(found, Refusal):
            return found
        self.has_turn = found.has_turn(self._pending)
        return None

    def phone_is_lost(self) -> bool:
        """Whether the person's phone was reported lost since the login began."""
        return self._store.state(self._user).lost >= self._pending.began

    def is_withdrawn(self) -> bool:
        """Whether the person has a login of their own, before which the request of an account that acts for them
        ends."""
        return self._store.state(self._user).is_withdrawn(self._pending)

    def record(self, result: RequestResult) -> None:
        """Record the result of the request, if this host counts requests."""
        if self._scope is Scope.ORIGIN:
            result = RequestResult.NOT_SENT
        self._finish(lambda state, now: throttle.decided(state, self._pending, result, self._settings, now))

    def end(self) -> None:
        """Leave the queue. A login that had its turn and recorded no result counts as a failure, if this host counts
        requests."""
        if self._scope is Scope.ORIGIN:
            self._leave(failed=False)
        else:
            self._finish(lambda state, now: throttle.ended(state, self._pending, now))

    def _leave(self, *, failed: bool) -> None:
        """Give the place up; `failed` if that is a failure, which counts if this host counts requests."""
        failed = failed and self._scope is Scope.PERSON
        self._finish(lambda state, now: throttle.left(state, self._pending, now, failed=failed))

    def _finish(self, event: Callable[[ThrottleState, float], ThrottleState]) -> None:
        """Carry out an event after which another login may have its turn."""
        self._store.change(self._user, event)
        self._store.wake(self._user)


class AskingLogin:
    """A login that asks a second person, or an account that asks its owner, as it counts for who logs in."""

    def __init__(
        self,
        store: ThrottleStore,
        user: str,
        login: Login,
        began: float,
        settings: ThrottleSettings,
        *,
        is_agents: bool = False,
    ) -> None:
        """`user` is who logs in, `began` is when the login began, in seconds since boot. An account that asks its owner
        (`is_agents`) has one backoff, wherever it logs in."""
        self._store = store
        self._user = user
        origin = key_of(user, "") if is_agents else origin_key(user, login)
        self._pending = Pending(origin, os.urandom(8).hex(), began)
        self._share = 1 if is_agents else 3
        self._settings = settings

    def count(self) -> Refusal | None:
        """Count the login, once, before it asks anybody; returns why it may not ask."""
        found = self._store.change(
            self._user,
            lambda state, now: throttle.asked_another(state, self._pending, self._settings, now, self._share),
        )
        return found if isinstance(found, Refusal) else None

    def phone_is_lost(self) -> bool:
        """Whether the phone of the person who logs in was reported lost, or the person was removed, since the login
        began."""
        return self._store.state(self._user).lost >= self._pending.began

    def record(self, result: RequestResult) -> None:
        """Record the result."""
        self._store.change(
            self._user,
            lambda state, now: throttle.another_decided(state, self._pending, result, self._settings, now),
        )

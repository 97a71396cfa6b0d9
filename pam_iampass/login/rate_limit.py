"""How often a phone is asked: one request per person at a time, a backoff after failures, an hourly cap.

An origin is a PAM service and a remote host (`origin`). The logins of one person wait for their turn; a login ends no
other one. Turns and waiting logins are in the agent's memory; what is counted is in its file as well, so that a restart
forgets nothing. Where the file cannot be written, or not soon, counting goes on in memory.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from typing import Callable

from pam_iampass.config.settings import ThrottleSettings
from pam_iampass.errors import StateError
from pam_iampass.login.application import ApplicationGone, Stopping
from pam_iampass.login.origin import origin_of
from pam_iampass.login.rate_limit_state import HOUR, Attempt, Failures, Pending, RateLimitState, SentRequest
from pam_iampass.outcome import Decision, Login, Outcome
from pam_iampass.system.boot import since_boot
from pam_iampass.system.database import Database, encoded

#: The part of the time that must be left for the person to answer; a request with less is not sent.
LEAST_LEFT = 1 / 6

OTHER_LOGIN = (
    "Another login in your name is decided before this one. Deny requests that you do not recognize."
)
MOST_PENDING = 100
"""Logins of one person that wait."""
END_TIME = 15.0
"""Seconds after its deadline in which a login ends its session and records its result."""
PATIENCE = 1.0
"""How long a login waits for the file, which a slow disk can keep busy for long. Seconds."""
DURABLE_PATIENCE = 5.0
"""How long an administrator waits for it. Seconds."""

_Row = tuple[str, str, int, float]
"""Kind, name, count and time: what is stored of one failure, request or attempt."""


class Throttled(Exception):
    """No request may be sent now; the text says why."""

    def __init__(self, reason: str, wait: float) -> None:
        super().__init__(reason)
        self.wait = wait
        """Seconds until one may."""


class PhoneLost(Exception):
    """The person's phone was reported lost, or the person was removed, after the login began."""


class AtCapacity(Exception):
    """The limit is reached."""


class TurnDidNotCome(Exception):
    """Other logins of the person took all the time."""


class RequestResult(enum.Enum):
    """What the rate limit has to know of a login that had its turn."""

    APPROVED = "approved"
    FAILED = "failed"
    """The request may have left this machine, and was not approved, whatever the reason."""
    NOT_SENT = "not sent"
    """No request has left this machine."""
    STOPPED = "stopped"
    """This process is being stopped: the request counts, but the caller is not the cause."""


def result_of(end: Decision | BaseException, may_have_left: bool) -> RequestResult:
    """The result of a request that ended with a decision or was broken off by an exception.

    A caller who starts requests and breaks them off, by hanging up or by killing the process, is treated like one
    whose requests are refused. Only ApplicationGone and Stopping are known to come while no request is on its way;
    SIGTERM may come at any time.
    """
    if not may_have_left and isinstance(end, (Decision, ApplicationGone, Stopping)):
        return RequestResult.NOT_SENT
    if isinstance(end, Stopping):
        return RequestResult.STOPPED
    approved = isinstance(end, Decision) and end.outcome is Outcome.APPROVED
    return RequestResult.APPROVED if approved else RequestResult.FAILED


class RateLimits:
    """The limits of all people. Every method may be called in any thread; none raises because of the file."""

    def __init__(self, database: Database, clock: Callable[[], float] = since_boot) -> None:
        """`clock` is in seconds since boot; what was written in another boot is dropped."""
        self._database = database
        self.now = clock
        self._lock = threading.RLock()
        """Guards what is in memory. A thread that holds it never waits for the file."""
        self._states: dict[bytes, RateLimitState] = {}
        self._waiting: dict[bytes, set[QueuedLogin]] = {}
        self._unwritten: set[bytes] = set()
        """People whose state has changed since their rows were written."""
        self._stored: dict[bytes, set[_Row]] = {}
        """The rows in the file, under its lock. They differ from the state where a change could not be written."""
        self._next_sweep = 0.0
        database.on_open.append(self._read)

    @contextlib.contextmanager
    def changed(self, user: str) -> Iterator[RateLimitState]:
        """The state of a person, to be changed: it is written when the block ends, unless that raises."""
        person = encoded(user)
        with self._lock:
            state = self._states.setdefault(person, RateLimitState())
            state.forget(self.now())
            yield state
            self._unwritten.add(person)
        self.write()

    @contextlib.contextmanager
    def seen(self, user: str) -> Iterator[RateLimitState]:
        """The state of a person, to be looked at."""
        with self._lock:
            state = self._states.get(encoded(user)) or RateLimitState()
            state.forget(self.now())
            yield state

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

    def wake(self, user: str) -> None:
        """Have all waiting logins of the person look whether something has changed for them."""
        with self._lock:
            for queued in self._waiting.get(encoded(user), ()):
                queued.wake()

    def add_waiting(self, user: str, queued: QueuedLogin) -> None:
        with self._lock:
            self._waiting.setdefault(encoded(user), set()).add(queued)

    def remove_waiting(self, user: str, queued: QueuedLogin) -> None:
        with self._lock:
            others = self._waiting.get(encoded(user), set())
            others.discard(queued)
            if not others:
                self._waiting.pop(encoded(user), None)

    def _forget_people(self) -> None:
        """Forget the people of whom nothing counts any more."""
        with self._lock:
            for person, state in list(self._states.items()):
                if state.is_empty and not self._stored.get(person):
                    del self._states[person]
                    self._stored.pop(person, None)

    def _write(self, person: bytes, *, durable: bool = False) -> None:
        """Bring the rows of a person up to date. Raises StateError."""
        with self._lock:
            state = self._states.get(person) or RateLimitState()
            state.forget(self.now())
            rows = _rows(state)
        stored = self._stored.get(person, set())
        if rows == stored and not durable:
            return
        # A change that writes nothing brings nothing to the disk.
        gone, new = stored - rows, rows if durable else rows - stored
        with self._database.transaction(durable=durable) as connection:
            connection.executemany(
                "DELETE FROM limits WHERE person = ? AND kind = ? AND name = ? AND at = ?",
                [(person, kind, name, at) for kind, name, _count, at in gone],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO limits (boot, person, kind, name, count, at) VALUES (?, ?, ?, ?, ?, ?)",
                [(self._database.boot, person, *row) for row in new],
            )
        self._stored[person] = rows

    def _read(self, connection: sqlite3.Connection) -> None:
        """What the file has of this boot. The state in memory, if there is one, is newer."""
        connection.execute("DELETE FROM limits WHERE boot != ?", (self._database.boot,))
        self._stored = {}
        for person, *row in connection.execute(
            "SELECT person, kind, name, count, at FROM limits ORDER BY at"
        ):
            kind, name, count, at = row
            self._stored.setdefault(bytes(person), set()).add((str(kind), str(name), int(count), float(at)))
        with self._lock:
            for person, rows in self._stored.items():
                self._states.setdefault(person, _state(rows))


class RateLimit:
    """The requests of one person from one origin, for one login. `user` is the account's name, as NSS has it."""

    def __init__(self, limits: RateLimits, user: str, login: Login, began: float) -> None:
        """`began` is when the login did, in seconds since boot."""
        self.limits = limits
        self.user = user
        self.origin = hashlib.sha256(encoded(f"{user}\0{origin_of(login)}")).hexdigest()
        self.began = began

    @contextlib.contextmanager
    def queued(self, settings: ThrottleSettings, time_left: float) -> Iterator[QueuedLogin]:
        """A place in the queue, until the block ends; the IAMPASS session must be over by then.

        The login has to be over in `time_left` seconds. Raises Throttled, AtCapacity and PhoneLost.
        """
        ident = os.urandom(8).hex()
        with self.limits.changed(self.user) as state:
            now = self.limits.now()
            if state.lost >= self.began:
                raise PhoneLost
            _check(state, self.origin, settings, now)
            if len(state.pending) >= MOST_PENDING:
                raise AtCapacity
            state.pending.append(Pending(self.origin, ident, now, now + time_left + END_TIME))
            queued = QueuedLogin(self, ident, settings, has_turn=state.begin_turn(ident, now))
        try:
            with contextlib.nullcontext() if queued.has_turn else queued.awake():
                yield queued
        finally:
            queued.end()

    def attempt(self, limit: int) -> None:
        """Count an attempt with a recovery code, before the code is looked at. Raises Throttled."""
        with self.limits.changed(self.user) as state:
            now = self.limits.now()
            wait = state.wait_for_attempt(self.origin, limit, now)
            if wait:
                raise Throttled(f"{limit} wrong recovery codes within an hour from this origin", wait)
            state.attempt(self.origin, now)

    def attempt_was_right(self) -> None:
        """Do not count the last attempt."""
        with self.limits.changed(self.user) as state:
            state.attempt_was_right(self.origin)

    def phone_lost(self) -> int:
        """End all logins of the person that have begun and are not decided; returns how many have asked."""
        with self.limits.changed(self.user) as state:
            state.lost = self.limits.now()
            ended = sum(not login.decided for login in state.pending)
        self.limits.wake(self.user)
        return ended

    def clear(self) -> None:
        """Forget failures, requests and wrong codes, but not pending logins."""
        with self.limits.changed(self.user) as state:
            state.failures, state.requests, state.attempts, state.next_turn = {}, [], [], 0.0
        self.limits.wake(self.user)

    def state(self) -> RateLimitState:
        """A copy of the state of the person now."""
        with self.limits.seen(self.user) as state:
            return deepcopy(state)


class QueuedLogin:
    """One login in the queue of its person."""

    def __init__(self, limit: RateLimit, ident: str, settings: ThrottleSettings, *, has_turn: bool) -> None:
        self._limit = limit
        self._limits = limit.limits
        self._user = limit.user
        self._ident = ident
        self._settings = settings
        self.has_turn = has_turn
        """Whether it may send its request, which counts from then on."""
        self._pipe: tuple[int, int] | None = None

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """As long as the block lasts, others can wake it."""
        self._pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._limits.add_waiting(self._user, self)
        try:
            yield
        finally:
            self._limits.remove_waiting(self._user, self)
            for descriptor in self._pipe:
                os.close(descriptor)

    @property
    def woken(self) -> int | None:
        """A descriptor that becomes readable when it may be this login's turn; None where it need not wait."""
        return None if self._pipe is None else self._pipe[0]

    def wake(self) -> None:
        """Make `woken` readable. Only under the lock of the limits."""
        if self._pipe is not None:
            with contextlib.suppress(BlockingIOError):
                os.write(self._pipe[1], b".")

    def patience(self) -> float:
        """Seconds until it may be this login's turn although nothing happens before."""
        with self._limits.seen(self._user) as state:
            return state.next_chance(self._limits.now())

    def try_turn(self) -> None:
        """Take the turn if it is this login's.

        The limits are checked again: much may have happened while it waited. Raises Throttled and PhoneLost.
        """
        if self._pipe is not None:
            with contextlib.suppress(BlockingIOError):
                os.read(self._pipe[0], 4096)
        self.check_phone()
        with self._limits.changed(self._user) as state:
            now = self._limits.now()
            if state.is_next(self._ident, now):
                _check(state, self._limit.origin, self._settings, now)
                self.has_turn = state.begin_turn(self._ident, now)

    def check_phone(self) -> None:
        """Raises PhoneLost if the person's phone was reported lost since the login began."""
        with self._limits.seen(self._user) as state:
            if state.lost >= self._limit.began:
                raise PhoneLost

    def others_wait(self) -> bool:
        """Whether the person has another login that is not decided."""
        with self._limits.seen(self._user) as state:
            return any(login.ident != self._ident and not login.decided for login in state.pending)

    def leave(self, *, failed: bool) -> None:
        """Give the place up before the turn came; `failed` if that counts as a failure."""
        with self._limits.changed(self._user) as state:
            state.pending = [login for login in state.pending if login.ident != self._ident]
            if failed:
                state.fail(self._limit.origin, self._limits.now())
        self._limits.wake(self._user)

    def record(self, result: RequestResult) -> None:
        """Record the result of the request."""
        with self._limits.changed(self._user) as state:
            now = self._limits.now()
            for login in state.pending:
                login.decided = login.decided or login.ident == self._ident
            if result is RequestResult.FAILED:
                state.fail(self._limit.origin, now)
            if result is RequestResult.APPROVED:
                state.failures.pop(self._limit.origin, None)
            if result in (RequestResult.APPROVED, RequestResult.NOT_SENT):
                state.withdraw(self._ident)
            if result is not RequestResult.NOT_SENT:
                state.next_turn = now + self._settings.spacing
        self._limits.wake(self._user)

    def end(self) -> None:
        """Leave the queue. A login that had its turn and recorded no result counts as a failure."""
        with self._limits.changed(self._user) as state:
            for login in state.pending:
                if login.ident == self._ident:
                    state.end(login, self._limits.now())
                    break
        self._limits.wake(self._user)


def _check(state: RateLimitState, origin: str, settings: ThrottleSettings, now: float) -> None:
    wait = state.backoff(origin, settings.cool_off, settings.longest_cool_off, now)
    if wait:
        count = state.failures[origin].count
        raise Throttled(f"backoff: {count} consecutive requests from this origin were not approved", wait)
    wait = state.wait_for_cap(settings.requests_per_hour, now)
    if wait:
        reason = f"{settings.requests_per_hour} requests within an hour were not approved (throttle.requests_per_hour)"
        raise Throttled(reason, wait)


def _rows(state: RateLimitState) -> set[_Row]:
    """What is stored of a state; turns and pending logins end with the process."""
    lost: set[_Row] = {("lost", "", 1, state.lost)} if state.lost else set()
    rows: set[_Row] = {
        ("failure", origin, found.count, found.last) for origin, found in state.failures.items()
    }
    rows |= {("request", request.ident, 1, request.at) for request in state.requests}
    rows |= {("attempt", attempt.origin, 1, attempt.at) for attempt in state.attempts}
    return rows | lost


def _state(rows: set[_Row]) -> RateLimitState:
    """The state that was stored."""
    state = RateLimitState()
    for kind, name, count, at in sorted(rows, key=lambda row: row[3]):
        if kind == "failure":
            state.failures[name] = Failures(count, at)
        elif kind == "request":
            state.requests.append(SentRequest(name, at))
        elif kind == "attempt":
            state.attempts.append(Attempt(name, at))
        elif kind == "lost":
            state.lost = at
        else:
            raise ValueError(kind)
    return state


def wait_for_turn(
    queued: QueuedLogin,
    remaining: Callable[[], float],
    pause: Callable[[float, int | None], None],
    announce: Callable[[str], None] | None,
    look: Callable[[], None] = lambda: None,
    *,
    prompted: bool = False,
) -> bool:
    """Wait until the login has its turn; returns whether it had to wait.

    `look` is called whenever something has changed for the person, and once the turn has come; what it raises ends the
    waiting. Without a wait it is called only if the login was `prompted`: much may have happened while the person did
    not answer. `remaining` returns the seconds that are left, `pause` waits for some. `announce` shows the person that
    another login comes first; None where nothing can be shown. To leave after that counts as a failure: otherwise a
    caller could find out again and again, for nothing, when the person logs in. Raises TurnDidNotCome, Throttled,
    PhoneLost and what `pause` raises.
    """
    announced, waited = False, False
    least = remaining() * LEAST_LEFT
    try:
        while not queued.has_turn:
            waited = True
            if announce is not None and not announced and queued.others_wait():
                announced = True
                announce(OTHER_LOGIN)
            left = remaining() - least
            if left <= 0:
                raise TurnDidNotCome
            pause(min(queued.patience(), left), queued.woken)
            look()
            queued.try_turn()
        if waited or prompted:
            look()
    except BaseException as end:
        queued.leave(failed=announced and isinstance(end, ApplicationGone))
        raise
    return waited


class ConcurrencyLimit:
    """Counts logins. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logins: Counter[tuple[str, str, str]] = Counter()

    @contextlib.contextmanager
    def acquire(self, stage: str, user: str, login: Login, limit: int) -> Iterator[None]:
        """Count a login of `user` at a stage for as long as the block lasts. Raises AtCapacity where `limit` are."""
        key = (stage, user, origin_of(login))
        with self._lock:
            if self._logins[key] >= limit:
                raise AtCapacity
            self._logins[key] += 1
        try:
            yield
        finally:
            with self._lock:
                self._logins[key] -= 1
                if not self._logins[key]:
                    del self._logins[key]

"""How often a phone is asked: one pending request per person and origin, a backoff after failures, an hourly cap.

An origin is a PAM service and a remote host, compared as text. The state is a file per person below /run, which is
empty after each boot (`rate_limit_state`). A pending request is a lease: a lock on a file, which ends with the
process that holds it.

A newer login from the same origin takes over: it marks the older lease, waits until that login has ended its session
and released the lease, and then sends its own request. Requests from other origins are not touched.
"""

from __future__ import annotations

import contextlib
import enum
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Callable

from pam_iampass.errors import StateError
from pam_iampass.login.application import ApplicationGone, Stopping
from pam_iampass.login.rate_limit_state import (
    CorruptState,
    Pending,
    RateLimitState,
    SentRequest,
    decoded,
    encoded,
)
from pam_iampass.outcome import Decision, Login, Outcome
from pam_iampass.system.file_lock import lock
from pam_iampass.system.state_dir import OpenStateDir, StateDir, file_stem
from pam_iampass.system.trusted_folder import shell_word

if TYPE_CHECKING:
    from pam_iampass.config.settings import ThrottleSettings

REMEDY = "systemd-tmpfiles --create"

#: How often to check whether an older login has released its lease: at first (most are just ending the session of an
#: approved login) and later. Seconds.
FIRST_INTERVAL = 0.01
INTERVAL = 0.1
#: How often a login that waits checks whether a newer one from the same origin takes over. Seconds.
CHECK_INTERVAL = 0.7

TAKEN_OVER = "another login from the same origin took over"


class RequestResult(enum.Enum):
    """What the rate limit has to know of a request that is over."""

    APPROVED = "approved"
    FAILED = "failed"
    """Refused, unanswered, broken off by the application, or superseded."""
    NOT_SENT = "not sent"
    """Nothing has reached a phone."""
    LOST = "lost"
    """The phone may have been notified, but the caller is not the cause: an outage, or this process was stopped."""


class Throttled(Exception):
    """No request may be sent now; the text says why."""

    def __init__(self, reason: str, wait: float) -> None:
        super().__init__(reason)
        self.wait = wait
        """Seconds until one may."""


class Superseded(Exception):
    """A newer login from the same origin took over, or an older one does not release its lease."""


def result_of(end: Decision | BaseException, may_have_notified: bool) -> RequestResult:
    """The result of a request that ended with a decision or was broken off by an exception.

    A caller who starts requests and breaks them off, by hanging up or by killing the process, is treated like one
    whose requests are refused. Only ApplicationGone, Stopping and Superseded are known to come while no request is on
    its way; SIGTERM may come at any time.
    """
    if isinstance(end, BaseException):
        if not may_have_notified and isinstance(end, (ApplicationGone, Stopping, Superseded)):
            return RequestResult.NOT_SENT
        return RequestResult.LOST if isinstance(end, Stopping) else RequestResult.FAILED
    if end.outcome is Outcome.APPROVED:
        return RequestResult.APPROVED
    if not may_have_notified:
        return RequestResult.NOT_SENT
    failed = end.outcome in (Outcome.DENIED, Outcome.TIMED_OUT)
    return RequestResult.FAILED if failed else RequestResult.LOST


def since_boot() -> float:
    """Seconds since the machine was booted, suspend included: a clock that cannot be set."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class RateLimit:
    """The requests of one person from one origin. `user` is the account's name, as NSS has it."""

    def __init__(
        self, directory: StateDir, user: str, login: Login, clock: Callable[[], float] = since_boot
    ) -> None:
        self._directory = directory
        self._stem = file_stem(user)
        self._origin_text = f"{login.service}\0{'from ' + login.rhost if login.rhost else 'here'}"
        self._clock = clock
        self._remedy = f"pam-iampass throttle clear {shell_word(user)}"

    def others_wait(self) -> bool:
        """Whether a request from another origin is pending. Raises StateError."""
        with self._opened() as directory:
            state = self._read(directory)
            return self._others_wait(directory, state, self._origin(state))

    @contextlib.contextmanager
    def lease(
        self, limits: ThrottleSettings, pause: Callable[[float], None], remaining: Callable[[], float]
    ) -> Iterator[Lease]:
        """The right to send one request, until the block ends; the IAMPASS session must be over by then.

        `pause` waits for some seconds, `remaining` returns the seconds that are left. Raises Throttled, Superseded,
        StateError, and what `pause` raises.
        """
        with contextlib.ExitStack() as held:
            lease, older = self._enter(limits, pause, held)
            if older:
                try:
                    self._wait_for(older, lease, pause, remaining)
                    self._check_backoff_again(limits)
                except BaseException:
                    lease.record(RequestResult.NOT_SENT)
                    raise
            yield lease

    def attempt(self, limit: int) -> None:
        """Count an attempt with a recovery code, before the code is looked at. Raises Throttled and StateError."""
        with self._changed() as (_directory, state):
            origin, now = self._origin(state), self._clock()
            wait = state.wait_for_attempt(origin, limit, now)
            if wait:
                raise Throttled(f"{limit} wrong recovery codes within an hour from this origin", wait)
            state.attempt(origin, now)

    def attempt_was_right(self) -> None:
        """Do not count the last attempt. Raises StateError."""
        with self._changed() as (_directory, state):
            state.attempt_was_right(self._origin(state))

    def clear(self) -> None:
        """Forget failures, requests and wrong codes, but not pending logins. Raises StateError.

        Also repairs a corrupt file.
        """
        with self._opened() as directory:
            try:
                with self._changed() as (_directory, state):
                    state.failures, state.requests, state.attempts = {}, [], []
            except StateError:
                try:
                    for suffix in ("json", "lock", "lock.next"):
                        directory.remove(f"{self._stem}.{suffix}")
                except OSError as error:
                    what = f"{self._directory.path}/{self._stem}.json cannot be removed: {error.strerror}"
                    raise StateError(what, "check whether the file system is read-only") from None

    def state(self) -> RateLimitState:
        """The state, with those logins only that are really pending. Raises StateError."""
        with self._opened() as directory:
            state = self._read(directory)
            state.pending = [login for login in state.pending if self._is_held(directory, login.lease)]
            return state

    def record(self, lease: str, result: RequestResult) -> None:
        """Record the result of a request. Raises StateError."""
        with self._changed() as (_directory, state):
            origin = self._origin(state)
            for login in state.pending:
                login.decided = login.decided or login.lease == lease
            if result is RequestResult.FAILED:
                state.fail(origin, self._clock())
            if result is RequestResult.APPROVED:
                state.failures.pop(origin, None)
            if result in (RequestResult.APPROVED, RequestResult.NOT_SENT):
                state.withdraw(lease)

    def _enter(
        self, limits: ThrottleSettings, pause: Callable[[float], None], held: contextlib.ExitStack
    ) -> tuple[Lease, list[int]]:
        """Take a lease and mark the older ones of the same origin; also returns descriptors of these."""
        with self._changed() as (directory, state):
            origin, now = self._origin(state), self._clock()
            _check_limits(state, origin, limits, now)
            name = os.urandom(8).hex()
            descriptor = directory.create(self._file(name))
            held.callback(self._release, name, descriptor)
            lock(descriptor, exclusive=True)
            older = self._older(directory, state, origin, held)
            others_wait = self._others_wait(directory, state, origin)
            state.pending.append(Pending(origin, name, now))
            state.requests.append(SentRequest(name, now))
        for each in older:
            self._mark(each)
        return Lease(self, name, descriptor, pause, others_wait=others_wait, waited=bool(older)), older

    def _older(
        self, directory: OpenStateDir, state: RateLimitState, origin: str, held: contextlib.ExitStack
    ) -> list[int]:
        found = []
        for login in state.pending:
            descriptor = directory.existing(self._file(login.lease)) if login.origin == origin else None
            if descriptor is not None:
                held.callback(os.close, descriptor)
                found.append(descriptor)
        return found

    def _mark(self, descriptor: int) -> None:
        try:
            os.ftruncate(descriptor, 1)  # writes no data, so that it works on a full disk
        except OSError as error:
            raise StateError(f"{self._directory.path} cannot be written: {error.strerror}", REMEDY) from None

    def _wait_for(
        self, older: list[int], lease: Lease, pause: Callable[[float], None], remaining: Callable[[], float]
    ) -> None:
        """Wait until all older leases are released."""
        interval = FIRST_INTERVAL
        for each in older:
            while not lock(each, exclusive=False):
                if lease.superseded:
                    raise Superseded(TAKEN_OVER)
                if remaining() <= INTERVAL:
                    raise Superseded("an older login from the same origin did not end in time")
                pause(interval)
                interval = min(2 * interval, INTERVAL)

    def _check_backoff_again(self, limits: ThrottleSettings) -> None:
        """The older login may have been refused at the last moment, and giving up its request counts as a failure."""
        with self._opened() as directory:
            state = self._read(directory)
            self._sweep(directory, state)
            _check_backoff(state, self._origin(state), limits, self._clock())

    def _others_wait(self, directory: OpenStateDir, state: RateLimitState, origin: str) -> bool:
        return any(
            not login.decided and login.origin != origin and self._is_held(directory, login.lease)
            for login in state.pending
        )

    def _is_held(self, directory: OpenStateDir, lease: str) -> bool:
        descriptor = directory.existing(self._file(lease))
        if descriptor is None:
            return False
        try:
            return not lock(descriptor, exclusive=False)
        finally:
            os.close(descriptor)

    def _release(self, lease: str, descriptor: int) -> None:
        with contextlib.suppress(StateError, OSError), self._opened() as directory:
            directory.remove(self._file(lease))
        os.close(descriptor)

    def _opened(self) -> contextlib.AbstractContextManager[OpenStateDir]:
        return self._directory.opened(self._remedy)

    @contextlib.contextmanager
    def _changed(self) -> Iterator[tuple[OpenStateDir, RateLimitState]]:
        """The state, to be changed: it is written when the block ends, unless that raises."""
        with self._opened() as directory, directory.locked(f"{self._stem}.lock") as lock:
            state = self._read(directory)
            self._sweep(directory, state)
            yield directory, state
            directory.write(f"{self._stem}.json", encoded(state), lock)

    def _sweep(self, directory: OpenStateDir, state: RateLimitState) -> None:
        """Forget the logins whose lease is released, and remove the files of those that were killed.

        A killed process could not record its result. It counts as a failure; otherwise a caller who can kill the
        one-shot helper, which runs among their processes, could send requests without limit.
        """
        for login in list(state.pending):
            if not self._is_held(directory, login.lease):
                state.pending.remove(login)
                if not login.decided:
                    state.fail(login.origin, login.since)
                with contextlib.suppress(OSError):
                    directory.remove(self._file(login.lease))

    def _read(self, directory: OpenStateDir) -> RateLimitState:
        data = directory.read(f"{self._stem}.json")
        if data is None:
            return RateLimitState(salt=os.urandom(16).hex())
        try:
            state = decoded(data)
        except CorruptState:
            what = f"{self._directory.path}/{self._stem}.json is corrupt"
            raise StateError(what, self._remedy) from None
        state.forget(self._clock())
        return state

    def _origin(self, state: RateLimitState) -> str:
        return file_stem(state.salt + self._origin_text)

    def _file(self, lease: str) -> str:
        return f"{self._stem}.{lease}"


class Lease:
    """The right to one request on the phone."""

    def __init__(
        self,
        rate_limit: RateLimit,
        name: str,
        descriptor: int,
        pause: Callable[[float], None],
        *,
        others_wait: bool,
        waited: bool,
    ) -> None:
        self._rate_limit = rate_limit
        self._name = name
        self._descriptor = descriptor
        self._pause = pause
        self.others_wait = others_wait
        """Whether a request from another origin was pending when this one began."""
        self.waited = waited
        """Whether an older login from the same origin had to end first."""

    @property
    def superseded(self) -> bool:
        """Whether a newer login from the same origin waits for this one to end."""
        return os.fstat(self._descriptor).st_size > 0

    def pause(self, seconds: float) -> None:
        """Wait for some seconds. Raises Superseded, and what the application's `pause` raises."""
        until = time.monotonic() + seconds
        while True:
            if self.superseded:
                raise Superseded(TAKEN_OVER)
            left = until - time.monotonic()
            self._pause(min(left, CHECK_INTERVAL))
            if left <= CHECK_INTERVAL:
                return

    def record(self, result: RequestResult) -> None:
        """Record the result of the request.

        A failure to write it is ignored: the request was counted when it began, and as long as nothing can be written
        no other one is sent.
        """
        with contextlib.suppress(StateError):
            self._rate_limit.record(self._name, result)


def _check_limits(state: RateLimitState, origin: str, limits: ThrottleSettings, now: float) -> None:
    _check_backoff(state, origin, limits, now)
    wait = state.wait_for_cap(limits.requests_per_hour, now)
    if wait:
        reason = f"{limits.requests_per_hour} requests within an hour were not approved (throttle.requests_per_hour)"
        raise Throttled(reason, wait)


def _check_backoff(state: RateLimitState, origin: str, limits: ThrottleSettings, now: float) -> None:
    wait = state.backoff(origin, limits.cool_off, limits.longest_cool_off, now)
    if wait:
        count = state.failures[origin].count
        raise Throttled(
            f"backoff: {count} consecutive requests from this origin were refused, unanswered or abandoned",
            wait,
        )

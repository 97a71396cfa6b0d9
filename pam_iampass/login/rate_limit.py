"""How often a phone is asked: one request per person at a time, a backoff after failures, an hourly cap.

An origin is a PAM service and a remote host (`origin`). The logins of one person wait for their turn; a login ends no
other one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Callable

from pam_iampass.errors import StateError
from pam_iampass.login.concurrency import AtCapacity
from pam_iampass.login.origin import origin_of
from pam_iampass.login.rate_limit_file import RateLimitFile
from pam_iampass.login.rate_limit_state import Pending, RateLimitState
from pam_iampass.login.request_result import RequestResult
from pam_iampass.outcome import Login
from pam_iampass.system.boot import since_boot
from pam_iampass.system.state_dir import StateDir, file_stem

if TYPE_CHECKING:
    from pam_iampass.config.settings import ThrottleSettings

REMEDY = "systemd-tmpfiles --create"

MOST_PENDING = 100
"""Logins of one person that wait. Each reads the state a few times a second."""
END_TIME = 15.0
"""Seconds after its deadline in which a login ends its session and records its result."""


class Throttled(Exception):
    """No request may be sent now; the text says why."""

    def __init__(self, reason: str, wait: float) -> None:
        super().__init__(reason)
        self.wait = wait
        """Seconds until one may."""


class PhoneLost(Exception):
    """The person's phone was reported lost after the login began."""


class RateLimit:
    """The requests of one person from one origin. `user` is the account's name, as NSS has it."""

    def __init__(
        self, directory: StateDir, user: str, login: Login, clock: Callable[[], float] = since_boot
    ) -> None:
        self._file = RateLimitFile(directory, user, clock)
        self._origin_text = origin_of(login)

    @contextlib.contextmanager
    def queued(self, limits: ThrottleSettings, time_left: float) -> Iterator[QueuedLogin]:
        """A place in the queue, until the block ends; the IAMPASS session must be over by then.

        The login has to be over in `time_left` seconds. Raises Throttled, AtCapacity and StateError.
        """
        with self._file.lease() as lease:
            with self._file.changed() as state:
                origin, now = self._origin(state), self._file.now()
                _check(state, origin, limits, now)
                if len(state.pending) >= MOST_PENDING:
                    raise AtCapacity
                state.pending.append(Pending(origin, lease, now, now + time_left + END_TIME))
                at_once = state.begin_turn(lease, now)
            yield QueuedLogin(self._file, lease, origin, limits, now, has_turn=at_once)

    def attempt(self, limit: int) -> None:
        """Count an attempt with a recovery code, before the code is looked at. Raises Throttled and StateError."""
        with self._file.changed() as state:
            origin, now = self._origin(state), self._file.now()
            wait = state.wait_for_attempt(origin, limit, now)
            if wait:
                raise Throttled(f"{limit} wrong recovery codes within an hour from this origin", wait)
            state.attempt(origin, now)

    def attempt_was_right(self) -> None:
        """Do not count the last attempt. Raises StateError."""
        with self._file.changed() as state:
            state.attempt_was_right(self._origin(state))

    def phone_lost(self) -> int:
        """End all pending logins of the person; returns how many there are. Raises StateError."""
        with self._file.changed() as state:
            state.lost = self._file.now()
            return sum(not login.decided for login in state.pending)

    def clear(self) -> None:
        """Forget failures, requests and wrong codes, but not pending logins. Raises StateError.

        Also repairs a corrupt file.
        """
        try:
            with self._file.changed() as state:
                state.failures, state.requests, state.attempts, state.next_turn = {}, [], [], 0.0
        except StateError:
            self._file.remove()

    def state(self) -> RateLimitState:
        """The state, with those logins only that are really pending. Raises StateError."""
        state = self._file.read()
        state.pending = [login for login in state.pending if self._file.is_held(login.lease)]
        return state

    def _origin(self, state: RateLimitState) -> str:
        return file_stem(state.salt + self._origin_text)


class QueuedLogin:
    """One login in the queue of its person."""

    def __init__(
        self,
        file: RateLimitFile,
        lease: str,
        origin: str,
        limits: ThrottleSettings,
        since: float,
        *,
        has_turn: bool,
    ) -> None:
        self._file = file
        self._lease = lease
        self._origin = origin
        self._limits = limits
        self._since = since
        self.has_turn = has_turn
        """Whether it may send its request, which counts from then on."""

    def try_turn(self) -> None:
        """Take the turn if it is this login's.

        The limits are checked again: much may have happened while it waited. Raises Throttled, PhoneLost and
        StateError.
        """
        self.check_phone()
        if not self._may_be_next():
            return
        with self._file.changed() as state:
            now = self._file.now()
            if state.is_next(self._lease, now):
                _check(state, self._origin, self._limits, now)
            self.has_turn = state.begin_turn(self._lease, now)

    def check_phone(self) -> None:
        """Raises PhoneLost if the person's phone was reported lost since the login began.

        State that cannot be read changes nothing: IAMPASS has disabled the phone, too.
        """
        with contextlib.suppress(StateError):
            if self._file.read().lost >= self._since:
                raise PhoneLost

    def others_wait(self) -> bool:
        """Whether the person has another login that is not decided. Raises StateError."""
        pending = self._file.read().pending
        return any(login.lease != self._lease and not login.decided for login in pending)

    def leave(self, *, failed: bool) -> None:
        """Give the place up before the turn came; `failed` if that counts as a failure."""
        with contextlib.suppress(StateError), self._file.changed() as state:
            state.pending = [login for login in state.pending if login.lease != self._lease]
            if failed:
                state.fail(self._origin, self._file.now())

    def record(self, result: RequestResult) -> None:
        """Record the result of the request.

        A failure to write it is ignored: the request was counted when the turn began, and as long as nothing can be
        written no other one is sent.
        """
        with contextlib.suppress(StateError), self._file.changed() as state:
            now = self._file.now()
            for login in state.pending:
                login.decided = login.decided or login.lease == self._lease
            if result is RequestResult.FAILED:
                state.fail(self._origin, now)
            if result is RequestResult.APPROVED:
                state.failures.pop(self._origin, None)
            if result in (RequestResult.APPROVED, RequestResult.NOT_SENT):
                state.withdraw(self._lease)
            if result is not RequestResult.NOT_SENT:
                state.next_turn = now + self._limits.spacing

    def _may_be_next(self) -> bool:
        """Whether a try for the turn is worth a lock."""
        state = self._file.read()
        holder = state.turn_holder()
        if holder is not None:
            return not self._file.is_held(holder.lease)
        return state.is_next(self._lease, self._file.now())


def _check(state: RateLimitState, origin: str, limits: ThrottleSettings, now: float) -> None:
    wait = state.backoff(origin, limits.cool_off, limits.longest_cool_off, now)
    if wait:
        count = state.failures[origin].count
        raise Throttled(f"backoff: {count} consecutive requests from this origin were not approved", wait)
    wait = state.wait_for_cap(limits.requests_per_hour, now)
    if wait:
        reason = f"{limits.requests_per_hour} requests within an hour were not approved (throttle.requests_per_hour)"
        raise Throttled(reason, wait)

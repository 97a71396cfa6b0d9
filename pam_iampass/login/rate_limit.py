"""How often a phone may ring: one pending request a person and place, cool-off after failures, a cap.

A place is a PAM service and a remote host, literally. What is remembered lives in a file of the person's own below
/run, which is empty after each start of the machine (`throttle_state.py`). That a request is pending is a lock on a
file, a ticket: it ends by itself with the process that holds it.

A newer login from the same place takes over: it marks the older one's ticket, waits until that has ended its session
and let go, and only then sends its own request. Nobody else's request is touched.
"""

from __future__ import annotations

import contextlib
import enum
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Callable

from pam_iampass.errors import StateError
from pam_iampass.login.rate_limit_state import Broken, Pending, Request, State, decoded, encoded
from pam_iampass.outcome import Login
from pam_iampass.system.state_dir import OpenStateDir, StateDir, file_stem, lock
from pam_iampass.system.trusted_folder import shell_word

if TYPE_CHECKING:
    from pam_iampass.config.settings import ThrottleSettings as Limits

STATE = "/run/iampass/state"
"""The folder."""
REMEDY = "systemd-tmpfiles --create"

#: How long to wait between two looks at whether an older login has let go, at first and later, in seconds. At first,
#: since most are only about to end the session of a login that has been approved.
FIRST_INTERVAL = 0.01
INTERVAL = 0.1


class RequestResult(enum.Enum):
    """What became of a request."""

    APPROVED = "approved"
    FAILED = "failed"
    """Refused, not answered, broken off by the application, or given up for a newer login from the same place."""
    NOT_SENT = "not sent"
    """Nothing has reached a phone."""
    LOST = "lost"
    """It may have rung, but nobody is to blame: an outage, or our own process was stopped."""


class Throttled(Exception):
    """No request goes out now."""

    def __init__(self, reason: str, wait: float) -> None:
        super().__init__(reason)
        self.wait = wait
        """Seconds until it may."""


class Replaced(Exception):
    """A newer login from the same place has taken over, or an older one does not let go."""


def since_start() -> float:
    """Seconds since the machine started, its sleep included: a clock that nobody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Throttle:
    """The logins of one person from one place. `user` is the account's name, as NSS has it."""

    def __init__(
        self, folder: StateDir, user: str, login: Login, clock: Callable[[], float] = since_start
    ) -> None:
        self._folder = folder
        self._stem = file_stem(user)
        self._where = f"{login.service}\0{'from ' + login.rhost if login.rhost else 'here'}"
        self._clock = clock
        self._remedy = f"pam-iampass throttle clear {shell_word(user)}"

    def others_wait(self) -> bool:
        """Whether a request from another place is pending. Raises StateError."""
        with self._folder.opened(self._remedy) as folder:
            state = self._read(folder)
            return self._others(folder, state, self._place(state))

    @contextlib.contextmanager
    def request(
        self, limits: Limits, pause: Callable[[float], None], remaining: Callable[[], float]
    ) -> Iterator[Lease]:
        """The right to send one request, held until the block ends; the session must have ended by then.

        `pause` waits some seconds, `remaining` tells how many are left. Raises Throttled, Replaced, StateError, and
        what `pause` raises.
        """
        with contextlib.ExitStack() as held:
            ticket, older = self._enter(limits, held)
            if older:
                try:
                    self._wait(ticket, older, pause, remaining)
                    self._look_again(limits)
                except BaseException:
                    ticket.record(RequestResult.NOT_SENT)
                    raise
            yield ticket

    def attempt(self, most: int) -> None:
        """Count a recovery code before it is looked at. Raises Throttled where there were too many, and StateError."""
        with self._changing() as (_folder, state):
            place, now = self._place(state), self._clock()
            wait = state.wait_for_attempt(place, most, now)
            if wait:
                raise Throttled(f"{most} wrong recovery codes within an hour from this place", wait)
            state.attempt(place, now)

    def attempt_was_right(self) -> None:
        """The last recovery code does not count. Raises StateError."""
        with self._changing() as (_folder, state):
            state.attempt_was_right(self._place(state))

    def clear(self) -> None:
        """Forget refusals, requests and wrong codes, but not the logins that are pending. Raises StateError.

        A broken file is mended so.
        """
        with self._folder.opened(self._remedy) as folder:
            try:
                with self._changing() as (_folder, state):
                    state.failures, state.requests, state.attempts = {}, [], []
            except StateError:
                try:
                    for ending in ("json", "json.new", "lock"):
                        folder.remove(f"{self._stem}.{ending}")
                except OSError as error:
                    what = f"{self._folder.path}/{self._stem}.json cannot be removed: {error.strerror}"
                    raise StateError(what, "look at the disk: is it read-only?") from None

    def state(self) -> State:
        """What is remembered, with the logins that are really pending. Raises StateError."""
        with self._folder.opened(self._remedy) as folder:
            state = self._read(folder)
            state.pending = [login for login in state.pending if self._is_held(folder, login.ticket)]
            return state

    def record(self, ticket: str, ending: RequestResult) -> None:
        """Remember what became of a request. Raises StateError."""
        with self._changing() as (_folder, state):
            place = self._place(state)
            for login in state.pending:
                login.decided = login.decided or login.ticket == ticket
            if ending is RequestResult.FAILED:
                state.fail(place, self._clock())
            if ending is RequestResult.APPROVED:
                state.failures.pop(place, None)
            if ending in (RequestResult.APPROVED, RequestResult.NOT_SENT):
                state.withdraw(ticket)

    def _enter(self, limits: Limits, held: contextlib.ExitStack) -> tuple[Lease, list[int]]:
        """Take a ticket, and mark the older ones of the same place; returns descriptors of these."""
        with self._changing() as (folder, state):
            place, now = self._place(state), self._clock()
            _require(state, place, limits, now)
            name = os.urandom(8).hex()
            descriptor = folder.create(self._file(name))
            held.callback(self._let_go, name, descriptor)
            lock(descriptor, exclusive=True)
            older = self._older(folder, state, place, held)
            others = self._others(folder, state, place)
            state.pending.append(Pending(place, name, now))
            state.requests.append(Request(name, now))
        for each in older:
            self._mark(each)
        return Lease(self, name, descriptor, others=others, waited=bool(older)), older

    def _older(self, folder: OpenStateDir, state: State, place: str, held: contextlib.ExitStack) -> list[int]:
        found = []
        for login in state.pending:
            descriptor = folder.existing(self._file(login.ticket)) if login.place == place else None
            if descriptor is not None:
                held.callback(os.close, descriptor)
                found.append(descriptor)
        return found

    def _mark(self, descriptor: int) -> None:
        try:
            os.ftruncate(descriptor, 1)  # nothing is written, so it works on a full disk
        except OSError as error:
            raise StateError(f"{self._folder.path} cannot be written: {error.strerror}", REMEDY) from None

    def _wait(
        self, ticket: Lease, older: list[int], pause: Callable[[float], None], remaining: Callable[[], float]
    ) -> None:
        """Until all older logins have let go."""
        interval = FIRST_INTERVAL
        for each in older:
            while not lock(each, exclusive=False):
                if ticket.replaced:
                    raise Replaced("another login from the same place took over")
                if remaining() <= INTERVAL:
                    raise Replaced("an older login from the same place did not end in time")
                pause(interval)
                interval = min(2 * interval, INTERVAL)

    def _look_again(self, limits: Limits) -> None:
        """What became of the older login counts: it was refused in its last moment, or had to give up its request."""
        with self._folder.opened(self._remedy) as folder:
            state = self._read(folder)
            self._sweep(folder, state)
            _require_peace(state, self._place(state), limits, self._clock())

    def _others(self, folder: OpenStateDir, state: State, place: str) -> bool:
        return any(
            not login.decided and login.place != place and self._is_held(folder, login.ticket)
            for login in state.pending
        )

    def _is_held(self, folder: OpenStateDir, ticket: str) -> bool:
        descriptor = folder.existing(self._file(ticket))
        if descriptor is None:
            return False
        try:
            return not lock(descriptor, exclusive=False)
        finally:
            os.close(descriptor)

    def _let_go(self, ticket: str, descriptor: int) -> None:
        with contextlib.suppress(StateError, OSError), self._folder.opened(self._remedy) as folder:
            folder.remove(self._file(ticket))
        os.close(descriptor)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[tuple[OpenStateDir, State]]:
        """The state, to be changed: it is written when the block ends, unless that raises."""
        with self._folder.opened(self._remedy) as folder, folder.locked(f"{self._stem}.lock"):
            state = self._read(folder)
            self._sweep(folder, state)
            yield folder, state
            folder.write(f"{self._stem}.json", encoded(state))

    def _sweep(self, folder: OpenStateDir, state: State) -> None:
        """Forget the logins that have let go, and the files of those that were killed.

        Who was killed could not say what became of the request. It counts as a failure, or whoever can kill would ring
        as often as they like: the one-shot helper lives among the processes of its caller.
        """
        for login in list(state.pending):
            if not self._is_held(folder, login.ticket):
                state.pending.remove(login)
                if not login.decided:
                    state.fail(login.place, login.since)
                with contextlib.suppress(OSError):
                    folder.remove(self._file(login.ticket))

    def _read(self, folder: OpenStateDir) -> State:
        data = folder.read(f"{self._stem}.json")
        if data is None:
            return State(salt=os.urandom(16).hex())
        try:
            state = decoded(data)
        except Broken:
            what = f"{self._folder.path}/{self._stem}.json: is not what this module writes"
            raise StateError(what, self._remedy) from None
        state.forget(self._clock())
        return state

    def _place(self, state: State) -> str:
        return file_stem(state.salt + self._where)

    def _file(self, ticket: str) -> str:
        return f"{self._stem}.{ticket}"


class Lease:
    """The right to one request on the phone."""

    def __init__(self, throttle: Throttle, name: str, descriptor: int, *, others: bool, waited: bool) -> None:
        self._throttle = throttle
        self._name = name
        self._descriptor = descriptor
        self.others = others
        """Whether a request from another place was pending when this one began."""
        self.waited = waited
        """Whether an older login from the same place had to end first."""

    @property
    def replaced(self) -> bool:
        """Whether a newer login from the same place waits for this one to end. Cheap."""
        return os.fstat(self._descriptor).st_size > 0

    def record(self, ending: RequestResult) -> None:
        """Remember what became of the request.

        Where that cannot be written, nothing is decided anew: it was counted when it began, and as long as nothing
        can be written no other request goes out.
        """
        with contextlib.suppress(StateError):
            self._throttle.record(self._name, ending)


def _require(state: State, place: str, limits: Limits, now: float) -> None:
    _require_peace(state, place, limits, now)
    wait = state.wait_for_cap(limits.requests_per_hour, now)
    if wait:
        reason = f"{limits.requests_per_hour} within an hour were not approved (throttle.requests_per_hour)"
        raise Throttled(reason, wait)


def _require_peace(state: State, place: str, limits: Limits, now: float) -> None:
    wait = state.cool_off(place, limits.cool_off, limits.longest_cool_off, now)
    if wait:
        count = state.failures[place].count
        raise Throttled(
            f"cool-off: {count} requests in a row from this place were refused, not answered or broken off",
            wait,
        )

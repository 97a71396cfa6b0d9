"""The part of a transport without I/O: what it knows of its server, and when it sends a call again."""

from __future__ import annotations

import random
import secrets
import time
from typing import Any, Callable, TypeVar

from pam_iampass import __version__

from .call import ATTEMPTS, CLOCK_TOLERANCE, Call, http_time
from .connection import Deadline
from .errors import IampassError, Refused, Unavailable
from .origin import Origin

DEFAULT_SECONDS = 30.0
# Shorter than the shortest time for which servers commonly keep an idle connection open (5 s): if a request meets the
# end of its connection, it is lost, and it is unknown whether it was carried out.
IDLE_SECONDS = 4.0
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.25, 2.0

T = TypeVar("T")


class Sender:
    """The server of a transport, its clock, and what is the same in all requests to it."""

    def __init__(
        self,
        server: str,
        wall_clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        nonce: Callable[[], int] = lambda: secrets.randbits(64),
    ) -> None:
        """`server` is `https://HOST[:PORT]`. Raises ValueError for an invalid one."""
        self.origin = Origin.of(server)
        # The Date of the last response, and our Unix time then.
        self._date: tuple[str | None, float] = None, 0.0
        self.clock_correction = 0.0
        """How many seconds the times in signatures are ahead of our clock, after a refusal for the time."""
        self.jitter = jitter
        self._wall_clock = wall_clock
        self._nonce = nonce

    @property
    def clock_offset(self) -> float | None:
        """Seconds that the server's clock is ahead of ours by the Date of its last response; None if there was none."""
        date, now = self._date
        theirs = http_time(date)
        return None if theirs is None else theirs - now

    def signed(self, call: Call[T]) -> tuple[int, dict[str, str]]:
        """The nonce of one attempt, and its headers."""
        nonce = self._nonce()
        headers = call.headers(nonce, int(self._wall_clock() + self.clock_correction))
        return nonce, {**headers, "User-Agent": f"pam-iampass/{__version__}"}

    def read(self, call: Call[T], nonce: int, status: int, headers: Any, body: bytes) -> T:
        """The result in a complete response to the request with this nonce. Raises IampassError."""
        now = self._wall_clock()
        self._date = headers.get("Date"), now
        return call.read(status, headers, body, now, nonce)


class Attempts:
    """The attempts at one call. `Transport.call` says when there is another one."""

    def __init__(self, sender: Sender, call: Call[Any], deadline: Deadline, most: int = ATTEMPTS) -> None:
        self.deadline = deadline
        self._sender = sender
        self._call = call
        self._most = most
        self._tries = self._failures = 0
        self._clock_corrected = False

    def wait_after(self, error: IampassError) -> float | None:
        """The seconds to wait until the next attempt, None for none, after one that failed. Raises `error` if it was
        the last one."""
        if isinstance(error, Refused):
            servers = error.clock_offset or 0.0
            right = abs(servers - self._sender.clock_correction) <= CLOCK_TOLERANCE
            if self._clock_corrected or right or error.status != 401:
                raise error
            self._sender.clock_correction, self._clock_corrected = servers, True
            return None
        if not isinstance(error, Unavailable):
            raise error
        error.outage = error.outage and not self._clock_corrected  # that was sent, and refused
        self._tries += 1
        if error.status != 429 or error.retry_after is None:
            self._failures += 1
        if self._most == 1 or self._failures >= self._most or not may_repeat(self._call, error):
            raise error
        longest = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2.0 ** min(self._tries - 1, 10))
        wait = max(self._sender.jitter() * longest, error.retry_after or 0.0)
        if wait >= self.deadline.remaining():
            raise error
        return wait


def may_repeat(call: Call[Any], error: Unavailable) -> bool:
    """Whether a call that failed may be made again."""
    if error.status == 429:
        return not call.rings
    if error.status is not None:
        return call.idempotent and error.status in (502, 503, 504)
    # After a time-out of connecting, a person is waiting and another attempt would take as long again.
    return call.idempotent or not (error.may_have_started or error.timed_out)

"""When a call is made again, and after which wait."""

from __future__ import annotations

import datetime
import email.utils
import math
import re
from typing import Callable

from .deadline import Deadline
from .errors import Unavailable
from .exchange import Call

ATTEMPTS = 3
"""Tries of one call, the first included, where the fault is not a complete 429 with Retry-After."""
_FIRST_BACKOFF = 0.25
_LONGEST_BACKOFF = 2.0
_PASSING_STATUSES = frozenset({502, 503, 504})
_TOO_MANY_REQUESTS = 429


class Repeats:
    """Decides, for one call, about the waits between its tries: exponential backoff with full jitter."""

    def __init__(self, call: Call, attempts: int, deadline: Deadline, jitter: Callable[[], float]) -> None:
        self._call = call
        self._attempts = attempts
        self._deadline = deadline
        self._jitter = jitter
        self._tries = 0
        self._asked_to_wait = 0

    def wait_after(self, error: Unavailable) -> float | None:
        """Seconds to wait before the next try; None: there is none."""
        wait = self._obeyed(error) if self._is_told_when(error) else self._backed_off(error)
        return wait if wait is not None and wait < self._deadline.remaining() else None

    def _is_told_when(self, error: Unavailable) -> bool:
        return self._attempts > 1 and error.status == _TOO_MANY_REQUESTS and error.retry_after is not None

    def _obeyed(self, error: Unavailable) -> float:
        """A complete 429 has started nothing, so every call may come back, as often as time allows."""
        # A server that says «now» again and again must not be answered in a tight loop.
        floor = self._backoff(self._asked_to_wait - 1) if self._asked_to_wait else 0.0
        self._asked_to_wait += 1
        return max(error.retry_after or 0.0, floor)

    def _backed_off(self, error: Unavailable) -> float | None:
        self._tries += 1
        if self._tries >= self._attempts or not self._may_repeat(error):
            return None
        return max(self._backoff(self._tries - 1), error.retry_after or 0.0)

    def _may_repeat(self, error: Unavailable) -> bool:
        if error.status is not None:
            passing = error.status in _PASSING_STATUSES and self._call.harmless_to_repeat
            return passing or error.status == _TOO_MANY_REQUESTS
        if self._call.harmless_to_repeat:
            return True
        # Where connecting already took all of its time, a person is waiting and another try would take it
        # again.
        return not error.may_have_started and not error.timed_out

    def _backoff(self, repeat: int) -> float:
        return self._jitter() * min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2.0 ** min(repeat, 10))


def http_time(text: str | None) -> float | None:
    """Unix time of an HTTP date; None where it is none."""
    try:
        moment = email.utils.parsedate_to_datetime(text or "")
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.timezone.utc)
        return moment.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def retry_after_seconds(text: str | None, now: float) -> float | None:
    """The wait that a Retry-After header asks for (RFC 9110, 10.2.3): 0 for a past date, infinity for an
    absurd number, None where it says nothing. `now` is the Unix time that a date counts from."""
    if text is None:
        return None
    text = text.strip()
    if re.fullmatch(r"[0-9]+", text):
        return float(text) if len(text) <= 9 else math.inf
    moment = http_time(text)
    return None if moment is None else max(0.0, moment - now)

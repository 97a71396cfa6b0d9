"""When a request is sent again, and after which wait."""

from __future__ import annotations

import datetime
import email.utils
import math
import re
from typing import Callable

from .deadline import Deadline
from .errors import Unavailable
from .request import SignedRequest

ATTEMPTS = 3
"""Attempts at one request, the first included, unless it is rejected with a complete 429 with Retry-After."""
_FIRST_BACKOFF = 0.25
_LONGEST_BACKOFF = 2.0
_TRANSIENT_STATUSES = frozenset({502, 503, 504})
_TOO_MANY_REQUESTS = 429


class RetryPolicy:
    """The waits between the attempts at one request: exponential backoff with full jitter."""

    def __init__(
        self, request: SignedRequest, attempts: int, deadline: Deadline, jitter: Callable[[], float]
    ) -> None:
        self._request = request
        self._attempts = attempts
        self._deadline = deadline
        self._jitter = jitter
        self._failures = 0
        self._obeyed = 0

    def wait_after(self, error: Unavailable) -> float | None:
        """Seconds to wait before the next attempt; None if there is none."""
        wait = self._requested(error) if self._is_requested(error) else self._backed_off(error)
        return wait if wait is not None and wait < self._deadline.remaining() else None

    def _is_requested(self, error: Unavailable) -> bool:
        return self._attempts > 1 and self._is_rejected(error) and error.retry_after is not None

    def _is_rejected(self, error: Unavailable) -> bool:
        return error.status == _TOO_MANY_REQUESTS and not self._request.rings

    def _requested(self, error: Unavailable) -> float:
        """A request that was rejected may be sent again as often as time allows."""
        # A server that says "now" again and again must not be answered in a tight loop.
        floor = self._backoff(self._obeyed - 1) if self._obeyed else 0.0
        self._obeyed += 1
        return max(error.retry_after or 0.0, floor)

    def _backed_off(self, error: Unavailable) -> float | None:
        self._failures += 1
        if self._failures >= self._attempts or not self._may_retry(error):
            return None
        return max(self._backoff(self._failures - 1), error.retry_after or 0.0)

    def _may_retry(self, error: Unavailable) -> bool:
        if error.status is not None:
            transient = error.status in _TRANSIENT_STATUSES and self._request.idempotent
            return transient or self._is_rejected(error)
        if self._request.idempotent:
            return True
        # After a time-out of connecting, a person is waiting and another attempt would take as long again.
        return not error.may_have_started and not error.timed_out

    def _backoff(self, retry: int) -> float:
        return self._jitter() * min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2.0 ** min(retry, 10))


def http_time(text: str | None) -> float | None:
    """Unix time of an HTTP date; None if it is not one."""
    try:
        moment = email.utils.parsedate_to_datetime(text or "")
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.timezone.utc)
        return moment.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def retry_after_seconds(text: str | None, now: float) -> float | None:
    """The wait that a Retry-After header asks for (RFC 9110, 10.2.3): 0 for a past date, infinity for an
    absurd number, None if it is missing or malformed. `now` is the Unix time that a date counts from."""
    if text is None:
        return None
    text = text.strip()
    if re.fullmatch(r"[0-9]+", text):
        return float(text) if len(text) <= 9 else math.inf
    moment = http_time(text)
    return None if moment is None else max(0.0, moment - now)

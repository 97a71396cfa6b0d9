"""When to poll IAMPASS for the status of a request."""

from __future__ import annotations

#: Seconds until the first poll: nobody answers faster.
FIRST = 1.6
#: Seconds between the first polls: only few answer as fast as that.
EARLY_INTERVAL = 0.86
#: How long polls are that rare, in seconds after the request.
EARLY_UNTIL = 4.5
#: Seconds between polls while most people answer. Half of it is the median delay of an approval.
SHORT_INTERVAL = 0.55
#: How long polls are that frequent, in seconds after the request.
SHORT_UNTIL = 20.0
#: Seconds between later polls.
LONG_INTERVAL = 1.92
#: Seconds between the last poll and the end: time for its response.
LAST = 0.4


def next_poll(
    previous: float | None, timeout: float, slowdown: float = 1.0, phase: float = 0.0
) -> float | None:
    """The time of the next poll of a login that waits `timeout` seconds, or None where there is no further poll.

    Times are in seconds after the request; `previous` is when the previous poll began, None for the first one. There
    are at most 54 polls in 60 seconds, fewer where they are slow. The last is as late as its response can still count.

    Where many logins wait, `slowdown` (1 or more) stretches the intervals, and `phase` (0 to 1, random per login)
    spreads the last polls, so that logins that began together do not all poll together at the end.
    """
    last = max(timeout - LAST - phase * (slowdown - 1.0) * SHORT_INTERVAL, timeout / 2)
    if previous is not None and previous >= last:
        return None
    if previous is None:
        return min(FIRST, last)
    early = EARLY_INTERVAL if previous < EARLY_UNTIL else SHORT_INTERVAL
    next_time = previous + max(SHORT_INTERVAL * slowdown, early if previous < SHORT_UNTIL else LONG_INTERVAL)
    return next_time if next_time < last - SHORT_INTERVAL / 2 else last

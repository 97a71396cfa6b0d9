"""When to ask IAMPASS how a request stands."""

from __future__ import annotations

#: Nobody takes the phone out and answers within the first second.
FIRST = 1.5
#: Seconds between polls while most people answer: half of it is the median wait of an approval.
BRISK = 0.49
#: Until when, in seconds after the request.
BRISK_UNTIL = 20.0
#: Seconds between polls later.
CALM = 1.92
#: The last poll comes so many seconds before the end, to leave its answer time to arrive.
LAST = 0.4


def next_poll(
    previous: float | None, timeout: float, slowdown: float = 1.0, place: float = 0.0
) -> float | None:
    """The moment of the next poll, for a login that waits `timeout` seconds; None where there is none left.

    Moments are in seconds after the request; `previous` is when the poll before began, None where there was none.
    At most 60 polls come in 60 seconds, fewer where they are slow. The last is as late as its answer can still count.

    Where many logins wait at once, `slowdown` (1 or more) stretches the time between polls, and `place` (0 to 1, the
    login's own) spreads the last ones: logins that began together must not all ask together at the end.
    """
    last = max(timeout - LAST - place * (slowdown - 1.0) * BRISK, timeout / 2)
    if previous is not None and previous >= last:
        return None
    if previous is None:
        return min(FIRST, last)
    moment = previous + max(BRISK * slowdown, BRISK if previous < BRISK_UNTIL else CALM)
    return moment if moment < last - BRISK / 2 else last

"""Waiting for the turn to ask the phone: one person has one request at a time."""

from __future__ import annotations

from typing import Callable, Protocol

from pam_iampass.login.application import ApplicationGone
from pam_iampass.login.rate_limit import QueuedLogin

#: The part of the time that must be left for the person to answer; a request with less is not sent.
LEAST_LEFT = 1 / 6

OTHER_LOGIN = (
    "Another login in your name is decided before this one. Deny requests that you do not recognize."
)


class TurnDidNotCome(Exception):
    """Other logins of the person took all the time."""


class Pause(Protocol):
    """`PamApplication.pause`."""

    def __call__(self, seconds: float, woken: int | None = None, /) -> None: ...


def wait_for_turn(
    queued: QueuedLogin,
    remaining: Callable[[], float],
    pause: Pause,
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

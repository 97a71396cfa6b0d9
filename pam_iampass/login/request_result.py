"""What the rate limit counts of a request."""

from __future__ import annotations

import enum

from pam_iampass.login.application import ApplicationGone, Stopping
from pam_iampass.outcome import Decision, Outcome


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

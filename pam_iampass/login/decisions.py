"""From what happened to the decision: the outcome, what the administrator reads of it, and what the person reads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pam_iampass.outcome import Decision, Outcome, Result, denied

if TYPE_CHECKING:
    from pam_iampass.client import Session
    from pam_iampass.client.errors import IampassError, Unavailable
    from pam_iampass.config.settings import ServiceSettings

ASK_THE_ADMINISTRATOR = "Please ask your administrator."


def seconds(timeout: float) -> str:
    """A time for a person to read."""
    return f"{timeout:g} seconds" if timeout != 1 else "1 second"


def wait_of(left: float) -> str:
    """A time to wait, for a person to read: never too short."""
    if left <= 90:
        return seconds(math.ceil(left))
    return f"{math.ceil(left / 60)} minutes"


def no_account() -> Decision:
    """NSS does not know the user."""
    return denied(Outcome.DENIED, "no account of this machine")


def no_first_factor(method: str) -> Decision:
    """The PAM line demands a method that sshd has not accepted before."""
    reason = f"first_factor={method} is demanded, and sshd has accepted none before"
    return denied(Outcome.DENIED, reason, "This login needs your key as well. " + ASK_THE_ADMINISTRATOR)


def unlisted(user: str, ignore: bool) -> Decision:
    """The user is in no table."""
    reason = f"{user} has no token in the user table"
    if ignore:
        return Decision(Outcome.UNLISTED, Result.IGNORED, reason)
    return denied(Outcome.UNLISTED, reason, "You have no phone on record here. " + ASK_THE_ADMINISTRATOR)


def misconfigured(reason: str, elapsed: float = 0.0) -> Decision:
    """Something of this machine is not as it must be."""
    message = "The phone check is not set up rightly on this machine. " + ASK_THE_ADMINISTRATOR
    return denied(Outcome.MISCONFIGURED, reason, message, elapsed)


def cancelled(reason: str) -> Decision:
    """Nobody waits for the answer any more, or nobody wanted the request."""
    return denied(Outcome.CANCELLED, reason)


def throttled(reason: str, wait: float) -> Decision:
    """No request goes out for a while. Says so whether or not the person has recovery codes: others may be asking."""
    message = f"No request was sent, since there were too many: wait {wait_of(wait)}, or use a recovery code."
    return denied(Outcome.THROTTLED, f"{reason}; {wait_of(wait)} to wait", message)


def crowded() -> Decision:
    """Too many logins of this person from this place are going on."""
    reason = "too many logins of this user from this place at once (throttle.logins_at_once)"
    return denied(
        Outcome.THROTTLED, reason, "Too many logins in your name at once. Finish the others, then try again."
    )


def replaced(reason: str, elapsed: float) -> Decision:
    """Another login from the same place has the request now, or does not let go of it."""
    return denied(Outcome.THROTTLED, reason, f"No longer waiting: {reason}.", elapsed)


def too_many_codes(reason: str, wait: float) -> Decision:
    """The recovery code was not even looked at."""
    message = f"Too many wrong recovery codes: wait {wait_of(wait)}, or use your phone."
    return denied(Outcome.THROTTLED, f"{reason}; {wait_of(wait)} to wait", message)


def wrong_code(before: Decision | None) -> Decision:
    """A recovery code that is not one of this person's, or was used already; `before` is why it was asked for."""
    reason = "a wrong recovery code" + (f"; before that: {before.reason}" if before else "")
    message = "That is no recovery code of yours, or it was used already."
    return denied(Outcome.DENIED, reason, message, before.elapsed if before else 0.0)


def recovered(left: int, before: Decision | None) -> Decision:
    """A recovery code was just spent."""
    codes = "1 recovery code is left" if left == 1 else f"{left} recovery codes are left"
    reason = codes + (f"; before that: {before.reason}" if before else "")
    message = f"The recovery code was accepted and is spent: {codes}."
    if left <= 2:
        message += " Ask your administrator for new ones."
    return Decision(Outcome.RECOVERED, Result.SUCCESS, reason, message, before.elapsed if before else 0.0)


def answered(session: Session, service: ServiceSettings, elapsed: float) -> Decision:
    """The last status of the session. Success has one door: `active`."""
    status = session.session_status.name
    if session.active:
        return Decision(Outcome.APPROVED, Result.SUCCESS, "", "Approved on your phone.", elapsed)
    if session.in_progress or status == "timeout":
        message = f"Nobody answered on your phone within {seconds(service.timeout)}."
        return denied(Outcome.TIMED_OUT, "the phone did not answer in time", message, elapsed)
    return denied(Outcome.DENIED, f"IAMPASS says {status}", "Denied on your phone.", elapsed)


def not_begun(reason: str, elapsed: float) -> Decision:
    """IAMPASS understood the request, and began no session."""
    if reason == "NO_MOBILE_DEVICE":
        message = "No phone is registered for you at IAMPASS. " + ASK_THE_ADMINISTRATOR
        return denied(Outcome.NO_DEVICE, reason, message, elapsed)
    message = f"IAMPASS did not ask your phone: {reason}. {ASK_THE_ADMINISTRATOR}"
    return denied(Outcome.DENIED, reason, message, elapsed)


def registered(before: Decision, elapsed: float) -> Decision:
    """The person had no phone and has registered one: that lets nobody in, the next login asks it."""
    reason = f"{before.reason}; a phone was registered at this login"
    return denied(
        Outcome.NO_DEVICE, reason, "Your phone is registered. Log in again, and approve that on it.", elapsed
    )


def not_registered(before: Decision, what: str, elapsed: float) -> Decision:
    """The person was to register a phone, and has not."""
    message = "No phone was registered. Log in again to try once more, or ask your administrator."
    return denied(
        Outcome.NO_DEVICE, f"{before.reason}; no phone was registered at this login: {what}", message, elapsed
    )


def unavailable(
    error: Unavailable, service: ServiceSettings, may_have_started: bool, elapsed: float
) -> Decision:
    """An outage: tolerated only where it is certain that no request can be on the phone."""
    if service.unavailable.value == "ignore" and not may_have_started:
        message = "IAMPASS cannot be reached; you pass without it."
        return Decision(Outcome.UNAVAILABLE, Result.IGNORED, error.diagnostics(), message, elapsed)
    message = "IAMPASS cannot be reached from this machine. Try again in a minute, or ask your administrator."
    return denied(Outcome.UNAVAILABLE, error.diagnostics(), message, elapsed)


def failed(error: IampassError, elapsed: float) -> Decision:
    """Anything that is no outage: never tolerated."""
    from pam_iampass.client.errors import ProtocolError

    if isinstance(error, ProtocolError):
        message = "IAMPASS gave an answer that makes no sense. " + ASK_THE_ADMINISTRATOR
        return denied(Outcome.UNAVAILABLE, error.diagnostics(), message, elapsed)
    return misconfigured(error.diagnostics(), elapsed)

"""Decisions: the outcome, the reason for the administrator, and the message for the person, of all that can happen.

What only a gateway says is in `at_gateway.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from pam_iampass.client import Session
from pam_iampass.client.errors import IampassError, NotFound, ProtocolError, Unavailable, clock_difference
from pam_iampass.config.settings import ServiceSettings
from pam_iampass.login.bypass import Bypass
from pam_iampass.outcome import Decision, Outcome, Result, denied
from pam_iampass.session.cover import Cover

ASK_THE_ADMINISTRATOR = "Please ask your administrator."
BYPASSED = "Continuing without phone approval: your administrator allows it for now."
ENDED = "The request was ended before it was approved."
#: By the final status of a session that was not approved: the reason, and the message for the person.
_NOT_APPROVED = {
    "cancelled": ("the request was refused on the phone", "Denied on your phone."),
    "failed": ("the phone did not recognize the person", "Your phone did not recognize you."),
    "closed": ("the request was ended from elsewhere", ENDED),
    "walkaway": ("the phone is no longer near", "Your phone is not near you."),
}
AT_CAPACITY = "Too many logins in your name at once. Finish the others, then try again."
OTHERS_CAME_FIRST = (
    "Other logins in your name came first; no request was sent. Deny requests that you do not recognize."
)
PHONE_LOST = "Your phone was reported lost. " + ASK_THE_ADMINISTRATOR
_PHONE_LOST = "the phone was reported lost (pam-iampass phone lost)"
AWAY = {
    "IAMPASS_AWAY": "IAMPASS does not answer the gateway.",
    "DATABASE_AWAY": "The gateway's database does not answer.",
}
"""The part behind a gateway that does not answer, for the person (`Unavailable.away`)."""
TRY_AGAIN = "Try again in a minute, or ask your administrator."
NOT_FROM_HERE = "The gateway takes no requests from this machine. " + ASK_THE_ADMINISTRATOR
NO_PHONE = "NO_MOBILE_DEVICE"
"""The reason of IAMPASS where a person has no phone."""


def seconds(time: float) -> str:
    """A time in words."""
    return f"{time:g} seconds" if time != 1 else "1 second"


def wait_of(left: float) -> str:
    """A time to wait in words, rounded up."""
    if left <= 90:
        return seconds(math.ceil(left))
    return f"{math.ceil(left / 60)} minutes"


def no_account() -> Decision:
    """NSS does not know the user."""
    return denied(Outcome.DENIED, "no account on this machine")


def no_first_factor(method: str) -> Decision:
    """sshd has not accepted the method that the PAM line requires."""
    reason = f"first_factor={method} is required, but sshd has not accepted it"
    return denied(Outcome.DENIED, reason, "This login also requires your key. " + ASK_THE_ADMINISTRATOR)


def unlisted(user: str, *, ignore: bool) -> Decision:
    """The user is in no table."""
    reason = f"{user} has no token in the user table"
    if ignore:
        return Decision(Outcome.UNLISTED, Result.IGNORED, reason)
    return denied(
        Outcome.UNLISTED, reason, "No phone is on record for you on this machine. " + ASK_THE_ADMINISTRATOR
    )


def nobody_to_ask(reason: str, unknown: str) -> Decision:
    """Nobody can be asked. `unknown` is what would have named a person; empty if there is no second person who could
    approve."""
    what = f"This machine does not know {unknown}." if unknown else "Nobody can be asked to approve this."
    return denied(Outcome.UNLISTED, reason, f"{what} {ASK_THE_ADMINISTRATOR}")


#: The outcomes after which the next person is asked: no request was sent, or it was not answered.
ASK_THE_NEXT = (Outcome.NO_DEVICE, Outcome.UNLISTED, Outcome.TIMED_OUT, Outcome.THROTTLED)


def by_second_person(asked: Sequence[tuple[str, Decision]], elapsed: float) -> Decision:
    """The decision of a login, after these people were asked in turn. The last of them has decided, if anybody has."""
    approver, decision = asked[-1]
    everybody = ", ".join(name for name, _each in asked)
    if decision.outcome in ASK_THE_NEXT:
        decision = next((each for _name, each in asked if each.outcome is Outcome.TIMED_OUT), decision)
    messages = {
        Outcome.APPROVED: f"Approved by {approver}.",
        Outcome.DENIED: f"{approver} has not approved this.",
        Outcome.TIMED_OUT: f"Nobody has answered in time. Asked: {everybody}.",
        Outcome.NO_DEVICE: f"Of those who may approve, nobody has a phone to ask: {everybody}.",
        Outcome.UNLISTED: f"No phone is on record for those who may approve: {everybody}.",
        Outcome.THROTTLED: f"No request could be sent. Try again later. Those who may approve: {everybody}.",
    }
    told = "; ".join(f"{name}: {each.reason or each.outcome.value}" for name, each in asked)
    message = messages.get(decision.outcome, decision.message)
    reason = f"a second person must approve; {told}"
    return replace(decision, reason=reason, message=message, elapsed=elapsed)


def by_owner(owner: str, agent: str, decision: Decision) -> Decision:
    """The decision of a login of an account, after its owner was asked."""
    messages = {
        Outcome.APPROVED: f"Approved by {owner}.",
        Outcome.DENIED: f"{owner} has not approved this.",
        Outcome.TIMED_OUT: f"{owner} has not answered in time.",
        Outcome.NO_DEVICE: f"{owner} has no phone to ask. {ASK_THE_ADMINISTRATOR}",
    }
    message = messages.get(decision.outcome, decision.message)
    if decision.message in (OTHERS_CAME_FIRST, AT_CAPACITY):
        message = f"Other requests to {owner} came first; none was sent. Try again in a minute."
    reason = f"{agent} acts for {owner}" + (f"; {decision.reason}" if decision.reason else "")
    return replace(decision, reason=reason, message=message)


def withdrawn(owner: str) -> Decision:
    """The owner of an account logs in, and so its request has ended."""
    message = f"{owner} logs in just now, so this request was withdrawn. Try again in a minute."
    return denied(Outcome.THROTTLED, f"withdrawn: a login of {owner} came", message)


def bypassed(bypass: Bypass) -> Decision:
    """An administrator lets the person in without the phone."""
    reason = f"{bypass.user} is bypassed by {bypass.made_by}" + (
        f": {bypass.reason}" if bypass.reason else ""
    )
    return Decision(Outcome.BYPASSED, Result.IGNORED, reason, BYPASSED)


def covered(cover: Cover, approver: str) -> Decision:
    """A kept session covers the login."""
    what = "further connection of" if cover.connection else "within"
    reason = f"{what} the session that {approver} approved {cover.age:.0f} s ago through {cover.service}"
    return Decision(Outcome.COVERED, Result.IGNORED, reason, session=cover.session)


def covered_elsewhere(host: str, approver: str, session: str, message: str) -> Decision:
    """The gateway has said that the login begins in one of the same person on another host."""
    reason = f"the connection begins in a login of {approver} on {host}, says the gateway"
    return Decision(
        Outcome.COVERED, Result.IGNORED, reason, message, session=session, covered_by=host, of_gateway=True
    )


def misconfigured(reason: str) -> Decision:
    """Something is wrong on this machine."""
    message = "The phone check is misconfigured on this machine. " + ASK_THE_ADMINISTRATOR
    return denied(Outcome.MISCONFIGURED, reason, message)


def rescued(reason: str) -> Decision:
    """The settings cannot be used, and the PAM line names this user for that. Nothing is shown."""
    reason = (
        f"the settings cannot be used: rescue= on the PAM line let this user in without the phone: {reason}"
    )
    return Decision(Outcome.MISCONFIGURED, Result.IGNORED, reason)


def cancelled(reason: str) -> Decision:
    """The application is gone, or the user declined the request."""
    return denied(Outcome.CANCELLED, reason)


def phone_lost(elapsed: float = 0.0) -> Decision:
    """An administrator has reported the phone lost, and no request was sent."""
    return denied(Outcome.NO_DEVICE, _PHONE_LOST, PHONE_LOST, elapsed)


def phone_lost_meanwhile() -> Decision:
    """An administrator has reported the phone lost while the request was out."""
    return denied(Outcome.DENIED, _PHONE_LOST, PHONE_LOST)


def throttled(reason: str, wait: float, *, can_type: bool) -> Decision:
    """No request may be sent now. The message is the same whether or not the person has recovery codes.

    `can_type`: whether the person can answer a prompt, and so type a code.
    """
    otherwise = ", or use a recovery code" if can_type else ""
    message = f"Too many requests: none was sent. Wait {wait_of(wait)}{otherwise}."
    return denied(Outcome.THROTTLED, f"{reason}; {wait_of(wait)} to wait", message)


def at_capacity() -> Decision:
    """Too many simultaneous logins of this person from this origin."""
    reason = "too many simultaneous logins of this user from this origin (throttle.logins_at_once)"
    return denied(Outcome.THROTTLED, reason, AT_CAPACITY)


def turn_did_not_come(elapsed: float = 0.0) -> Decision:
    """Other logins of this person took all the time."""
    reason = "other logins of this user were decided first, and no time was left; no request was sent"
    return denied(Outcome.THROTTLED, reason, OTHERS_CAME_FIRST, elapsed)


def too_many_codes(reason: str, wait: float) -> Decision:
    """The recovery code was not checked."""
    message = f"Too many wrong recovery codes. Wait {wait_of(wait)}, or use your phone."
    return denied(Outcome.THROTTLED, f"{reason}; {wait_of(wait)} to wait", message)


def wrong_code(before: Decision | None) -> Decision:
    """The recovery code is not one of this person's, or was used before; `before` is why it was asked for."""
    reason = "wrong recovery code" + (f"; before that: {before.reason}" if before else "")
    message = "This recovery code is wrong or was already used."
    return denied(Outcome.DENIED, reason, message, before.elapsed if before else 0.0)


def no_code(*, withheld: bool) -> Decision:
    """The user typed something that is no recovery code. `withheld`: sshd did not pass the text on."""
    if withheld:
        reason = (
            "sshd did not pass on the recovery code that was typed, as for root unless PermitRootLogin is yes"
        )
        return denied(
            Outcome.DENIED,
            reason,
            "sshd accepts no recovery code for this account. Log in again, and press Enter instead of typing one.",
        )
    message = "This is not a recovery code, and your phone got no request. Log in again."
    return denied(Outcome.DENIED, "the user typed something that is no recovery code", message)


def code_for_another(asker: str, approver: str) -> Decision:
    """A recovery code was typed where another person must approve."""
    reason = f"{approver} must approve for {asker}, and a recovery code was typed instead"
    message = f"A recovery code does not replace the approval of another person. {ASK_THE_ADMINISTRATOR}"
    return denied(Outcome.DENIED, reason, message)


def recovered(left: int, before: Decision | None) -> Decision:
    """A recovery code was redeemed."""
    codes = "1 recovery code is left" if left == 1 else f"{left} recovery codes are left"
    reason = codes + (f"; before that: {before.reason}" if before else "")
    message = f"The recovery code was accepted: {codes}."
    if left <= 2:
        message += " Ask your administrator for new ones."
    return Decision(Outcome.RECOVERED, Result.SUCCESS, reason, message, before.elapsed if before else 0.0)


def answered(session: Session, service: ServiceSettings) -> Decision:
    """The final status of the session. Only `active` is an approval.

    The reason names a clock that had to be corrected.
    """
    correction = session.transport.clock_correction if session.transport else 0.0
    clock = clock_difference(correction) if correction else ""
    if session.active:
        return Decision(Outcome.APPROVED, Result.SUCCESS, clock, "Approved on your phone.")
    clock = clock and f"; {clock}"
    status = session.session_status.name
    if session.in_progress or status == "timeout":
        message = f"Nobody answered on your phone within {seconds(service.timeout)}."
        return denied(Outcome.TIMED_OUT, f"the phone did not answer in time{clock}", message)
    why, message = _NOT_APPROVED[status]
    return denied(Outcome.DENIED, f"{why} (status {status}){clock}", message)


def not_asked(reason: str) -> Decision:
    """IAMPASS understood the request, but asked nobody, for this reason."""
    if reason == NO_PHONE:
        message = "No phone is registered for you at IAMPASS. " + ASK_THE_ADMINISTRATOR
        return denied(Outcome.NO_DEVICE, reason, message)
    message = f"IAMPASS did not ask your phone: {reason}. {ASK_THE_ADMINISTRATOR}"
    return denied(Outcome.DENIED, reason, message)


def unavailable(error: Unavailable, service: ServiceSettings, outage: bool, peer: str) -> Decision:
    """`peer`, IAMPASS or the gateway, is unreachable, or what the gateway needs: tolerated only where this is an
    outage, before a request was sent."""
    behind = AWAY.get(error.away, "")
    if service.unavailable.value == "ignore" and outage:
        message = f"{behind or f'{peer} is unreachable.'} Continuing without phone approval."
        return Decision(Outcome.UNAVAILABLE, Result.IGNORED, error.diagnostics(), message)
    message = f"{behind or f'{peer} is unreachable from this machine.'} {TRY_AGAIN}"
    return denied(Outcome.UNAVAILABLE, error.diagnostics(), message)


def failed(error: IampassError, peer: str) -> Decision:
    """An error of IAMPASS or the gateway (`peer`) that is no outage: never tolerated."""
    if isinstance(error, NotFound):
        return denied(Outcome.DENIED, f"{error}: {peer} no longer knows the session", ENDED)
    if isinstance(error, ProtocolError):
        message = f"{peer} sent an invalid response. {ASK_THE_ADMINISTRATOR}"
        return denied(Outcome.UNAVAILABLE, error.diagnostics(), message)
    return misconfigured(error.diagnostics())

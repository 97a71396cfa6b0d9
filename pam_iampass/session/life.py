"""The life of a kept session: what each event changes, in which state. Pure functions; the store carries them out.

Only `closed` and `away` come from IAMPASS, and only after it has reported them twice. An outage is no event.
A login session counts from its registration with the enforcer, not from when the agent is told of it: an application
can be stopped in between. So an approved session is ended like an open one; the enforcer says whether there is any.
`docs/reference/session-life.md` is made from these functions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pam_iampass.config.value_types import Enforcement
from pam_iampass.enforcer.protocol import Reason, Verb
from pam_iampass.outcome import SessionEvent
from pam_iampass.session.kept_session import AttachedLogin, EndCause, KeptSession, Opener, State

_VERBS = {Enforcement.END: Verb.END, Enforcement.LOCK: Verb.LOCK, Enforcement.REVOKE: Verb.REVOKE}
_REASONS = {
    EndCause.PHONE: Reason.CLOSED,
    EndCause.GATEWAY: Reason.GATEWAY,
    EndCause.AWAY: Reason.AWAY,
    EndCause.NO_PHONE: Reason.NO_PHONE,
    EndCause.ADMINISTRATOR: Reason.ADMINISTRATOR,
    EndCause.LONGEST: Reason.LONGEST,
    EndCause.KILLED: Reason.KILLED,
}
_WHAT = {
    Verb.END: "its logins are ended",
    Verb.LOCK: "its logins are locked",
    Verb.UNLOCK: "its logins are unlocked",
    Verb.REVOKE: "it covers nothing any more",
}
_NEVER_OPENED = (EndCause.LOGIN, EndCause.NOT_OPENED, EndCause.NOT_APPROVED)
_ENDED = {
    EndCause.LOGIN: "the login is over",
    EndCause.NOT_OPENED: "no login session was opened after the approval",
    EndCause.PHONE: "it was ended on the phone or at IAMPASS",
    EndCause.GATEWAY: "it was ended on the phone, at IAMPASS or at the gateway",
    EndCause.AWAY: "the phone is no longer near",
    EndCause.NO_PHONE: "IAMPASS knows no phone of the person any more",
    EndCause.ADMINISTRATOR: "an administrator ended it",
    EndCause.LONGEST: "it was kept as long as the settings allow",
    EndCause.KILLED: "the process of the login ended without closing it; what is known to be left of it is ended",
    EndCause.NOT_APPROVED: "the login that began it was not approved",
}


@dataclass(frozen=True)
class Step:
    """The effect of an event."""

    kept: KeptSession
    """The session afterwards."""
    record: SessionEvent | None = None
    """The audit record to write."""
    reason: str = ""
    """The reason in that record."""


def approved(kept: KeptSession, now: float, since: float, opener: Opener) -> Step:
    """The phone has approved the login of `opener`, `now` in seconds since boot, `since` in Unix time."""
    if kept.state is not State.ASKED:
        return Step(kept)
    kept = replace(kept, state=State.APPROVED, approved=now, since=since)
    return Step(replace(kept, awaited=(opener,)))


def not_approved(kept: KeptSession) -> Step:
    """Nobody waits for the approval any more."""
    return _ended(kept, EndCause.NOT_APPROVED) if kept.state is State.ASKED else Step(kept)


def opened(kept: KeptSession, login: AttachedLogin) -> Step:
    """A login session was opened, and is attached. Where the session has been ended meanwhile, so is the login.

    The id is known to all users of the machine: it opens as many logins as were approved or covered, and no more. In
    sshd it can be from a file of the user: there only the account of the login is attached (su and sudo open one for
    their target), and to an account that several people share only by the process that was approved or covered.
    """
    others = tuple(each for each in kept.attached if each.pid != login.pid)
    awaited = kept.awaited
    if len(others) == len(kept.attached):
        if not awaited:
            return Step(kept)
        # Some applications open the login session in another process than the one that has asked.
        own = next((each for each in awaited if each.pid == login.pid), awaited[0])
        awaited = tuple(each for each in awaited if each is not own)
    if login.service != kept.service or kept.ended_by in _NEVER_OPENED:
        return Step(kept)
    if kept.through_sshd and login.user != kept.user:
        return Step(kept)
    known = {each.pid for each in kept.awaited} | {each.pid for each in kept.attached}
    if kept.through_sshd and kept.approver != kept.user and login.pid not in known:
        return Step(kept)
    kept = replace(kept, attached=(*others, login), awaited=awaited)
    if kept.state is State.ENDING:
        return Step(_enforcing(kept))
    if kept.away:
        kept = replace(kept, wanted=_VERBS[kept.rules.when_away], why=Reason.AWAY)
    reason = "another login is attached" if others else ""
    return Step(replace(kept, state=State.OPEN), SessionEvent.OPENED, reason)


def login_over(kept: KeptSession, pid: int, *, closed: bool) -> Step:
    """An attached login is over. With the last one the session ends, unless one that it covered is still to open.

    `closed` is whether the login was closed; otherwise its process has ended, and what it has started may go on.
    """
    attached = tuple(each for each in kept.attached if each.pid != pid)
    if len(attached) == len(kept.attached):
        return Step(kept)
    kept = replace(kept, attached=attached, killed=kept.killed or not closed)
    if attached or kept.awaited:
        return Step(kept)
    if kept.state is State.ENDING:
        # Processes of the login may be left: the enforcer says when they are not.
        return Step(kept if kept.wanted is Verb.END else replace(kept, wanted=None))
    return _ended(kept, EndCause.KILLED if kept.killed else EndCause.LOGIN)


def not_opened(kept: KeptSession, pid: int) -> Step:
    """A process that was let in has ended, and has opened no login session."""
    awaited = tuple(each for each in kept.awaited if each.pid != pid)
    if len(awaited) == len(kept.awaited):
        return Step(kept)
    kept = replace(kept, awaited=awaited)
    if awaited or kept.attached or kept.state is State.ENDING:
        return Step(kept)
    return _ended(kept, EndCause.NOT_OPENED if kept.state is State.APPROVED else EndCause.LOGIN)


def revoked(kept: KeptSession) -> Step:
    """It covers nothing from now on.

    After a restart of the agent nothing tells whether a login still runs, or another process has its id; or IAMPASS
    knows no phone of the person any more.
    """
    return Step(replace(kept, revoked=True))


def longest(kept: KeptSession) -> Step:
    """It has been kept as long as the settings allow."""
    if not kept.is_let_in:
        return Step(kept)
    return _ended(kept, EndCause.LONGEST)


def administrator(kept: KeptSession) -> Step:
    """An administrator wants it ended."""
    return Step(kept) if kept.state is State.ENDING else _ended(kept, EndCause.ADMINISTRATOR)


def active(kept: KeptSession) -> Step:
    """IAMPASS reports `active`."""
    if not kept.is_let_in or not kept.away:
        return Step(kept)
    kept = replace(kept, away=False)
    if kept.locked and kept.rules.unlock_on_return:
        kept = replace(kept, locked=False, wanted=Verb.UNLOCK, why=Reason.BACK)
        return Step(kept, SessionEvent.BACK, _WHAT[Verb.UNLOCK])
    return Step(kept, SessionEvent.BACK)


def away(kept: KeptSession) -> Step:
    """IAMPASS has reported twice that the phone is no longer near."""
    if not kept.is_let_in or kept.away:
        return Step(kept)
    if kept.rules.when_away is Enforcement.END:
        return _ended(kept, EndCause.AWAY)
    verb = _VERBS[kept.rules.when_away]
    kept = replace(kept, away=True, revoked=True, wanted=verb, why=Reason.AWAY, locked=verb is Verb.LOCK)
    return Step(kept, SessionEvent.AWAY, _WHAT[verb])


def closed(kept: KeptSession, status: str) -> Step:
    """IAMPASS has reported twice that the session is over, with this status."""
    if not kept.is_let_in:
        return Step(kept)
    cause = EndCause.GATEWAY if kept.of_gateway else EndCause.PHONE
    return _ended(replace(kept, told=True), cause, f" (status {status})")


def no_phone(kept: KeptSession) -> Step:
    """IAMPASS has reported twice that the person has no phone any more."""
    return _ended(kept, EndCause.NO_PHONE) if kept.is_let_in else Step(kept)


def covered(kept: KeptSession, now: float, opener: Opener | None) -> Step:
    """It has covered a login, `now` in Unix time, which `opener` attaches if it is a further connection."""
    if kept.revoked or not kept.is_let_in:
        return Step(kept)
    awaited = kept.awaited if opener is None else (*kept.awaited, opener)
    return Step(replace(kept, covered=kept.covered + 1, last_covered=now, awaited=awaited))


def led_on(kept: KeptSession) -> Step:
    """A login on another host begins in one of its logins."""
    return Step(replace(kept, leads_on=True)) if kept.is_let_in else Step(kept)


def told(kept: KeptSession) -> Step:
    """IAMPASS has ended the session, or knows it no longer."""
    return Step(replace(kept, told=True))


def enforced(kept: KeptSession, verb: Verb, *, anything: bool) -> Step:
    """The enforcer has done `verb`; `anything` is whether there was a login session to do it to.

    An end is wanted until the logins are over, and while one may still be opened without the agent being told; what
    else was wanted has been done once and for all.
    """
    if kept.wanted is not verb or (verb is Verb.END and (kept.awaited or (anything and kept.attached))):
        return Step(kept)
    kept = replace(kept, wanted=None, why=None)
    return Step(replace(kept, attached=()) if kept.state is State.ENDING else kept)


def _ended(kept: KeptSession, cause: EndCause, detail: str = "") -> Step:
    asked = kept.state is State.ASKED
    kept = replace(kept, state=State.ENDING, ended_by=cause, revoked=True, away=False)
    kept = replace(kept, wanted=None, why=None)
    kept = kept if asked else _enforcing(kept)
    if cause in _NEVER_OPENED:
        kept = replace(kept, awaited=())
    reason = _ENDED[cause] + detail
    if kept.wanted is not None and cause is not EndCause.KILLED:
        reason = f"{reason}; {_WHAT[kept.wanted]}"
    return Step(kept) if asked else Step(kept, SessionEvent.ENDED, reason)


def _enforcing(kept: KeptSession) -> KeptSession:
    """An ended session, with what has to be done to its logins."""
    if kept.ended_by not in _REASONS:
        return kept
    rules, cause = kept.rules, kept.ended_by
    action = rules.when_away if cause is EndCause.AWAY else rules.when_closed
    # The settings are for the phone: an administrator ends the login.
    wanted = Verb.END if cause in (EndCause.ADMINISTRATOR, EndCause.KILLED) else _VERBS[action]
    return replace(kept, wanted=wanted, why=_REASONS[cause])

"""Why there is no session: what a host, its administrator and the person are told."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from pam_iampass.login.decisions import (
    ASK_THE_ADMINISTRATOR,
    AT_CAPACITY,
    NOT_FROM_HERE,
    OTHERS_CAME_FIRST,
    PHONE_LOST,
)
from pam_iampass.login.throttle import Cause, Refusal
from pam_iampass.outcome import Outcome


class Reason(enum.Enum):
    """Why a start is not made, as the host is told."""

    UNKNOWN_USER = Outcome.UNLISTED, 1
    NOT_ON_THIS_HOST = Outcome.UNLISTED, 2
    HOST_THROTTLED = Outcome.THROTTLED, 1
    """The limits of the host, or of the person from all hosts; or the brake."""
    AT_CAPACITY = Outcome.THROTTLED, 2
    """Too many logins of the person wait."""
    NO_TURN = Outcome.THROTTLED, 3
    """Other logins of the person took all the time."""
    PHONE_LOST = Outcome.DENIED, 1
    """The person's phone was reported lost while the login waited for its turn."""
    HOST_SUSPENDED = Outcome.MISCONFIGURED, 1
    HOST_NOT_ADMITTED = Outcome.MISCONFIGURED, 2
    WRONG_MACHINE = Outcome.MISCONFIGURED, 3
    CLOCK_OFF = Outcome.MISCONFIGURED, 4
    RESTORED = Outcome.MISCONFIGURED, 5
    """The database is an old copy, and nobody has confirmed it."""
    CODES_NOT_HERE = Outcome.DENIED, 11
    """The hosts of this group redeem no recovery codes."""
    WRONG_CODE = Outcome.DENIED, 12
    TOO_MANY_CODES = Outcome.THROTTLED, 13
    BYPASSED = Outcome.BYPASSED, 11
    """An administrator lets the person in without the phone."""
    IAMPASS_AWAY = Outcome.UNAVAILABLE, 1
    DATABASE_AWAY = Outcome.UNAVAILABLE, 2
    TRY_AGAIN = Outcome.UNAVAILABLE, 3
    """The outcome of an earlier call with this request id is not known: the phone may be ringing."""
    REQUEST_ID_REUSED = Outcome.UNAVAILABLE, 4
    """An earlier call has the same id and other parameters. Its phone may be ringing."""

    @property
    def outcome(self) -> Outcome:
        """How the login ends."""
        return self.value[0]


_REFUSED = {
    Cause.LIMIT: Reason.HOST_THROTTLED,
    Cause.AT_CAPACITY: Reason.AT_CAPACITY,
    Cause.NO_TURN: Reason.NO_TURN,
    Cause.PHONE_LOST: Reason.PHONE_LOST,
}
_WHY = {
    Reason.NOT_ON_THIS_HOST: "nobody of this name may log in to this host: pam-iampass-gateway user may NAME HOST",
    Reason.HOST_THROTTLED: "this host has asked too often, or was refused by several people",
    Reason.AT_CAPACITY: "too many logins of this person wait, on all hosts together",
    Reason.NO_TURN: "other logins of this person were decided first, and no time was left",
    Reason.PHONE_LOST: "the phone was reported lost (pam-iampass-gateway phone lost)",
    Reason.HOST_SUSPENDED: "pam-iampass-gateway host resume allows this host again",
    Reason.HOST_NOT_ADMITTED: "this host waits for pam-iampass-gateway host admit",
    Reason.WRONG_MACHINE: "another machine has this credential: each machine must join separately",
    Reason.CLOCK_OFF: "set the clock of this machine (timedatectl), or of the gateway",
    Reason.RESTORED: "its database was restored: pam-iampass-gateway restored --confirm",
    Reason.CODES_NOT_HERE: "it redeems no codes for the hosts of this group (codes in gateway.yaml)",
    Reason.WRONG_CODE: "the person has no such code, or has used it",
    Reason.TOO_MANY_CODES: "too many wrong recovery codes",
    Reason.IAMPASS_AWAY: "it cannot reach IAMPASS",
    Reason.DATABASE_AWAY: "it cannot use its database",
    Reason.TRY_AGAIN: "it does not know whether the phone was asked, or whether the code is used up now",
    Reason.REQUEST_ID_REUSED: "it knows the id of this request from another: report this",
}
"""The texts for the administrator of a host."""
_MESSAGES = {
    Reason.AT_CAPACITY: AT_CAPACITY,
    Reason.NO_TURN: OTHERS_CAME_FIRST,
    Reason.PHONE_LOST: PHONE_LOST,
    Reason.CODES_NOT_HERE: "Recovery codes are not accepted on this machine. Use your phone, or another machine.",
    Outcome.UNLISTED: f"You may not log in here. {ASK_THE_ADMINISTRATOR}",
    Outcome.THROTTLED: "Too many requests from this machine: none was sent. Try again in some minutes.",
    Outcome.MISCONFIGURED: NOT_FROM_HERE,
    Outcome.UNAVAILABLE: "The gateway could not ask your phone. Try again in a minute, or ask your administrator.",
}
"""The texts for the person, by reason or outcome, in the words that a host without a gateway has for the same."""


@dataclass(frozen=True)
class RefusedStart:
    """A start that is not made."""

    reason: Reason
    why: str = ""
    """More about it, for the administrator."""
    wait: float = 0.0
    """Seconds until it may be made; 0 if nobody knows."""

    @classmethod
    def of(cls, refusal: Refusal) -> RefusedStart:
        """The refusal of a start by the rules of the turns."""
        return cls(_REFUSED[refusal.cause], refusal.reason, refusal.wait)


def reason_for_host(reason: str) -> str:
    """The reason that a host is told. For a name that nobody has, it is the same as for a person of other hosts: a host
    learns no names."""
    return Reason.NOT_ON_THIS_HOST.name if reason == Reason.UNKNOWN_USER.name else reason


def explanation_of(reason: str, wait: float = 0.0, message: str = "") -> dict[str, dict[str, str | int]]:
    """The explanation that a host is told beside a reason of ours (`reason_for_host`). `wait` is the number of seconds
    after which a start would be made that the limits have refused."""
    known = Reason.__members__.get(reason)
    if known not in _WHY:
        return {}
    told = message or _MESSAGES.get(known) or _MESSAGES[known.outcome]
    said: dict[str, str | int] = {"outcome": known.outcome.value, "why": _WHY[known], "message": told}
    return {"refusal": {**said, "retry_after": math.ceil(wait)}}

"""Why there is no session: what a host, its administrator and the person are told."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from pam_iampass.login.decisions import (
    ASK_THE_ADMINISTRATOR,
    AT_CAPACITY,
    AWAY,
    NOT_FROM_HERE,
    OTHERS_CAME_FIRST,
    TRY_AGAIN,
)
from pam_iampass.login.decisions import PHONE_LOST as _PHONE_LOST
from pam_iampass.login.throttle import Cause, Refusal
from pam_iampass.outcome import Outcome

_THROTTLED = "Too many requests from this machine: none was sent. Try again in some minutes."
_UNLISTED = f"You may not log in here. {ASK_THE_ADMINISTRATOR}"
_UNAVAILABLE = f"The gateway could not ask your phone. {TRY_AGAIN}"
_NO_CODES = "Recovery codes are not accepted on this machine. Use your phone, or another machine."


class Reason(enum.Enum):
    """Why a start is not made, or a code not redeemed: the outcome, the text for the administrator of the host, and the
    one for the person, in the words that a host without a gateway has for the same. A host is told the name of one
    without texts only."""

    UNKNOWN_USER = Outcome.UNLISTED, "", ""
    """No person has this name. Hosts read NOT_ON_THIS_HOST."""
    NOT_ON_THIS_HOST = (
        Outcome.UNLISTED,
        "nobody of this name may log in to this host: pam-iampass-gateway user may NAME HOST",
        _UNLISTED,
    )
    HOST_THROTTLED = (
        Outcome.THROTTLED,
        "this host has asked too often, or was refused by several people",
        _THROTTLED,
    )
    """The limits of the host, or of the person from all hosts; or the brake."""
    AT_CAPACITY = (
        Outcome.THROTTLED,
        "too many logins of this person wait, on all hosts together",
        AT_CAPACITY,
    )
    NO_TURN = (
        Outcome.THROTTLED,
        "other logins of this person were decided first, and no time was left",
        OTHERS_CAME_FIRST,
    )
    OWNER_FIRST = (
        Outcome.THROTTLED,
        "withdrawn: the person for whom this account acts has a login of their own",
        "The person who must approve this logs in just now, so this request was withdrawn. Try again in a minute.",
    )
    """The denial of an account that acts for a person, if its request was on the phone."""
    PHONE_LOST = (
        Outcome.NO_DEVICE,
        "the phone was reported lost (pam-iampass-gateway phone lost)",
        _PHONE_LOST,
    )
    """IAMPASS has not disabled the lost phone yet, or it was reported while the login waited for its turn."""
    PHONE_LOST_MEANWHILE = (
        Outcome.DENIED,
        "the phone was reported lost after it was asked (pam-iampass-gateway phone lost)",
        _PHONE_LOST,
    )
    """Beside PHONE_LOST, since people are offered no recovery code once their phone was asked."""
    HOST_SUSPENDED = (
        Outcome.MISCONFIGURED,
        "pam-iampass-gateway host resume allows this host again",
        NOT_FROM_HERE,
    )
    HOST_NOT_ADMITTED = (
        Outcome.MISCONFIGURED,
        "this host waits for pam-iampass-gateway host admit",
        NOT_FROM_HERE,
    )
    WRONG_MACHINE = (
        Outcome.MISCONFIGURED,
        "another machine has this credential: each machine must join separately",
        NOT_FROM_HERE,
    )
    CLOCK_OFF = (
        Outcome.MISCONFIGURED,
        "set the clock of this machine (timedatectl), or of the gateway",
        NOT_FROM_HERE,
    )
    RESTORED = (
        Outcome.MISCONFIGURED,
        "its database was restored: pam-iampass-gateway restored --confirm",
        NOT_FROM_HERE,
    )
    """The database is an old copy, and nobody has confirmed it."""
    CODES_NOT_HERE = (
        Outcome.DENIED,
        "it redeems no codes for the hosts of this group (codes in gateway.yaml)",
        _NO_CODES,
    )
    WRONG_CODE = Outcome.DENIED, "the person has no such code, or has used it", ""
    TOO_MANY_CODES = Outcome.THROTTLED, "too many wrong recovery codes", _THROTTLED
    BYPASSED = Outcome.BYPASSED, "", ""
    """An administrator lets the person in without the phone."""
    IAMPASS_AWAY = (
        Outcome.UNAVAILABLE,
        "it gets no usable answer from IAMPASS",
        f"{AWAY['IAMPASS_AWAY']} {TRY_AGAIN}",
    )
    DATABASE_AWAY = (
        Outcome.UNAVAILABLE,
        "it cannot use its database",
        f"{AWAY['DATABASE_AWAY']} {TRY_AGAIN}",
    )
    IAMPASS_REFUSES = (
        Outcome.MISCONFIGURED,
        "IAMPASS does not know the person, or refuses the gateway's requests: pam-iampass-gateway check",
        f"IAMPASS does not know you, or does not know the gateway. {ASK_THE_ADMINISTRATOR}",
    )
    """A complete 401, 403 or 404: no phone rang."""
    TRY_AGAIN = (
        Outcome.UNAVAILABLE,
        "it does not know whether the phone was asked, or whether the code is used up now",
        _UNAVAILABLE,
    )
    """The outcome of an earlier call with this request id is not known: the phone may be ringing."""
    REQUEST_ID_REUSED = (
        Outcome.UNAVAILABLE,
        "it knows the id of this request from another: report this",
        _UNAVAILABLE,
    )
    """An earlier call has the same id and other parameters. Its phone may be ringing."""

    def __init__(self, outcome: Outcome, why: str, message: str) -> None:
        self.outcome = outcome
        self.why = why
        self.message = message


_REFUSED = {
    Cause.LIMIT: Reason.HOST_THROTTLED,
    Cause.AT_CAPACITY: Reason.AT_CAPACITY,
    Cause.NO_TURN: Reason.NO_TURN,
    Cause.PHONE_LOST: Reason.PHONE_LOST,
}


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
    if known is None or not known.why:
        return {}
    said: dict[str, str | int] = {"outcome": known.outcome.value, "why": known.why}
    return {"refusal": {**said, "message": message or known.message, "retry_after": math.ceil(wait)}}

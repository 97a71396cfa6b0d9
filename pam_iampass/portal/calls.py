"""The calls that a gateway answers at its unix socket: what is sent, what is answered, and the errors.

Each is declared here and nowhere else. The gateway, the portal's client and `docs/inside/acts-protocol.md` go by it.
This file imports nothing of the package, since gateway and portal are packages of their own.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, TypeVar, get_args

A = TypeVar("A")
SOCKET = Path("/run/iampass-gateway/acts.sock")


class Error(enum.Enum):
    """Why a call is refused: the HTTP status, and what it means."""

    BAD_BODY = 400, "The body is no valid JSON object."
    BAD_FIELD = 400, "A field is missing, unknown or wrong: `parameter` names it."
    NOT_SIGNED_IN = 401, "The sign-in is unknown or over: sign in again."
    REFUSED = 403, "The proof is not accepted: begin again. The answer does not say why."
    NOT_PERMITTED = 403, "The person may not do or see this."
    UNKNOWN_CALL = 404, "There is no such call."
    WRONG_METHOD = 405, "All calls are POST."
    TOO_SLOW = 408, "The body was not complete in time. This answer has no JSON."
    ACT_REFUSED = 409, "Nothing was done, because it is not possible now. `detail` says why, and what to do."
    TOO_LARGE = 413, "The body is too large. This answer has no JSON."
    BUSY = (
        429,
        "This sign-in, link or person, or all strangers together, made too many calls at a time or in a minute: wait.",
    )
    RESTORED = 503, "The database is an old copy that nobody has confirmed. The gateway answers nothing."
    DATABASE_AWAY = 503, "The database failed. Nothing was done."
    IAMPASS_AWAY = 503, "IAMPASS failed. What the act changes at the gateway was done."
    UNKNOWN_OUTCOME = 503, "The act may have been done or not: look before you repeat it."
    STOPPING = 503, "The gateway stops: call again."

    @property
    def status(self) -> int:
        return self.value[0]

    @property
    def words(self) -> str:
        """The meaning, for people."""
        return self.value[1]


COMMON = (
    Error.BAD_BODY,
    Error.BAD_FIELD,
    Error.UNKNOWN_CALL,
    Error.WRONG_METHOD,
    Error.TOO_SLOW,
    Error.TOO_LARGE,
    Error.BUSY,
    Error.RESTORED,
    Error.DATABASE_AWAY,
    Error.UNKNOWN_OUTCOME,
    Error.STOPPING,
)
"""The errors that each call may have."""


# Answers

PERSON = "the name of the person who has signed in, or whom the link is for"
ROLES = "the roles of this sign-in, besides the person's own"
CONFIRMED = (
    "false: the gateway answers nothing else until the person has approved the passkey on the phone"
    " (`passkey_confirm`)"
)


@dataclass(frozen=True)
class Options:
    options: Annotated[Mapping[str, Any], "for `navigator.credentials` in the browser, as JSON"]


@dataclass(frozen=True)
class LinkOptions(Options):
    person: Annotated[str, PERSON]
    phone: Annotated[bool, "whether the person must also approve on the phone: `/link/ring`"]


@dataclass(frozen=True)
class SignedIn:
    token: Annotated[str, "the token of the sign-in, for all further calls; the content of the cookie"] = (
        field(repr=False)
    )
    person: Annotated[str, PERSON]
    roles: Annotated[Sequence[str], ROLES]
    ends_at: Annotated[datetime, "when the sign-in ends; without use it ends earlier"]
    confirmed: Annotated[bool, CONFIRMED]


@dataclass(frozen=True)
class SignInShown:
    person: Annotated[str, PERSON]
    roles: Annotated[Sequence[str], ROLES]
    confirmed: Annotated[bool, CONFIRMED]
    id: Annotated[str, "the id of the sign-in, for `sign_in_end`"]


@dataclass(frozen=True)
class Ringing:
    phone: Annotated[str | None, "the id of the request; null if the phone was not asked"]
    reason: Annotated[
        str | None,
        "why the phone was not asked: a reason of a start (docs/inside/gateway-protocol.md)",
    ]
    seconds: Annotated[float, "after how many seconds the phone can be asked; 0: not known"]


@dataclass(frozen=True)
class PhoneAnswer:
    state: Annotated[
        str,
        "`waits` (other requests come first), `asked`, or how the request ended: `approved`, `denied`, `over`",
    ]


@dataclass(frozen=True)
class Registered:
    person: Annotated[str, PERSON]


@dataclass(frozen=True)
class Done:
    result: Annotated[Mapping[str, Any], "the result of the act"]
    repeated: Annotated[
        bool,
        "true: an earlier call with the same `once` did the act, and `result` is its result, with null for links and"
        " codes",
    ]


@dataclass(frozen=True)
class Rows:
    rows: Annotated[Sequence[Mapping[str, Any]], "the rows of the view"]
    more: Annotated[bool, "whether there are more rows"]


@dataclass(frozen=True)
class RingingNow:
    rows: Annotated[
        Sequence[Mapping[str, Any]],
        "the requests of the person, the oldest first. `status`: on the phone (`asked`), waiting (`waits`), or ended"
        " within the last 10 s (`approved`, `denied`, or `over` without an answer). `seconds_left`: what is left of"
        " these 10 s. `user`: who logs in, also if the person approves as the second one",
    ]
    seen: Annotated[str, "stands for these requests and the person's open logins; send it with the next call"]


HOW_TO_USE_CODES = (
    "A code logs in without the phone, once. Type it where ssh says «IAMPASS: press Enter to get a request on your"
    " phone, or type a recovery code», or where ssh, sudo, su or login asks for an «IAMPASS recovery code». Strike out"
    " what you have used. Whoever has this sheet, and your password or key, logs in as you: keep it where nobody finds"
    " it, away from the phone. If it is lost, tell your administrators at once: they revoke these codes."
)
"""The text on each sheet of recovery codes, whether the portal or the command made it."""


# Calls

BEARER = "the token of the sign-in; for a link, the part of the link after `#`"
BINDING = "32 random bytes in base64url, from a cookie of the browser. The challenge is valid only with them"
REMOTE = "the IP address of the browser, for limits and records"
ANSWER = "the browser's answer to the options (`PublicKeyCredential.toJSON()`)"
ACT = "the name of the act"
PARAMETERS = "its parameters"
ONCE = (
    "the id of the act, 16 random hexadecimal digits. The gateway does an act with this id once in a sign-in"
)
PHONE = "the id of the request on the phone. An act or a link that needs the phone must send an approved one"


@dataclass(frozen=True)
class Call(Generic[A]):
    """The fields of a call; A has those of its answer. A field that is None is not sent."""

    PATH: ClassVar[str]
    ANSWER: ClassVar[type[Any]]
    ERRORS: ClassVar[tuple[Error, ...]]
    """The errors that not every call may have."""

    def __init_subclass__(cls, path: str, errors: tuple[Error, ...] = ()) -> None:
        super().__init_subclass__()
        (cls.ANSWER,) = get_args(cls.__orig_bases__[0])  # type: ignore[attr-defined]
        cls.PATH, cls.ERRORS = path, errors


@dataclass(frozen=True)
class BeginSignIn(Call[Options], path="/sign-in/challenge"):
    """Begins a sign-in. The call has no name: the passkey says who signs in."""

    binding: Annotated[str, BINDING]


@dataclass(frozen=True)
class SignIn(Call[SignedIn], path="/sign-in", errors=(Error.REFUSED,)):
    """Signs a person in with a passkey."""

    binding: Annotated[str, BINDING]
    answer: Annotated[Mapping[str, Any], ANSWER]
    remote: Annotated[str, REMOTE]
    agent: Annotated[str, "the browser, as it calls itself: one line of 500 characters at most"] = ""


@dataclass(frozen=True)
class ShowSignIn(Call[SignInShown], path="/sign-in/show", errors=(Error.NOT_SIGNED_IN,)):
    """Says whose sign-in this is, also before its passkey is confirmed. The call does not extend the sign-in."""

    token: Annotated[str, BEARER] = field(repr=False)


@dataclass(frozen=True)
class OpenLink(Call[LinkOptions], path="/link/challenge", errors=(Error.REFUSED, Error.ACT_REFUSED)):
    """Begins a registration with a link. The link stays valid."""

    token: Annotated[str, BEARER] = field(repr=False)
    binding: Annotated[str, BINDING]


@dataclass(frozen=True)
class RingForLink(Call[Ringing], path="/link/ring", errors=(Error.REFUSED,)):
    """Asks the person of a link on the phone, within the limits of logins."""

    token: Annotated[str, BEARER] = field(repr=False)
    remote: Annotated[str, REMOTE]


@dataclass(frozen=True)
class WaitForLink(Call[PhoneAnswer], path="/link/answer", errors=(Error.REFUSED,)):
    """Waits up to 25 s for the answer on the phone."""

    token: Annotated[str, BEARER] = field(repr=False)
    phone: Annotated[str, PHONE]


@dataclass(frozen=True)
class UseLink(Call[Registered], path="/link", errors=(Error.REFUSED, Error.ACT_REFUSED)):
    """Registers a passkey and uses up the link. The call signs nobody in."""

    token: Annotated[str, BEARER] = field(repr=False)
    binding: Annotated[str, BINDING]
    answer: Annotated[Mapping[str, Any], ANSWER]
    label: Annotated[str, "the name that the person gives the passkey"]
    remote: Annotated[str, REMOTE]
    phone: Annotated[str | None, PHONE] = None


@dataclass(frozen=True)
class BeginAct(Call[Options], path="/act/challenge", errors=(Error.NOT_SIGNED_IN, Error.NOT_PERMITTED)):
    """Begins the touch of a passkey with which the person confirms exactly this act."""

    token: Annotated[str, BEARER] = field(repr=False)
    act: Annotated[str, ACT]
    parameters: Annotated[Mapping[str, Any], PARAMETERS]
    once: Annotated[str, ONCE]


@dataclass(frozen=True)
class DoAct(
    Call[Done],
    path="/act",
    errors=(
        Error.NOT_SIGNED_IN,
        Error.NOT_PERMITTED,
        Error.REFUSED,
        Error.ACT_REFUSED,
        Error.IAMPASS_AWAY,
    ),
):
    """Carries out an act."""

    token: Annotated[str, BEARER] = field(repr=False)
    act: Annotated[str, ACT]
    parameters: Annotated[Mapping[str, Any], PARAMETERS]
    once: Annotated[str, ONCE]
    remote: Annotated[str, REMOTE]
    touch: Annotated[
        Mapping[str, Any] | None,
        "as `answer`: the touch, if the act needs one",
    ] = None
    phone: Annotated[str | None, PHONE] = None


@dataclass(frozen=True)
class BeginPasskey(
    Call[Options],
    path="/passkey/challenge",
    errors=(Error.NOT_SIGNED_IN, Error.NOT_PERMITTED, Error.ACT_REFUSED),
):
    """Begins the registration of a further passkey, for the act `passkey_add`."""

    token: Annotated[str, BEARER] = field(repr=False)


@dataclass(frozen=True)
class RingForAct(Call[Ringing], path="/phone/ring", errors=(Error.NOT_SIGNED_IN, Error.NOT_PERMITTED)):
    """Asks the person who has signed in on their own phone whether the act may be carried out."""

    token: Annotated[str, BEARER] = field(repr=False)
    act: Annotated[str, ACT]
    remote: Annotated[str, REMOTE]


@dataclass(frozen=True)
class WaitForPhone(Call[PhoneAnswer], path="/phone/answer", errors=(Error.NOT_SIGNED_IN, Error.REFUSED)):
    """Waits up to 25 s for the answer on the phone."""

    token: Annotated[str, BEARER] = field(repr=False)
    phone: Annotated[str, PHONE]


@dataclass(frozen=True)
class WaitForRings(Call[RingingNow], path="/rings", errors=(Error.NOT_SIGNED_IN, Error.NOT_PERMITTED)):
    """Returns the requests on the phone of the person who has signed in: when they or the person's open logins (the
    view `sessions`) differ from `seen`, otherwise after 20 s. The call does not extend the sign-in. After `BUSY`, wait
    for some seconds."""

    token: Annotated[str, BEARER] = field(repr=False)
    seen: Annotated[str, "`seen` of the last answer; without it, the answer comes at once"] = ""


@dataclass(frozen=True)
class Look(Call[Rows], path="/view", errors=(Error.NOT_SIGNED_IN, Error.NOT_PERMITTED)):
    """Reads the rows of a view that the person may see, with the fields that they may see."""

    token: Annotated[str, BEARER] = field(repr=False)
    view: Annotated[str, "the name of the view"]
    filter: Annotated[Mapping[str, Any], "which rows of the view"] = field(default_factory=dict)
    by_itself: Annotated[
        bool, "true: the page refreshes itself, and the call does not extend the sign-in"
    ] = False

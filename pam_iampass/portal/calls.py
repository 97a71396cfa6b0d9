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

    BAD_BODY = 400, "The body is not a JSON object as it must be."
    BAD_FIELD = 400, "A field is missing, unknown or wrong: `parameter` names it."
    NOT_SIGNED_IN = 401, "The sign-in is not known, or it is over: sign in again."
    REFUSED = 403, "What was sent as proof does not count: begin again. It is not said why."
    NOT_PERMITTED = 403, "Whoever has signed in may not do or see this."
    UNKNOWN_CALL = 404, "There is no such call."
    WRONG_METHOD = 405, "All calls are POST."
    TOO_SLOW = 408, "The body was not complete in time. There is no JSON in this answer."
    ACT_REFUSED = 409, "Nothing was done, since it cannot be done now: `detail` says why, and what to do."
    TOO_LARGE = 413, "The body is too large. There is no JSON in this answer."
    BUSY = (
        429,
        "Too much at the same time, or within a minute, by this sign-in, link or person, or by strangers: wait.",
    )
    RESTORED = 503, "The database is an old copy that nobody has confirmed: nothing is answered."
    DATABASE_AWAY = 503, "The database did not do it: nothing was done."
    IAMPASS_AWAY = 503, "IAMPASS did not do it. What the act changes at the gateway was done."
    UNKNOWN_OUTCOME = 503, "It may have been done, or not: look before it is done again."
    STOPPING = 503, "The gateway stops: ask again."

    @property
    def status(self) -> int:
        return self.value[0]

    @property
    def words(self) -> str:
        """What it means, for people."""
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


@dataclass(frozen=True)
class Options:
    options: Annotated[Mapping[str, Any], "what the browser passes on to `navigator.credentials`, as JSON"]


@dataclass(frozen=True)
class LinkOptions(Options):
    person: Annotated[str, "whom the link is for"]
    phone: Annotated[bool, "whether the phone has to approve it as well: `/link/ring`"]


@dataclass(frozen=True)
class SignedIn:
    token: Annotated[str, "the token of the sign-in, for all further calls; the cookie's content"] = field(
        repr=False
    )
    person: Annotated[str, "who has signed in"]
    roles: Annotated[Sequence[str], "the roles that count in this sign-in, besides the person's own"]
    ends_at: Annotated[datetime, "when it ends; it ends earlier without use"]
    confirmed: Annotated[
        bool,
        "false: nothing else is answered before the passkey was approved on the phone (`passkey_confirm`)",
    ]


@dataclass(frozen=True)
class SignInShown:
    person: Annotated[str, "who has signed in"]
    roles: Annotated[Sequence[str], "the roles that count in this sign-in, besides the person's own"]
    confirmed: Annotated[bool, "as in the answer to `/sign-in`"]
    id: Annotated[str, "the id of the sign-in, for `sign_in_end`"]


@dataclass(frozen=True)
class Ringing:
    phone: Annotated[str | None, "the id of the request; null if the phone was not asked"]
    reason: Annotated[str | None, "why the phone was not asked"]
    seconds: Annotated[float, "how long to wait before it can be asked; 0 if that is not known"]


@dataclass(frozen=True)
class PhoneAnswer:
    state: Annotated[
        str, "`waits` (other requests come first), `asked`, or how it has ended: `approved`, `denied`, `over`"
    ]


@dataclass(frozen=True)
class Registered:
    person: Annotated[str, "whose passkey it is. Nobody is signed in by that"]


@dataclass(frozen=True)
class Done:
    result: Annotated[Mapping[str, Any], "what the act results in: see below"]
    repeated: Annotated[
        bool,
        "true: the act was done before, by a call with the same `once`, and this is the result of that call; null in"
        " place of what is shown once",
    ]


@dataclass(frozen=True)
class Rows:
    rows: Annotated[Sequence[Mapping[str, Any]], "the rows: see below"]
    more: Annotated[bool, "whether there are more, which were left out"]


@dataclass(frozen=True)
class RingingNow:
    rows: Annotated[
        Sequence[Mapping[str, Any]],
        "the requests that are on the phone (`status`: `asked`), or wait for their turn (`waits`), and those that ended"
        " within the last 10 s (`approved`, `denied`, or `over` without an answer; `seconds_left` is what is left of"
        " these 10 s), the oldest first; `user` is whose login it is: another person's if the person is to approve it"
        " as the second one",
    ]
    seen: Annotated[
        str, "stands for these requests and the person's open logins, to be sent with the next call"
    ]


HOW_TO_USE_CODES = (
    "A code logs in without the phone, once. Type it where ssh says «IAMPASS: press Enter to get a request on your"
    " phone, or type a recovery code», or where ssh, sudo, su or login asks for an «IAMPASS recovery code». Strike out"
    " what you have used. Whoever has this sheet, and your password or key, logs in as you: keep it where nobody finds"
    " it, away from the phone. If it is lost, tell your administrators at once: they revoke these codes."
)
"""What stands on each sheet of recovery codes, of the portal as of the command."""


# Calls

TOKEN = "the token of the sign-in"  # noqa: S105
LINK = "what stands behind `#` in the link"
BINDING = (
    "32 random bytes in base64url, which the browser has in a cookie: the challenge is good with them only"
)
REMOTE = "the IP address of the browser: limits and records go by it"
ANSWER = "what the browser has answered to the options (`PublicKeyCredential.toJSON()`)"
ACT = "the act's name: [acts.md](../reference/acts.md)"
PARAMETERS = "its parameters"
ONCE = (
    "the id of the act, 16 random hexadecimal digits, made with the page. In one sign-in, an act with this id is done"
    " once; the touch covers the id"
)
PHONE = "the id of the request on the phone"
APPROVED = "the id of a request that was approved on the phone, where that is needed"


@dataclass(frozen=True)
class Call(Generic[A]):
    """What is sent; A is what is answered. A field that is None is not sent."""

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
    """What a browser is asked for so that somebody signs in. No name is given: the passkey says who it is."""

    binding: Annotated[str, BINDING]


@dataclass(frozen=True)
class SignIn(Call[SignedIn], path="/sign-in", errors=(Error.REFUSED,)):
    """Sign in with a passkey."""

    binding: Annotated[str, BINDING]
    answer: Annotated[Mapping[str, Any], ANSWER]
    remote: Annotated[str, REMOTE]
    agent: Annotated[str, "the browser, as it says itself"] = ""


@dataclass(frozen=True)
class ShowSignIn(Call[SignInShown], path="/sign-in/show", errors=(Error.NOT_SIGNED_IN,)):
    """Whose sign-in this is, also before its passkey is confirmed. This keeps no sign-in from ending."""

    token: Annotated[str, TOKEN] = field(repr=False)


@dataclass(frozen=True)
class OpenLink(Call[LinkOptions], path="/link/challenge", errors=(Error.REFUSED, Error.ACT_REFUSED)):
    """What a browser is asked for to make the passkey that a link registers. The link stays good."""

    token: Annotated[str, LINK] = field(repr=False)
    binding: Annotated[str, BINDING]


@dataclass(frozen=True)
class RingForLink(Call[Ringing], path="/link/ring", errors=(Error.REFUSED,)):
    """Have the person whom a link is for asked on the phone. Limits are those of logins."""

    token: Annotated[str, LINK] = field(repr=False)
    remote: Annotated[str, REMOTE]


@dataclass(frozen=True)
class WaitForLink(Call[PhoneAnswer], path="/link/answer", errors=(Error.REFUSED,)):
    """What the person has answered on the phone, as soon as it is known."""

    token: Annotated[str, LINK] = field(repr=False)
    phone: Annotated[str, PHONE]


@dataclass(frozen=True)
class UseLink(Call[Registered], path="/link", errors=(Error.REFUSED, Error.ACT_REFUSED)):
    """Register a passkey with a link, which is used up."""

    token: Annotated[str, LINK] = field(repr=False)
    binding: Annotated[str, BINDING]
    answer: Annotated[Mapping[str, Any], ANSWER]
    label: Annotated[str, "how the person calls the passkey"]
    remote: Annotated[str, REMOTE]
    phone: Annotated[str | None, APPROVED] = None


@dataclass(frozen=True)
class BeginAct(Call[Options], path="/act/challenge", errors=(Error.NOT_SIGNED_IN, Error.NOT_PERMITTED)):
    """What a browser is asked for so that the person agrees to just this act, with a touch of a passkey."""

    token: Annotated[str, TOKEN] = field(repr=False)
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
    """Carry out an act."""

    token: Annotated[str, TOKEN] = field(repr=False)
    act: Annotated[str, ACT]
    parameters: Annotated[Mapping[str, Any], PARAMETERS]
    once: Annotated[str, ONCE]
    remote: Annotated[str, REMOTE]
    touch: Annotated[
        Mapping[str, Any] | None,
        "as `answer`: the touch with which the person agrees, where the act needs one",
    ] = None
    phone: Annotated[str | None, APPROVED] = None


@dataclass(frozen=True)
class BeginPasskey(
    Call[Options],
    path="/passkey/challenge",
    errors=(Error.NOT_SIGNED_IN, Error.NOT_PERMITTED, Error.ACT_REFUSED),
):
    """What a browser is asked for to make a further passkey of whoever has signed in, for the act `passkey_add`."""

    token: Annotated[str, TOKEN] = field(repr=False)


@dataclass(frozen=True)
class RingForAct(Call[Ringing], path="/phone/ring", errors=(Error.NOT_SIGNED_IN, Error.NOT_PERMITTED)):
    """Have whoever has signed in asked on the own phone whether an act may be carried out."""

    token: Annotated[str, TOKEN] = field(repr=False)
    act: Annotated[str, ACT]
    remote: Annotated[str, REMOTE]


@dataclass(frozen=True)
class WaitForPhone(Call[PhoneAnswer], path="/phone/answer", errors=(Error.NOT_SIGNED_IN, Error.REFUSED)):
    """What the person has answered on the phone, as soon as it is known."""

    token: Annotated[str, TOKEN] = field(repr=False)
    phone: Annotated[str, PHONE]


@dataclass(frozen=True)
class WaitForRings(Call[RingingNow], path="/rings", errors=(Error.NOT_SIGNED_IN, Error.NOT_PERMITTED)):
    """What asks whoever has signed in on the phone now, once that is something else than was seen, or other logins of
    theirs are open (the view `sessions` has them), or after 20 s. This keeps no sign-in from ending. After BUSY, wait
    for some seconds."""

    token: Annotated[str, TOKEN] = field(repr=False)
    seen: Annotated[str, "`seen` of the last answer; without, it is answered at once"] = ""


@dataclass(frozen=True)
class Look(Call[Rows], path="/view", errors=(Error.NOT_SIGNED_IN, Error.NOT_PERMITTED)):
    """Read a view: of the rows that exist, those that the person may see, with the fields that they may see."""

    token: Annotated[str, TOKEN] = field(repr=False)
    view: Annotated[str, "the view's name, see below"]
    filter: Annotated[Mapping[str, Any], "which rows, see below"] = field(default_factory=dict)
    by_itself: Annotated[bool, "whether the page asks by itself: that keeps no sign-in from ending"] = False

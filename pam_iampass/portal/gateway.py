"""The gateway, as the portal calls it at its unix socket (`docs/acts-protocol.md`).

GatewayError
└── GatewayAway         there was no answer, or none that this protocol has: a call may have been carried out
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Generic, TypeVar, cast, get_type_hints

import aiohttp

A = TypeVar("A")
SOCKET = Path("/run/iampass-gateway/acts.sock")
_SECONDS = 180.0
"""The time for a call. The act `phone_verify` waits for a phone; other calls take 25 s at most."""
_MOST_BYTES = 8 * 1024 * 1024
_CONNECTIONS = 500
"""Each page that waits for what asks somebody now has one."""


class GatewayError(Exception):
    """A call that the gateway has refused."""

    def __init__(self, code: str, detail: str, parameter: str = "", status: int = 0) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        """One of the errors of `docs/acts-protocol.md`, such as `NOT_SIGNED_IN`."""
        self.detail = detail
        self.parameter = parameter
        """The field that is wrong; empty if it is none."""
        self.status = status
        """The HTTP status; 0 if there was no answer."""


class GatewayAway(GatewayError):
    """There was no answer, or none that this protocol has. What was asked may have been carried out."""

    def __init__(self, detail: str, status: int = 0) -> None:
        super().__init__("AWAY", detail, status=status)


# Answers


@dataclass(frozen=True)
class Options:
    """What a browser is given for `navigator.credentials.create` or `get`."""

    options: Mapping[str, Any]


@dataclass(frozen=True)
class SignedIn:
    """A new sign-in."""

    token: str = field(repr=False)
    person: str
    roles: Sequence[str]
    ends_at: datetime
    confirmed: bool
    """Whether the passkey counts. If not, the database was restored: it must be approved on the phone first."""


@dataclass(frozen=True)
class LinkOptions:
    """What a browser is given to make the first passkey, and whether the phone must approve it."""

    options: Mapping[str, Any]
    person: str
    phone: bool


@dataclass(frozen=True)
class Ringing:
    """A request on the person's phone, or why there is none."""

    phone: str | None
    """The id of the request."""
    reason: str | None
    """Why the phone was not asked, such as `COOLING_OFF`."""
    seconds: float
    """How long the person has to wait before it can be asked."""


@dataclass(frozen=True)
class PhoneAnswer:
    """What has become of a request on the phone: `waits`, `asked`, `approved`, `denied`, `over`."""

    state: str


@dataclass(frozen=True)
class Registered:
    """A passkey that was registered through a link. Nobody is signed in by that."""

    person: str


@dataclass(frozen=True)
class Done:
    """What an act has resulted in, by names that differ for each act."""

    result: Mapping[str, Any]


@dataclass(frozen=True)
class Rows:
    """Rows of a view, with the fields that the person who has signed in may see."""

    rows: Sequence[Mapping[str, Any]]
    more: bool
    """Whether there are more, which were left out."""


@dataclass(frozen=True)
class RingingNow:
    """What asks the person on the phone now, or waits for its turn."""

    rows: Sequence[Mapping[str, Any]]
    seen: str
    """To be sent with the next call."""


# Calls


@dataclass(frozen=True)
class Call(Generic[A]):
    """What is sent; A is what is answered. A field with None is not sent."""

    PATH: ClassVar[str]
    ANSWER: ClassVar[type[Any]]


@dataclass(frozen=True)
class BeginSignIn(Call[Options]):
    """Ask what a browser is to sign, so that somebody signs in."""

    PATH, ANSWER = "/sign-in/challenge", Options
    binding: str


@dataclass(frozen=True)
class SignIn(Call[SignedIn]):
    """Sign in with what the browser has signed."""

    PATH, ANSWER = "/sign-in", SignedIn
    binding: str
    answer: Mapping[str, Any]
    remote: str
    agent: str | None = None


@dataclass(frozen=True)
class OpenLink(Call[LinkOptions]):
    """Ask what a browser needs to make the first passkey. This spends nothing."""

    PATH, ANSWER = "/link/challenge", LinkOptions
    token: str = field(repr=False)
    binding: str


@dataclass(frozen=True)
class RingForLink(Call[Ringing]):
    """Have the phone asked whether the passkey may be registered."""

    PATH, ANSWER = "/link/ring", Ringing
    token: str = field(repr=False)
    remote: str


@dataclass(frozen=True)
class WaitForLink(Call[PhoneAnswer]):
    """Wait for what is answered on the phone."""

    PATH, ANSWER = "/link/answer", PhoneAnswer
    token: str = field(repr=False)
    phone: str


@dataclass(frozen=True)
class UseLink(Call[Registered]):
    """Register the first passkey. This spends the link."""

    PATH, ANSWER = "/link", Registered
    token: str = field(repr=False)
    binding: str
    answer: Mapping[str, Any]
    label: str
    remote: str
    phone: str | None = None


@dataclass(frozen=True)
class BeginAct(Call[Options]):
    """Ask what the person must sign with a passkey, so that just this act is done."""

    PATH, ANSWER = "/act/challenge", Options
    token: str = field(repr=False)
    act: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class DoAct(Call[Done]):
    """Carry out an act."""

    PATH, ANSWER = "/act", Done
    token: str = field(repr=False)
    act: str
    parameters: Mapping[str, Any]
    remote: str
    touch: Mapping[str, Any] | None = None
    phone: str | None = None


@dataclass(frozen=True)
class BeginPasskey(Call[Options]):
    """Ask what a browser needs to make a further passkey, for the act `passkey_add`."""

    PATH, ANSWER = "/passkey/challenge", Options
    token: str = field(repr=False)


@dataclass(frozen=True)
class RingForAct(Call[Ringing]):
    """Have the own phone asked whether an act may be carried out."""

    PATH, ANSWER = "/phone/ring", Ringing
    token: str = field(repr=False)
    act: str
    remote: str


@dataclass(frozen=True)
class WaitForPhone(Call[PhoneAnswer]):
    """Wait for what is answered on the phone."""

    PATH, ANSWER = "/phone/answer", PhoneAnswer
    token: str = field(repr=False)
    phone: str


@dataclass(frozen=True)
class WaitForRings(Call[RingingNow]):
    """Wait for what asks the person on the phone, until it is something else than was seen. After BUSY, wait for some
    seconds."""

    PATH, ANSWER = "/rings", RingingNow
    token: str = field(repr=False)
    seen: str | None = None


@dataclass(frozen=True)
class Look(Call[Rows]):
    """Read a view."""

    PATH, ANSWER = "/view", Rows
    token: str = field(repr=False)
    view: str
    filter: Mapping[str, Any] = field(default_factory=dict)
    by_itself: bool = False


class GatewayClient:
    """Calls a gateway at its socket. Use it as an async context manager."""

    def __init__(self, path: Path = SOCKET, *, seconds: float = _SECONDS) -> None:
        self._path = path
        self._seconds = seconds

    async def __aenter__(self) -> GatewayClient:
        connector = aiohttp.UnixConnector(str(self._path), limit=_CONNECTIONS)
        timeout = aiohttp.ClientTimeout(total=self._seconds)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def call(self, call: Call[A]) -> A:
        """The answer to a call. Raises GatewayError."""
        given = {each.name: getattr(call, each.name) for each in dataclasses.fields(call)}
        sent = {name: value for name, value in given.items() if value is not None}
        try:
            async with self._session.post(f"http://gateway{call.PATH}", json=sent) as response:
                status, body = response.status, await response.content.read(_MOST_BYTES + 1)
                while not response.content.at_eof() and len(body) <= _MOST_BYTES:
                    body += await response.content.read(_MOST_BYTES + 1 - len(body))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise GatewayAway(str(error) or type(error).__name__) from None
        values = _object(status, body)
        if status != 200:
            code, detail = values.get("error"), values.get("detail")
            if not (isinstance(code, str) and isinstance(detail, str)):
                raise GatewayAway(f"status {status}", status)
            raise GatewayError(code, detail, str(values.get("parameter", "")), status)
        return cast(A, _built(call.ANSWER, values))


def _object(status: int, body: bytes) -> dict[str, Any]:
    """The JSON object in an answer. Raises GatewayAway."""
    try:
        if len(body) > _MOST_BYTES:
            raise ValueError("it is too large")
        values = json.loads(body)
        if not isinstance(values, dict):
            raise ValueError("it is no object")
    except ValueError as error:
        raise GatewayAway(f"status {status}, and the answer cannot be read: {error}", status) from None
    return values


def _built(answer: type[Any], values: Mapping[str, Any]) -> object:
    """The answer of this class. Members that it does not know are left out. Raises GatewayAway."""
    hints, found = get_type_hints(answer), {}
    for name, hint in hints.items():
        if name not in values:
            raise GatewayAway(f"the answer has no {name}", 200)
        found[name] = datetime.fromisoformat(values[name]) if hint is datetime else values[name]
    return answer(**found)

"""A session: one request for approval on the phone, and its result; sessions as JSON, and as signed tokens.

Its calls are built and read without I/O (`poll`, `end`); `get_status` and `destroy` also make them.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Callable, Protocol, TypeVar

from .call import ATTEMPTS, Call, JsonObject
from .errors import AWAY, BadSignature, Unavailable, printable
from .origin import Origin
from .status import FAILED, TOKEN, Status

if TYPE_CHECKING:
    from .connection import Deadline
    from .gateways import Gateways
    from .http import Transport

_OUTER = "authentication_status"
_STARTED = ("session_token", "session_secret", "logout_url", "status_url")
_OPTIONAL = "failure_reason"
_NAMES = frozenset({*_STARTED, _OPTIONAL, "session_status"})
_PURPOSE = "pam_iampass.client.session"
BYPASSED = "BYPASSED"
"""The reason of a gateway whose administrator lets the person in without the phone."""

T = TypeVar("T")


class APIObject(Protocol):
    """AuthenticationAPI or ManagementAPI."""

    transport: Transport | Gateways


@dataclass(frozen=True)
class Refusal:
    """A gateway's explanation why it asks nobody. Texts are not cleaned for a terminal or a log."""

    outcome: str
    """How the login ends, in one word."""
    why: str
    """The reason, for the administrator."""
    message: str
    """The line for the person."""
    wait: int
    """The number of seconds after which it would ask; 0 if it does not say so."""

    @classmethod
    def of(cls, members: JsonObject) -> Refusal | None:
        """The refusal among the members of an answer; None without one, as with IAMPASS itself."""
        if "refusal" not in members:
            return None
        told = members.child("refusal")
        outcome, why, message = (told.text(name) for name in ("outcome", "why", "message"))
        return cls(outcome, why, message, max(told.number("retry_after"), 0))


@dataclass
class Session:
    """One IAMPASS session: `session_status`, `session_token`, `session_secret`, `logout_url`, `status_url` and
    `failure_reason`. Sessions in which these six are the same are equal. The `repr` hides token, secret and URLs.

    `in_progress`, `active`, `away` and `ended` are those of its Status. `failed` is true for failed, timeout and
    cancelled.
    """

    session_status: Status
    """The status in the last response."""
    session_token: str | None = field(repr=False)
    session_secret: str | None = field(repr=False)
    logout_url: str | None = field(repr=False)
    status_url: str | None = field(repr=False)
    failure_reason: str | None = None
    """Why no session was started: text of the server, not cleaned for a terminal or a log."""
    transport: Transport | Gateways | None = field(default=None, repr=False, compare=False)
    # Only gateways set the following attributes.
    longest_wait: int = field(default=0, repr=False, compare=False)
    """The number of seconds for which the gateway holds a poll until the status changes."""
    version: int = field(default=0, repr=False, compare=False)
    """The version of the status."""
    queued: bool = field(default=False, repr=False, compare=False)
    """Whether other requests come first, and the phone is not asked yet."""
    counts_given_up: bool = field(default=False, repr=False, compare=False)
    """Whether the gateway wants to know if the user gives up while the session is `queued`."""
    covered_by: str | None = field(default=None, repr=False, compare=False)
    """The host with the login that covers this one; None if the phone was asked. Not cleaned."""
    covered_age: int = field(default=0, repr=False, compare=False)
    """How many seconds ago the phone approved that login."""
    refusal: Refusal | None = field(default=None, repr=False, compare=False)
    """The explanation of `failure_reason`: `outcome`, `why`, `message` and `wait` (seconds)."""
    news: str = field(default="", repr=False, compare=False)
    """News for the person who has approved. Not cleaned."""

    @property
    def failed(self) -> bool:
        return self.session_status in FAILED

    @property
    def in_progress(self) -> bool:
        return self.session_status.in_progress

    @property
    def active(self) -> bool:
        return self.session_status is Status.active

    @property
    def away(self) -> bool:
        return self.session_status.away

    @property
    def ended(self) -> bool:
        return self.session_status.ended

    def get_status(
        self,
        deadline: Deadline | None = None,
        *,
        attempts: int = ATTEMPTS,
        pause: Callable[[float], None] | None = None,
        wait: int = 0,
        until_readable: Callable[[float, int], None] | None = None,
    ) -> Status:
        """Asks for the status, stores it in `session_status`, and returns it. A session that was never started stays
        failed, without a call. Only a gateway waits: until the status changes, or for `wait` seconds."""
        call = self.poll(wait, until_readable)
        if call is not None:
            self.session_status = self._make(call, deadline, attempts, pause)
        return self.session_status

    def destroy(
        self,
        deadline: Deadline | None = None,
        *,
        attempts: int = ATTEMPTS,
        pause: Callable[[float], None] | None = None,
        given_up: bool = False,
    ) -> bool:
        """Ends the session, and returns whether IAMPASS confirms it: False, without a call, for a session that was
        never started. `given_up` says that the user gave up while the session was `queued`."""
        call = self.end(given_up=given_up)
        return call is not None and self._make(call, deadline, attempts, pause)

    def poll(
        self, wait: int = 0, until_readable: Callable[[float, int], None] | None = None
    ) -> Call[Status] | None:
        """Returns the call that `get_status` makes; None if the session was never started."""
        call = self._call("poll", "GET", self.status_url, _read_poll)
        if call is None or not self.longest_wait:
            return call

        def read(response: JsonObject) -> Status:
            status = _read_poll(response)
            members = response.child(_OUTER)
            if wait:
                self.version = members.number("version")
            self.queued = status.in_progress and _is("queued", members)
            if status is Status.active and "news" in members:
                self.news = members.text("news")
            if status in FAILED and "reason" in members:
                self.failure_reason, self.refusal = members.text("reason"), Refusal.of(members)
            return status

        if not wait:
            return replace(call, result=read)
        url = f"{call.url}?wait={wait}&version={self.version}"
        return replace(call, name="wait", url=url, result=read, held=wait, until_readable=until_readable)

    def end(self, *, given_up: bool = False) -> Call[bool] | None:
        """Returns the call that `destroy` makes; None if the session was never started."""
        call = self._call("end", "POST", self.logout_url, lambda response: response.boolean("status"))
        if call is None or not (given_up and self.counts_given_up and self.queued):
            return call
        return replace(call, url=f"{call.url}?given_up=yes")

    @staticmethod
    def Schema(api: APIObject | None = None) -> SessionSchema:
        """Returns an object that writes (`dumps`) and reads (`loads`) sessions as JSON, in the form of the published
        client. Sessions that it reads make their calls with `api`; without it they make none."""
        return SessionSchema(api)

    def _call(
        self, name: str, method: str, url: str | None, result: Callable[[JsonObject], T]
    ) -> Call[T] | None:
        if url is None:
            return None
        if self.session_token is None or self.session_secret is None:
            raise ValueError("this session has no token and no secret")
        return Call(name, method, url, self.session_token, self.session_secret, result, idempotent=True)

    def _make(
        self,
        call: Call[T],
        deadline: Deadline | None,
        attempts: int,
        pause: Callable[[float], None] | None,
    ) -> T:
        if self.transport is None:
            raise ValueError("this session belongs to no API object; read it with Session.Schema(api)")
        if not self.transport.origin.owns(call.url):
            raise ValueError("this session belongs to another server")
        return self.transport.call(call, deadline, attempts=attempts, pause=pause)


class SessionSchema:
    """Writes sessions as JSON, and reads them back. The JSON contains the secret of the session."""

    def __init__(self, api: APIObject | None = None) -> None:
        """Sessions that are read belong to `api`; without one they make no calls."""
        self._transport = None if api is None else api.transport

    def dumps(self, session: Session) -> str:
        """The session as JSON, the secret included."""
        members = {name: getattr(session, name) for name in (*_STARTED, _OPTIONAL)}
        return json.dumps({**members, "session_status": session.session_status.name})

    def loads(self, text: str) -> Session:
        """The session in the JSON.

        Raises ValueError for anything that `dumps`, here or in the published client, cannot have written, and for a
        session of another server than the server of `api`.
        """
        members: Any = None
        try:
            members = json.loads(text)
            problem = None if isinstance(members, dict) else "not an object"
        except (ValueError, TypeError, RecursionError):
            problem = "not JSON"
        problem = problem or _problem(members)
        if problem:  # outside of the handler, whose error contains the text and its secret
            raise ValueError(f"this is not a session: {problem}")
        origin = None if self._transport is None else self._transport.origin
        started = members["session_token"] is not None
        if origin is not None and started and not all(origin.owns(members[name]) for name in _STARTED[2:]):
            raise ValueError(f"this session does not belong to {origin.url}")
        members["session_status"] = Status[members["session_status"]]
        return Session(**members, transport=self._transport)


def _problem(members: Mapping[str, Any]) -> str | None:
    if not _NAMES - {_OPTIONAL} <= set(members) <= _NAMES:
        return "it has other members than those of a session"
    status = members["session_status"]
    if not isinstance(status, str) or status not in Status.__members__:
        return "unknown session_status"
    if not isinstance(members.get(_OPTIONAL), (str, type(None))):
        return "failure_reason is neither text nor null"
    started = [members[name] for name in _STARTED]
    if all(value is None for value in started):
        return None if Status[status] in FAILED else "it was never started, and has not failed"
    if not all(isinstance(value, str) for value in started):
        return "it has some of token, secret and URLs, but not all"
    return None if TOKEN.fullmatch(started[0]) else "session_token has characters that no header can have"


class SessionSigner:
    """Turns sessions into signed tokens, and tokens back into sessions. Needs the package itsdangerous.

    The token is signed, not encrypted. It contains the secret of the session, with which anybody can poll the session
    and end it. So give it only to the person whose session it is, over https.
    """

    def __init__(
        self,
        key: str,
        api: APIObject | None = None,
        max_age: int = 3600,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Makes a signer. `api` is as for `Session.Schema`, `max_age` is in seconds, and `clock` returns Unix time.
        Raises ValueError for a key of less than 16 characters."""
        from itsdangerous import TimestampSigner, URLSafeTimedSerializer

        class ClockSigner(TimestampSigner):
            """Signs with the time of our clock."""

            def get_timestamp(self) -> int:
                return int(clock())

        if len(key) < 16:
            raise ValueError("the key has less than 16 characters; secrets.token_urlsafe() makes a good one")
        options = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        self._serializer = URLSafeTimedSerializer(key, _PURPOSE, signer=ClockSigner, signer_kwargs=options)
        self._schema = SessionSchema(api)
        self._max_age = max_age

    def sign(self, session: Session) -> str:
        """Returns the token of a session: letters, digits, `-`, `_` and `.`."""
        token = self._serializer.dumps(self._schema.dumps(session))
        return token if isinstance(token, str) else token.decode("ascii")

    def verify(self, token: str) -> Session:
        """Returns the session in a token. Raises BadSignature if the token was changed, is older than `max_age` or was
        signed with another key. Raises ValueError for a session of another server."""
        from itsdangerous import BadData, SignatureExpired

        try:
            text = self._serializer.loads(token, max_age=self._max_age)
            problem = None
        except SignatureExpired:
            problem = "it has expired"
        except BadData:
            problem = "it was changed, or signed with another key"
        if problem is not None:  # outside of the handler, whose error contains what was signed
            raise BadSignature(f"verify: the token is refused: {problem}")
        return self._schema.loads(text)


def read_session(response: JsonObject, origin: Origin, request_id: str | None = None) -> Session:
    """The session in the response to a start, at a gateway one with this id. Raises ProtocolError, and Unavailable if
    a gateway says that nothing was sent."""
    members = response.child(_OUTER)
    if not members.boolean("authenticated"):
        reason = members.text("reason")
        if reason == BYPASSED and not _names(members, "bypassed", request_id, response.nonce):
            raise members.error("the person is bypassed, for another request")
        unsent = reason in AWAY
        if unsent and _names(members, "nothing_sent", request_id, response.nonce):
            what = f"start: {AWAY[reason]}, and has sent nothing ({reason})"
            raise Unavailable(what, status=200, outage=True, away=reason)
        refusal = Refusal.of(members)
        return Session(Status.failed, None, None, None, None, reason, refusal=refusal)
    covered_by, age = None, 0
    if origin.gateways and "covered" in members:
        covered_by, age = _covered(members, request_id, response.nonce)
    token = members.text("session_token")
    if not TOKEN.fullmatch(token):
        raise members.error("session_token is empty or has characters that no header can have")
    return Session(
        session_status=read_status(members),
        session_token=token,
        session_secret=members.text("session_secret"),
        logout_url=_own_url(members, "logout_url", origin),
        status_url=_own_url(members, "status_url", origin),
        longest_wait=members.number("wait") if origin.gateways and "wait" in members else 0,
        version=members.number("version") if origin.gateways and "version" in members else 0,
        queued=origin.gateways and _is("queued", members),
        counts_given_up=origin.gateways and _is("counts_given_up", members),
        covered_by=covered_by,
        covered_age=age,
    )


def _is(name: str, members: JsonObject) -> bool:
    """Whether a member is there that says yes."""
    return name in members and members.boolean(name)


def _covered(members: JsonObject, request_id: str | None, nonce: int | None) -> tuple[str, int]:
    """The host with the login that covers this one, and how many seconds ago that login was approved."""
    covered = members.child("covered")
    host, age = covered.text("host"), covered.number("age")
    if not host or age < 0:
        raise members.error("it is covered by a login on no host, or that is still to come")
    if not _names(members, "covered", request_id, nonce):
        raise members.error("it is covered, for another request")
    return host, age


def _names(members: JsonObject, statement: str, request_id: str | None, nonce: int | None) -> bool:
    """Whether a gateway makes a statement of this very request: that it could not connect to whom it needs for it, that
    the person is bypassed, or that another login covers it.

    Such a statement lets people in without a phone. It counts for the request that it names alone, so that none can be
    kept and told again, and never from IAMPASS itself, whose requests have no id.
    """
    if statement not in members:
        return False
    named = members.child(statement)
    return (named.text("request_id"), named.text("nonce")) == (request_id, str(nonce))


def _read_poll(response: JsonObject) -> Status:
    """The status in the response to a poll. The published client reads it in an outer object; the service's
    documentation has no such object, and says in `authenticated` whether the person is authenticated."""
    members = response.child(_OUTER) if _OUTER in response else response
    status = read_status(members)
    denies = "authenticated" in members and not members.boolean("authenticated")
    if status is Status.active and denies:
        raise members.error("the session is active, but authenticated is false")
    return status


def read_status(members: JsonObject, key: str = "session_status") -> Status:
    """The status in a response. An unknown one is a ProtocolError, never an approval."""
    name = members.text(key)
    if name not in Status.__members__:
        raise members.error(f'unknown session status "{printable(name)}"')
    return Status[name]


def _own_url(members: JsonObject, key: str, origin: Origin) -> str:
    """A session's calls are signed, so they go to the configured server only."""
    url = members.text(key)
    if not origin.owns(url):
        raise members.error(f"{key} is not a plain URL on {origin.url}")
    return url

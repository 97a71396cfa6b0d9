"""A call of IAMPASS without I/O: how its request is built and signed, and what a response to it means.

Responses are read strictly: anything that is not exactly as the protocol says is a ProtocolError. What sends the call
is apart (`http.py`); another program may send it with any other library.
Source: the table "Signing" of the wire protocol. The body is not signed.
"""

from __future__ import annotations

import base64
import datetime
import email.utils
import hashlib
import hmac
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Callable, Generic, TypeVar

from .errors import AWAY, IampassError, NotFound, ProtocolError, Refused, Unavailable, clock_difference
from .origin import split_for_wire

T = TypeVar("T")

AUTHENTICATION = "Authentication"
TIMESTAMP = "X-IAMPASS-Authentication-Timestamp"
# The service knows this header by its misspelt name only.
VERSION = "X-IAMOASS-Authentication-Version"

ATTEMPTS = 3
"""Attempts at one call, the first included, unless it is rejected with a complete 429 with Retry-After."""
CLOCK_TOLERANCE = 30.0
"""Seconds by which clocks may differ before the clock is blamed for a refusal."""

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_DIGITS_LIMIT = 20
# Far below the depth at which json raises RecursionError, wherever on the stack we are.
_DEPTH_LIMIT = 32
_TYPES = {
    bool: "true or false",
    int: "a whole number",
    str: "text",
    dict: "an object",
    list: "a list",
    type(None): "null",
}


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, with the id and the secret to sign it with: the application's, or a session's token and secret."""

    name: str
    """Its name in messages and figures: start, poll, end, add users, …"""
    method: str
    url: str = field(repr=False)
    """Signed and sent byte for byte."""
    client_id: str = field(repr=False)
    secret: str = field(repr=False)
    result: Callable[[JsonObject], T] = field(repr=False)
    """Reads the object of a 2xx. Raises IampassError."""
    body: bytes | None = field(default=None, repr=False)
    content_type: str | None = "application/json"
    """Session calls have one although they have no body; a management call without a body has none."""
    idempotent: bool = False
    """Whether it may be sent again although it may have been carried out."""
    held: float = 0.0
    """The number of seconds for which the server may hold it before it answers."""
    until_readable: Callable[[float, int], None] | None = field(default=None, repr=False)
    """Waits until this descriptor is readable, for at most that many seconds. It is called whenever the response is
    waited for; an exception that it raises ends the call and its connection."""
    alone: bool = False
    """Whether its caller itself decides when the next gateway is asked, if there are several."""
    rings: bool = False
    """Whether it makes a phone ring. Then not even a 429, perhaps a gateway's, proves that it was not carried out."""

    def headers(self, nonce: int, timestamp: int) -> dict[str, str]:
        """All headers but the connection's. `nonce` is a random unsigned 64-bit integer, `timestamp` Unix time in whole
        seconds. Raises ProtocolError for a character that could end a header."""
        host, target = split_for_wire(self.url)
        headers = {"Host": host, **signature(self.client_id, self.secret, self.url, nonce, timestamp)}
        if self.content_type is not None:
            headers["Content-Type"] = self.content_type
        text = "".join((target, *headers.values()))
        if not (text.isascii() and text.isprintable()):
            raise ProtocolError(f"{self.name}: the request has characters that no header can have")
        return headers

    def read(self, status: int, headers: Any, body: bytes, now: float, nonce: int | None = None) -> T:
        """The result in a complete response to the request that had the nonce. `headers.get` ignores the case of a
        name; `now` is our Unix time.

        Raises Refused, NotFound, Unavailable, ProtocolError, or what `result` raises.
        """
        if not 200 <= status < 300:
            raise self._error_of(status, headers, now, body)
        if headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            what = f"{self.name}: the response is compressed without being asked to"
            raise ProtocolError(what, may_have_started=True)
        return self.result(JsonObject.parse(body, self.name, nonce))

    def _error_of(self, status: int, headers: Any, now: float, body: bytes) -> IampassError:
        phrase = f" {HTTPStatus(status).phrase}" if status in set(HTTPStatus) else ""
        text = f"{self.name}: https://{split_for_wire(self.url)[0]} responded with {status}{phrase}"
        theirs = http_time(headers.get("Date"))
        if status in (401, 403):
            offset = theirs - now if status == 401 and theirs is not None else 0.0
            if abs(offset) <= CLOCK_TOLERANCE:
                return Refused(text, status=status)
            remedy = (
                "Set this machine's clock (timedatectl); if it is right, check application_id and the secret."
            )
            what = f"{text}; {clock_difference(offset)}"
            return Refused(what, status=status, clock_offset=offset, remedy=remedy)
        if status == 404:
            return NotFound(text)
        if status == 429 or 500 <= status < 600:
            # A date counts from the server's own clock, if it sends its time.
            wait = retry_after_seconds(headers.get("Retry-After"), now if theirs is None else theirs)
            if wait is not None:
                text += f" and asks to wait {f'{wait:.0f} s' if wait < 1e9 else 'an absurdly long time'}"
            away = _named_away(body) if status == 503 else ""
            text += f": {AWAY[away]}" if away else ""
            # A gateway may have passed the request on before it gave up.
            started = status != 429 or self.rings
            return Unavailable(text, may_have_started=started, status=status, retry_after=wait, away=away)
        what = f"{text} and redirects, which is not followed" if 300 <= status < 400 else text
        return ProtocolError(what, may_have_started=not 400 <= status < 500)


def _named_away(body: bytes) -> str:
    """Returns the service that the sender of this body cannot reach, as `Unavailable.away`. It only changes words."""
    try:
        reason = strict_json(body)["reason"]
    except (ValueError, TypeError, KeyError):
        return ""
    return reason if isinstance(reason, str) and reason in AWAY else ""


def signature(client_id: str, secret: str, url: str, nonce: int, timestamp: int) -> dict[str, str]:
    """The headers that sign a request to `url`, the full URL as it is sent."""
    text = signature_text(secret, str(nonce), url.partition("://")[2], str(timestamp))
    return {
        AUTHENTICATION: f"hmac {client_id}:{nonce}:{text}",
        TIMESTAMP: str(timestamp),
        VERSION: "1",
    }


def signature_text(secret: str, nonce: str, signed_url: str, timestamp: str) -> str:
    """The signature of a request to `signed_url`, the full URL as it is sent, without `https://`."""
    key = hashlib.sha256(f"{nonce}{secret}".encode()).digest()[:16]
    signed = f"{nonce}{signed_url}{timestamp}".encode("utf-8", "surrogateescape")
    return base64.b64encode(hmac.digest(key, signed, "sha256")[:16]).decode("ascii")


def http_time(text: str | None) -> float | None:
    """Unix time of an HTTP date; None if it is not one."""
    try:
        moment = email.utils.parsedate_to_datetime(text or "")
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=datetime.timezone.utc)
        return moment.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def retry_after_seconds(text: str | None, now: float) -> float | None:
    """The wait that a Retry-After header asks for (RFC 9110, 10.2.3): 0 for a past date, infinity for an
    absurd number, None if it is missing or malformed. `now` is the Unix time that a date counts from."""
    text = (text or "").strip()
    if re.fullmatch(r"[0-9]+", text):
        return float(text) if len(text) <= 9 else math.inf
    moment = http_time(text)
    return None if moment is None else max(0.0, moment - now)


class JsonObject:
    """One JSON object of a response; every member is read with the type that it must have."""

    def __init__(self, members: dict[str, Any], call: str, nonce: int | None = None) -> None:
        self._members = members
        self._call = call
        self.nonce = nonce
        """The nonce of the request that the whole body answers, if it is known."""

    @classmethod
    def parse(cls, body: bytes, call: str, nonce: int | None = None) -> JsonObject:
        """The object that is the whole body."""
        problem: str | None = None
        members: Any = None
        try:
            members = strict_json(body)
        except ValueError:
            problem = "the response is not strict JSON"
        if problem is None and type(members) is not dict:
            problem = "the response is not a JSON object"
        if problem is not None:
            raise ProtocolError(f"{call}: {problem}", may_have_started=True)
        return cls(members, call, nonce)

    def text(self, key: str) -> str:
        value: str = self._member(key, str)
        if _HALF_CHARACTER.search(value):
            raise self.error(f"{key} contains half a character (a lone surrogate)")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        values: list[Any] = self._member(key, list)
        return tuple(JsonObject({key: value}, self._call).text(key) for value in values)

    def boolean(self, key: str) -> bool:
        value: bool = self._member(key, bool)
        return value

    def number(self, key: str) -> int:
        value: int = self._member(key, int)
        return value

    def is_null(self, key: str) -> bool:
        return key in self._members and self._members[key] is None

    def children(self) -> Mapping[str, JsonObject]:
        """All members, which must be objects."""
        return {key: self.child(key) for key in self._members}

    def child(self, key: str) -> JsonObject:
        return JsonObject(self._member(key, dict), self._call)

    def __contains__(self, key: str) -> bool:
        return key in self._members

    def error(self, what: str) -> ProtocolError:
        return ProtocolError(f"{self._call}: {what}", may_have_started=True)

    def _member(self, key: str, expected: type) -> Any:
        if key not in self._members:
            raise self.error(f"the response has no {key}")
        value = self._members[key]
        if type(value) is not expected:
            raise self.error(f"{key} is {_TYPES.get(type(value), 'a number')}, not {_TYPES[expected]}")
        return value


def strict_json(body: bytes) -> Any:
    """The value that is the whole body: UTF-8, no duplicate keys, no NaN, bounded numbers and nesting.

    Raises ValueError.
    """
    text = body.decode("utf-8")
    _refuse_deep_nesting(text)
    return _DECODER.decode(text)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate key")
    return members


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _short_integer(digits: str) -> int:
    if len(digits) > _DIGITS_LIMIT:
        raise ValueError("integer too long")
    return int(digits)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant, parse_int=_short_integer
)


def _refuse_deep_nesting(text: str) -> None:
    if text.count("[") + text.count("{") <= _DEPTH_LIMIT:
        return
    depth, in_string, escaped = 0, False, False
    for character in text:
        if escaped:
            escaped = False
        elif character == '"':
            in_string = not in_string
        elif in_string:
            escaped = character == "\\"
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        if depth > _DEPTH_LIMIT:
            raise ValueError("nested too deeply")

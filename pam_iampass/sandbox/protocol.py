"""What a service like IAMPASS needs, without I/O: requests, their signatures, and replies."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Callable
from urllib.parse import quote_plus, unquote_plus, urlsplit

from aiohttp import web
from multidict import CIMultiDictProxy

from pam_iampass.sandbox.errors import Refusal, Unknown, bad_request, unauthorized


class IncomingRequest:
    """A complete request as it was received: nothing is decoded, collapsed or normalised unless a call asks for it.

    A user id may contain ``/`` or be ``..``: a normalised path would name another user. The ``require_`` methods and
    those that read parts of it raise Refusal.
    """

    def __init__(self, method: str, target: str, headers: CIMultiDictProxy[str], body: bytes) -> None:
        self.method = method
        self.target = target
        """Path and query exactly as in the request line."""
        self.headers = headers
        self.body = body
        self.path, _, self.query = target.partition("?")
        absolute = self.path.startswith("/")
        self.segments = tuple(self.path[1:].split("/")) if absolute else (self.path,)
        """The path between the slashes, still quoted."""
        host = headers.get("Host", "")
        self.origin = f"https://{host}"
        """The origin for URLs in the reply: clients accept only the origin that they called."""
        self.signed_url = host + target
        """The URL that the client must have signed."""

    def require_host(self, names: frozenset[str]) -> None:
        """Refuse a request (421) for another host than these, in lower case."""
        hosts = self.headers.getall("Host", [])
        try:
            name = urlsplit(f"//{hosts[0]}").hostname if len(hosts) == 1 else None
        except ValueError:
            name = None
        if name not in names:
            raise Refusal(421, "WRONG_HOST", f"the names of this sandbox are: {', '.join(sorted(names))}")

    def require_bearer(self, token: str, name: str) -> None:
        """Refuse a request (401) without this token. ``name`` names it for people."""
        expected = f"Bearer {token}".encode()
        authorization = self.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(expected, authorization):
            raise unauthorized("BAD_TOKEN", f"this call needs: Authorization: Bearer <{name}>")

    def require_content_type(self) -> None:
        """The service's client always sends this, even in session calls, which have no body."""
        if self.headers.getall("Content-Type", []) != ["application/json"]:
            raise bad_request("BAD_CONTENT_TYPE", "Content-Type must be application/json")

    def require_no_body(self) -> None:
        if self.body:
            raise bad_request("UNEXPECTED_BODY", "this call has no body")

    def user_id(self) -> str:
        """The user id in the path, which must be quoted as ``quote_plus`` does (a space is ``+``)."""
        user = _decoded(self.segments[3])
        if not user or quote_plus(user) != self.segments[3]:
            raise bad_request("BAD_QUOTING", "the user id must be form-quoted, as quote_plus does it")
        return user

    def parameters(self, *allowed: str) -> dict[str, str]:
        """The decoded query, without unknown, repeated or empty parameters."""
        values: dict[str, str] = {}
        for pair in self.query.split("&") if self.query else ():
            name, equals, value = pair.partition("=")
            if name not in allowed:
                raise bad_request("UNKNOWN_PARAMETER", f"this call has no parameter {name!r}")
            if name in values:
                raise bad_request("REPEATED_PARAMETER", f"{name} is repeated")
            if not equals or not value:
                raise bad_request("EMPTY_PARAMETER", f"{name} has no value")
            values[name] = _decoded(value)
        return values

    def json(self, *required: str, optional: tuple[str, ...] = ()) -> dict[str, Any]:
        """The JSON object in the body, with exactly these keys."""
        self.require_content_type()
        try:
            value = json.loads(self.body.decode("utf-8"), object_pairs_hook=_without_repeats)
        except ValueError:
            raise bad_request("BAD_BODY", "the body must be JSON in UTF-8, without repeated keys") from None
        if not isinstance(value, dict):
            raise bad_request("BAD_BODY", "the body must be a JSON object")
        missing, unknown = set(required) - set(value), set(value) - {*required, *optional}
        if missing or unknown:
            raise bad_request("BAD_BODY", f"missing: {sorted(missing)}; unknown: {sorted(unknown)}")
        return value


def text_of(value: dict[str, Any], key: str) -> str | None:
    """The text of a key in a body; None for a missing key. Raises Refusal for anything but a non-empty text."""
    if key not in value:
        return None
    text = value[key]
    if not isinstance(text, str) or not text:
        raise bad_request("BAD_BODY", f"{key} must be text and not empty")
    return text


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("repeated key")
    return value


def _decoded(quoted: str) -> str:
    try:
        return unquote_plus(quoted, errors="strict")
    except UnicodeDecodeError:
        raise bad_request("BAD_QUOTING", "quoted text must be UTF-8") from None


Headers = tuple[tuple[str, str], ...]
Stream = Callable[[web.BaseRequest, asyncio.Event], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class ServiceReply:
    """A reply, without Date and Content-Length."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Headers = ()
    stream: Stream | None = None
    """Sends the body instead, until the client or the sandbox stops."""

    @classmethod
    def of(cls, value: dict[str, Any], status: int = 200, headers: Headers = ()) -> ServiceReply:
        """A reply with this JSON object."""
        return cls(status=status, body=json.dumps(value).encode(), headers=headers)

    @classmethod
    def refusing(cls, refusal: Refusal) -> ServiceReply:
        """A reply with the reason of a refusal."""
        if isinstance(refusal, Unknown):  # the service answers with a sentence
            return cls(refusal.status, refusal.detail.encode(), "text/plain; charset=utf-8")
        value = {"reason": refusal.reason, "detail": refusal.detail}
        return cls.of(value, refusal.status, refusal.headers)


AUTHENTICATION = "Authentication"
TIMESTAMP = "X-IAMPASS-Authentication-Timestamp"
# The service spells it "IAMOASS", in every version of its client.
VERSION = "X-IAMOASS-Authentication-Version"

WINDOW_SECONDS = 300.0

_AUTHENTICATION = re.compile(r"hmac (?P<client>[^:\s]+):(?P<nonce>[^:\s]*):(?P<signature>[^:\s]*)")
_DECIMAL = re.compile(r"0|[1-9][0-9]*", re.ASCII)


@dataclass(frozen=True)
class Credentials:
    """The signing headers of one request: well-formed, but not checked yet."""

    client_id: str
    nonce: str
    signature: str
    timestamp: str


def read_credentials(headers: CIMultiDictProxy[str]) -> Credentials:
    """Parse the signing headers. Raises Refusal (401) if one is missing, repeated or malformed."""
    if _only(headers, VERSION) != "1":
        raise unauthorized("BAD_VERSION", f"{VERSION} must be 1")
    match = _AUTHENTICATION.fullmatch(_only(headers, AUTHENTICATION))
    if match is None:
        raise unauthorized("BAD_AUTHENTICATION", f"{AUTHENTICATION} must be: hmac <id>:<nonce>:<signature>")
    nonce = match.group("nonce")
    if not _DECIMAL.fullmatch(nonce) or len(nonce) > 20 or int(nonce) >= 2**64:
        raise unauthorized("BAD_NONCE", "the nonce must be the decimal text of an unsigned 64-bit integer")
    timestamp = _only(headers, TIMESTAMP)
    if not _DECIMAL.fullmatch(timestamp) or len(timestamp) > 19:
        raise unauthorized("BAD_TIMESTAMP", f"{TIMESTAMP} must be Unix time in whole seconds")
    return Credentials(match.group("client"), nonce, match.group("signature"), timestamp)


def _only(headers: CIMultiDictProxy[str], name: str) -> str:
    values = headers.getall(name, [])
    if len(values) != 1:
        raise unauthorized(
            "BAD_HEADERS", f"{name} must be sent exactly once; it was sent {len(values)} times"
        )
    return values[0]


def signature_of(secret: str, nonce: str, signed_url: str, timestamp: str) -> str:
    """The valid signature of a request."""
    key = hashlib.sha256((nonce + secret).encode()).digest()[:16]
    message = (nonce + signed_url + timestamp).encode("utf-8", "surrogateescape")
    return base64.b64encode(hmac.new(key, message, hashlib.sha256).digest()[:16]).decode("ascii")


class SignatureCheck:
    """Checks signatures and their age, and remembers the nonces of the last minutes against replays.

    As in the published client, an HMAC signs the nonce, the URL without its scheme, and the timestamp; its key is
    derived from the nonce and the secret. The body is not signed.

    :param now: returns the server's Unix time in seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._seen: dict[tuple[str, str], float] = {}

    def check(self, credentials: Credentials, signed_url: str, client_id: str, secret: str) -> None:
        """Raises Refusal (401) unless the credentials are a new signature of this client for this URL.

        :param signed_url: the URL as it was sent, without the scheme.
        """
        if credentials.client_id != client_id:
            raise unauthorized("UNKNOWN_CLIENT", "this application or session is unknown")
        expected = signature_of(secret, credentials.nonce, signed_url, credentials.timestamp)
        sent = credentials.signature.encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(expected.encode(), sent):
            raise unauthorized(
                "BAD_SIGNATURE", "the signature does not match this URL, nonce, timestamp and secret"
            )
        offset = float(credentials.timestamp) - self._now()
        if abs(offset) > WINDOW_SECONDS:
            raise unauthorized("STALE_TIMESTAMP", f"the timestamp is {offset:+.0f} s off; 300 s are allowed")
        self._spend_nonce(credentials)

    def _spend_nonce(self, credentials: Credentials) -> None:
        # Ages are measured with a clock that cannot be set. A timestamp in the future is valid for up to twice the
        # window.
        now = time.monotonic()
        while self._seen and next(iter(self._seen.values())) < now - 2 * WINDOW_SECONDS:
            del self._seen[next(iter(self._seen))]
        key = (credentials.client_id, credentials.nonce)
        if key in self._seen:
            raise unauthorized("REPLAYED_NONCE", "this nonce was used before")
        self._seen[key] = now

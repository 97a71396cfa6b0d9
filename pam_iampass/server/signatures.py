"""Checks who has signed a request, how long ago, and that the request is no replay. No I/O.

As in the published client, an HMAC signs the nonce, the URL without its scheme, and the timestamp; its key is derived
from the nonce and the secret. The body is not signed.
"""

from __future__ import annotations

import hmac
import re
import time
from dataclasses import dataclass
from typing import Callable

from pam_iampass.client.call import AUTHENTICATION, TIMESTAMP, VERSION, signature_text
from pam_iampass.server.messages import IncomingRequest, RefusedRequest, unauthorized

WINDOW_SECONDS = 300.0
"""How far a timestamp may be off, in either direction."""
NONCE_SECONDS = 2 * WINDOW_SECONDS
"""The time for which a nonce must be remembered: a timestamp in the future is valid for up to twice the window."""

_AUTHENTICATION = re.compile(r"hmac (?P<client>[^:\s]+):(?P<nonce>[^:\s]*):(?P<signature>[^:\s]*)")
_DECIMAL = re.compile(r"0|[1-9][0-9]*", re.ASCII)


@dataclass(frozen=True)
class Credentials:
    """The signing headers of one request: well-formed, but not checked yet."""

    client_id: str
    """An application's id, or the token of a session."""
    nonce: str
    signature: str
    timestamp: str

    @classmethod
    def of(cls, request: IncomingRequest) -> Credentials:
        """Raises RefusedRequest (401) if a header is missing, repeated or malformed."""
        if _only(request, VERSION) != "1":
            raise unauthorized("BAD_VERSION", f"{VERSION} must be 1")
        match = _AUTHENTICATION.fullmatch(_only(request, AUTHENTICATION))
        if match is None:
            raise unauthorized(
                "BAD_AUTHENTICATION", f"{AUTHENTICATION} must be: hmac <id>:<nonce>:<signature>"
            )
        nonce = match.group("nonce")
        if not _DECIMAL.fullmatch(nonce) or len(nonce) > 20 or int(nonce) >= 2**64:
            what = "the nonce must be the decimal text of an unsigned 64-bit integer"
            raise unauthorized("BAD_NONCE", what)
        timestamp = _only(request, TIMESTAMP)
        if not _DECIMAL.fullmatch(timestamp) or len(timestamp) > 19:
            raise unauthorized("BAD_TIMESTAMP", f"{TIMESTAMP} must be Unix time in whole seconds")
        return cls(match.group("client"), nonce, match.group("signature"), timestamp)


def _only(request: IncomingRequest, name: str) -> str:
    values = request.header_values(name)
    if len(values) != 1:
        what = f"{name} must be sent exactly once; it was sent {len(values)} times"
        raise unauthorized("BAD_HEADERS", what)
    return values[0]


def require_signature(
    request: IncomingRequest, client_id: str, secret: str | None, now: float
) -> Credentials:
    """The credentials of a request that this client has signed for the URL to which it was sent, at the server's Unix
    time `now`; `secret` is the client's, None for one that is not known. Raises RefusedRequest (401).

    The nonce is to be used up afterwards: then nobody else can use up a client's nonce.
    """
    credentials = Credentials.of(request)
    if not secret or credentials.client_id != client_id:
        raise unauthorized("UNKNOWN_CLIENT", "this application or session is unknown")
    sent = credentials.signature.encode("utf-8", "surrogateescape")
    expected = signature_text(secret, credentials.nonce, request.signed_url, credentials.timestamp)
    if not hmac.compare_digest(expected.encode(), sent):
        what = "the signature does not match this URL, nonce, timestamp and secret"
        raise unauthorized("BAD_SIGNATURE", what)
    offset = float(credentials.timestamp) - now
    if abs(offset) > WINDOW_SECONDS:
        allowed = f"{WINDOW_SECONDS:.0f} s are allowed"
        raise unauthorized("STALE_TIMESTAMP", f"the timestamp is {offset:+.0f} s off; {allowed}")
    return credentials


def replayed() -> RefusedRequest:
    """The refusal of a request whose nonce was used before."""
    return unauthorized("REPLAYED_NONCE", "this nonce was used before")


class NoncesInMemory:
    """The nonces of one server that shares them with no other. For one event loop or thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` cannot be set: a nonce must not be forgotten early."""
        self._clock = clock
        self._spent: dict[tuple[str, str], float] = {}

    def use_up(self, credentials: Credentials) -> None:
        """Raises RefusedRequest (401) if this client has sent this nonce within NONCE_SECONDS."""
        now = self._clock()
        while self._spent and next(iter(self._spent.values())) < now - NONCE_SECONDS:
            del self._spent[next(iter(self._spent))]
        key = (credentials.client_id, credentials.nonce)
        if key in self._spent:
            raise replayed()
        self._spent[key] = now

"""Checks the signature of requests, their age, and that none is replayed.

As in the published client, an HMAC signs the nonce, the URL without its scheme, and the timestamp; its key is derived
from the nonce and the secret. The body is not signed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from dataclasses import dataclass
from typing import Callable

from multidict import CIMultiDictProxy

from pam_iampass.sandbox.errors import unauthorized

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
    """Checks signatures, and remembers the nonces of the last minutes against replays.

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
        self._check_time(float(credentials.timestamp))
        self._spend_nonce(credentials)

    def _check_time(self, timestamp: float) -> None:
        offset = timestamp - self._now()
        if abs(offset) > WINDOW_SECONDS:
            raise unauthorized("STALE_TIMESTAMP", f"the timestamp is {offset:+.0f} s off; 300 s are allowed")

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

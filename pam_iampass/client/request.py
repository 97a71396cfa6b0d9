"""A request to IAMPASS, and the headers that sign it.

Source: the table "Signing" of the wire protocol. The body is not signed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SignedRequest:
    """A request, with the id and the secret to sign it with: the application's, or a session's token and secret."""

    name: str
    """What messages call it: start, poll, end, add users, …"""
    method: str
    url: str = field(repr=False)
    """Signed and sent byte for byte."""
    client_id: str = field(repr=False)
    secret: str = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    content_type: str | None = "application/json"
    """Session calls have one although they have no body; a management call without a body has none."""
    idempotent: bool = False
    """Whether it may be sent again although it may have been carried out."""
    rings: bool = False
    """Whether it makes a phone ring. Then not even a 429, perhaps a gateway's, proves that it was not carried out."""

    def headers(self, nonce: int, timestamp: int) -> dict[str, str]:
        """The signature and the type of the body."""
        headers = authentication_headers(
            self.client_id, self.secret, self.url, nonce=nonce, timestamp=timestamp
        )
        if self.content_type is not None:
            headers["Content-Type"] = self.content_type
        return headers


def authentication_headers(
    client_id: str, secret: str, url: str, *, nonce: int, timestamp: int
) -> dict[str, str]:
    """The headers that sign one request.

    `url` is the full URL as it is sent, `nonce` a random unsigned 64-bit integer, `timestamp` Unix time in
    whole seconds.
    """
    signed_url = url.partition("://")[2]
    nonce_text = str(nonce)
    key = hashlib.sha256((nonce_text + secret).encode()).digest()[:16]
    digest = hmac.digest(key, f"{nonce_text}{signed_url}{timestamp}".encode(), "sha256")[:16]
    signature = base64.b64encode(digest).decode("ascii")
    return {
        "Authentication": f"hmac {client_id}:{nonce_text}:{signature}",
        "X-IAMPASS-Authentication-Timestamp": str(timestamp),
        # The service knows this header by its misspelt name only.
        "X-IAMOASS-Authentication-Version": "1",
    }

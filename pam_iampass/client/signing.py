"""Signatures: the headers by which IAMPASS knows who sends a request.

Source: the table «Signing» of the wire protocol. The body is not signed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac


def authentication_headers(
    client_id: str, secret: str, url: str, *, nonce: int, timestamp: int
) -> dict[str, str]:
    """The headers that sign one request.

    `url` is the full URL as it is sent, `nonce` a random unsigned 64-bit integer, `timestamp` Unix time in
    whole seconds. The id and the secret are the application's, or a session's token and secret for the
    session calls.
    """
    signed_url = url.partition("://")[2]
    nonce_text = str(nonce)
    key = hashlib.sha256((nonce_text + secret).encode()).digest()[:16]
    digest = hmac.new(key, f"{nonce_text}{signed_url}{timestamp}".encode(), hashlib.sha256).digest()[:16]
    signature = base64.b64encode(digest).decode("ascii")
    return {
        "Authentication": f"hmac {client_id}:{nonce_text}:{signature}",
        "X-IAMPASS-Authentication-Timestamp": str(timestamp),
        # The service knows this header by its misspelt name only.
        "X-IAMOASS-Authentication-Version": "1",
    }

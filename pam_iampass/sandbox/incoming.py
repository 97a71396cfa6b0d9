"""One call as it came in."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from multidict import CIMultiDictProxy

from pam_iampass.sandbox.errors import unauthorized
from pam_iampass.sandbox.target import Target


@dataclass(frozen=True)
class Incoming:
    """A complete request, nothing of it decoded yet."""

    method: str
    raw_target: str
    """Path and query exactly as they stood in the request line."""
    target: Target
    headers: CIMultiDictProxy[str]
    body: bytes
    host: str
    """The Host header, which names the origin that the caller believes to talk to."""

    @property
    def origin(self) -> str:
        """The origin for URLs in the answer: the caller takes none but its own."""
        return f"https://{self.host}"

    @property
    def signed_url(self) -> str:
        """The URL that the caller must have signed."""
        return self.host + self.raw_target

    def require_bearer(self, token: str, what: str) -> None:
        """Raises Refusal (401) unless the call carries this token. ``what`` names it for people."""
        expected = f"Bearer {token}".encode()
        sent = self.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(expected, sent):
            raise unauthorized("BAD_TOKEN", f"this call needs: Authorization: Bearer <{what}>")

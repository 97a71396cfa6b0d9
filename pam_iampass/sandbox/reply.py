"""The reply to one request."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Callable

from pam_iampass.sandbox.errors import Refusal, Unknown

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable

    from aiohttp import web

    Stream = Callable[[web.BaseRequest, asyncio.Event], Awaitable[web.StreamResponse]]

Headers = tuple[tuple[str, str], ...]


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

    @property
    def reason_phrase(self) -> str:
        """The standard phrase for the status."""
        try:
            return HTTPStatus(self.status).phrase
        except ValueError:
            return "Unknown"

    def all_headers(self, date: str) -> Headers:
        """All headers that are sent."""
        return (
            ("Date", date),
            ("Content-Type", self.content_type),
            ("Content-Length", str(len(self.body))),
            ("Cache-Control", "no-store"),
            *self.headers,
        )

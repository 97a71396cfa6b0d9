"""The answer to one call, before it goes to the wire."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Callable

from pam_iampass.sandbox.errors import Refusal

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable

    from aiohttp import web

    Stream = Callable[[web.BaseRequest, asyncio.Event], Awaitable[web.StreamResponse]]

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Answer:
    """What the service answers. Content-Length and Date are added where it is sent."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Headers = ()

    @classmethod
    def of(cls, value: dict[str, Any], status: int = 200, headers: Headers = ()) -> Answer:
        """The JSON answer that holds this object."""
        return cls(status=status, body=json.dumps(value).encode(), headers=headers)

    @classmethod
    def refusing(cls, refusal: Refusal) -> Answer:
        """The JSON answer that tells the caller what was wrong."""
        value = {"reason": refusal.reason, "detail": refusal.detail}
        return cls.of(value, refusal.status, refusal.headers)

    def with_body(self, body: bytes) -> Answer:
        """The same answer with other bytes in it."""
        return replace(self, body=body)

    def all_headers(self, date: str) -> Headers:
        """Every header that goes out with the body."""
        return (
            ("Date", date),
            ("Content-Type", self.content_type),
            ("Content-Length", str(len(self.body))),
            ("Cache-Control", "no-store"),
            *self.headers,
        )

    def as_bytes(self, date: str) -> bytes:
        """The whole HTTP/1.1 answer, for faults that play with the bytes themselves."""
        lines = [f"HTTP/1.1 {self.status} {reason_phrase(self.status)}"]
        lines += [f"{name}: {value}" for name, value in self.all_headers(date)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


@dataclass(frozen=True)
class StreamedAnswer(Answer):
    """An answer without an end: ``stream`` sends it until the caller, or the sandbox, has enough."""

    stream: Stream | None = None


def reason_phrase(status: int) -> str:
    """The words that go with a status code; a made-up code has none of its own."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"

"""Faults of the service, for tests of clients.

Each is a small frozen value. Some change the reply (another status, junk, a foreign URL), some its bytes on the wire
(drip, hang, reset). ``acts`` says whether the call has its effect before the fault: after a lost reply to a start there
is a session; after a 503 there is none.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Callable, ClassVar

from pam_iampass.sandbox.reply import Headers, ServiceReply

if TYPE_CHECKING:
    from pam_iampass.sandbox.connection import ClientConnection

ELSEWHERE = "https://elsewhere.example"


class Fault:
    """One fault."""

    acts: bool
    raw: ClassVar[bool] = False
    """Whether ``play`` sends the response. It gets all of its bytes."""

    def change(self, reply: ServiceReply) -> ServiceReply:
        """The faulty reply."""
        return reply

    async def play(self, connection: ClientConnection, data: bytes) -> None:
        """Send the response, or a part of it."""
        raise NotImplementedError


@dataclass(frozen=True)
class HttpStatus(Fault):
    """Another HTTP status, with any body and headers."""

    status: int = 503
    retry_after: str | None = None
    """The Retry-After header: seconds or an HTTP date."""
    body: bytes = b""
    headers: Headers = ()
    acts: bool = False

    def change(self, reply: ServiceReply) -> ServiceReply:
        headers = self.headers
        if self.retry_after is not None:
            headers = (("Retry-After", self.retry_after), *headers)
        return ServiceReply(self.status, self.body, "text/plain", headers)


@dataclass(frozen=True)
class Redirect(Fault):
    """A redirect to another URL."""

    location: str = ELSEWHERE + "/"
    status: int = 302
    acts: bool = False

    def change(self, reply: ServiceReply) -> ServiceReply:
        return ServiceReply(self.status, b"", "text/plain", (("Location", self.location),))


@dataclass(frozen=True)
class Junk(Fault):
    """A 200 with another body."""

    body: bytes = b"<html>It works!</html>"
    content_type: str = "text/html"
    acts: bool = True

    def change(self, reply: ServiceReply) -> ServiceReply:
        return ServiceReply(200, self.body, self.content_type)


@dataclass(frozen=True)
class Empty(Fault):
    """A 200 without a body."""

    acts: bool = True

    def change(self, reply: ServiceReply) -> ServiceReply:
        return reply.with_body(b"")


@dataclass(frozen=True)
class Oversized(Fault):
    """The correct reply, padded with white space."""

    size: int = 1024 * 1024
    """Bytes."""
    acts: bool = True

    def change(self, reply: ServiceReply) -> ServiceReply:
        return reply.with_body(reply.body.ljust(self.size))


@dataclass(frozen=True)
class Compressed(Fault):
    """The correct reply, compressed although the client did not ask for it."""

    acts: bool = True

    def change(self, reply: ServiceReply) -> ServiceReply:
        headers = (("Content-Encoding", "gzip"), *reply.headers)
        return replace(reply, body=gzip.compress(reply.body), headers=headers)


@dataclass(frozen=True)
class ForeignURL(Fault):
    """Session URLs of another origin."""

    origin: str = ELSEWHERE
    keys: tuple[str, ...] = ("status_url", "logout_url")
    acts: bool = True

    def change(self, reply: ServiceReply) -> ServiceReply:
        return _edited(reply, dict.fromkeys(self.keys, self._moved))

    def _moved(self, url: Any) -> str:
        return self.origin + "/" + str(url).split("/", 3)[-1]


@dataclass(frozen=True)
class SessionState(Fault):
    """Another ``session_status``."""

    status: str = "levitating"
    acts: bool = True

    def change(self, reply: ServiceReply) -> ServiceReply:
        return _edited(reply, {"session_status": lambda _: self.status})


@dataclass(frozen=True)
class ReplacedKey(Fault):
    """A key of the reply, at any depth, with another value, such as one of a wrong type."""

    key: str = "authenticated"
    value: Any = "false"
    acts: bool = True

    def change(self, reply: ServiceReply) -> ServiceReply:
        return _edited(reply, {self.key: lambda _: self.value})


@dataclass(frozen=True)
class MissingKey(Fault):
    """A key of the reply, at any depth, is missing."""

    key: str = "authentication_status"
    acts: bool = True

    def change(self, reply: ServiceReply) -> ServiceReply:
        return _edited(reply, {self.key: None})


@dataclass(frozen=True)
class Truncated(Fault):
    """The connection ends after a part of the body."""

    keep: int = 5
    """Bytes."""
    acts: bool = True
    raw: ClassVar[bool] = True

    async def play(self, connection: ClientConnection, data: bytes) -> None:
        head, separator, body = data.partition(b"\r\n\r\n")
        await connection.send(head + separator + body[: self.keep])
        connection.close()


@dataclass(frozen=True)
class Drip(Fault):
    """The response is sent byte by byte."""

    seconds: float = 0.1
    """Between two bytes."""
    head: bool = False
    """Whether the status line and the headers drip as well."""
    acts: bool = True
    raw: ClassVar[bool] = True

    async def play(self, connection: ClientConnection, data: bytes) -> None:
        start = 0 if self.head else data.index(b"\r\n\r\n") + 4
        await connection.send(data[:start])
        for position in range(start, len(data)):
            await connection.pause(self.seconds)
            await connection.send(data[position : position + 1])


@dataclass(frozen=True)
class Hang(Fault):
    """The response pauses after some bytes, or never continues."""

    seconds: float | None = None
    """The duration; None for as long as the sandbox runs."""
    sent: int = 0
    """Bytes of the whole response, including the head, before the pause."""
    acts: bool = True
    raw: ClassVar[bool] = True

    async def play(self, connection: ClientConnection, data: bytes) -> None:
        await connection.send(data[: self.sent])
        await connection.pause(self.seconds)
        if self.seconds is not None:
            await connection.send(data[self.sent :])


@dataclass(frozen=True)
class Reset(Fault):
    """The connection breaks (TCP RST) after some bytes of the response."""

    sent: int = 0
    acts: bool = True
    raw: ClassVar[bool] = True

    async def play(self, connection: ClientConnection, data: bytes) -> None:
        await connection.send(data[: self.sent])
        connection.reset()


@dataclass(frozen=True)
class Dropped(Fault):
    """The correct response; then the connection ends, against its promise to stay open."""

    acts: bool = True
    raw: ClassVar[bool] = True

    async def play(self, connection: ClientConnection, data: bytes) -> None:
        await connection.send(data)
        connection.close()


def _edited(reply: ServiceReply, edits: dict[str, Callable[[Any], Any] | None]) -> ServiceReply:
    """The reply with these keys changed, or removed for None, at any depth."""

    def edit(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        edited = {}
        for key, each in value.items():
            change = edits.get(key, edit)
            if change is not None:
                edited[key] = change(each)
        return edited

    return reply.with_body(json.dumps(edit(json.loads(reply.body))).encode())

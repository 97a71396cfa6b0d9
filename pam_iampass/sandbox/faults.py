"""Ways to misbehave, for tests of whoever calls.

Each is a small frozen value. Some change the answer (another status, junk, a foreign URL), some play with its
bytes on the wire (drip, hang, reset). ``acts`` says whether the service does what it was asked before it
misbehaves: after a lost answer to a start there is a session; after a 503 there is none.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass, replace
from typing import Any, Callable, ClassVar, Protocol

from pam_iampass.sandbox.answer import Answer, Headers

ELSEWHERE = "https://elsewhere.example"


class Wire(Protocol):
    """The connection, as a fault sees it."""

    async def send(self, data: bytes) -> None:
        """Send bytes now."""

    async def pause(self, seconds: float | None) -> None:
        """Wait; without a number until the sandbox stops. Ends early when the sandbox stops."""

    def close(self) -> None:
        """End the connection in good order."""

    def reset(self) -> None:
        """Break the connection."""


class Fault:
    """One way to misbehave."""

    acts: bool
    raw: ClassVar[bool] = False
    """Whether ``play`` sends the answer. It gets the whole of it as bytes."""

    def change(self, answer: Answer) -> Answer:
        """What is answered instead."""
        return answer

    async def play(self, wire: Wire, data: bytes) -> None:
        """Send the answer, or what is to become of it."""
        raise NotImplementedError


@dataclass(frozen=True)
class Status(Fault):
    """Another HTTP status, with a body and headers of one's choice."""

    status: int = 503
    retry_after: str | None = None
    """The Retry-After header: seconds or an HTTP date."""
    body: bytes = b""
    headers: Headers = ()
    acts: bool = False

    def change(self, answer: Answer) -> Answer:
        headers = self.headers
        if self.retry_after is not None:
            headers = (("Retry-After", self.retry_after), *headers)
        return Answer(self.status, self.body, "text/plain", headers)


@dataclass(frozen=True)
class Redirect(Fault):
    """A redirect to somewhere else."""

    location: str = ELSEWHERE + "/"
    status: int = 302
    acts: bool = False

    def change(self, answer: Answer) -> Answer:
        return Answer(self.status, b"", "text/plain", (("Location", self.location),))


@dataclass(frozen=True)
class Junk(Fault):
    """A 200 whose body is something else."""

    body: bytes = b"<html>It works!</html>"
    content_type: str = "text/html"
    acts: bool = True

    def change(self, answer: Answer) -> Answer:
        return Answer(200, self.body, self.content_type)


@dataclass(frozen=True)
class Empty(Fault):
    """A 200 without a body."""

    acts: bool = True

    def change(self, answer: Answer) -> Answer:
        return answer.with_body(b"")


@dataclass(frozen=True)
class Oversized(Fault):
    """The right answer, followed by white space up to a size."""

    size: int = 1024 * 1024
    """Bytes."""
    acts: bool = True

    def change(self, answer: Answer) -> Answer:
        return answer.with_body(answer.body.ljust(self.size))


@dataclass(frozen=True)
class Compressed(Fault):
    """The right answer, compressed though nobody asked for it."""

    acts: bool = True

    def change(self, answer: Answer) -> Answer:
        headers = (("Content-Encoding", "gzip"), *answer.headers)
        return replace(answer, body=gzip.compress(answer.body), headers=headers)


@dataclass(frozen=True)
class ForeignURL(Fault):
    """The session's URLs lead to another origin."""

    origin: str = ELSEWHERE
    keys: tuple[str, ...] = ("status_url", "logout_url")
    acts: bool = True

    def change(self, answer: Answer) -> Answer:
        return _edited(answer, dict.fromkeys(self.keys, self._moved))

    def _moved(self, url: Any) -> str:
        return self.origin + "/" + str(url).split("/", 3)[-1]


@dataclass(frozen=True)
class SessionState(Fault):
    """Another ``session_status`` than the true one."""

    status: str = "levitating"
    acts: bool = True

    def change(self, answer: Answer) -> Answer:
        return _edited(answer, {"session_status": lambda _: self.status})


@dataclass(frozen=True)
class Replaced(Fault):
    """A key of the answer, at any depth, with another value: a wrong type, for one."""

    key: str = "authenticated"
    value: Any = "false"
    acts: bool = True

    def change(self, answer: Answer) -> Answer:
        return _edited(answer, {self.key: lambda _: self.value})


@dataclass(frozen=True)
class Missing(Fault):
    """A key of the answer, at any depth, is not there."""

    key: str = "authentication_status"
    acts: bool = True

    def change(self, answer: Answer) -> Answer:
        return answer.with_body(json.dumps(_without(json.loads(answer.body), self.key)).encode())


@dataclass(frozen=True)
class Truncated(Fault):
    """The connection ends after some bytes of the body."""

    keep: int = 5
    acts: bool = True
    raw: ClassVar[bool] = True

    async def play(self, wire: Wire, data: bytes) -> None:
        head, separator, body = data.partition(b"\r\n\r\n")
        await wire.send(head + separator + body[: self.keep])
        wire.close()


@dataclass(frozen=True)
class Drip(Fault):
    """The answer comes byte by byte."""

    seconds: float = 0.1
    """Between two bytes."""
    head: bool = False
    """Whether the status line and the headers drip as well."""
    acts: bool = True
    raw: ClassVar[bool] = True

    async def play(self, wire: Wire, data: bytes) -> None:
        start = 0 if self.head else data.index(b"\r\n\r\n") + 4
        await wire.send(data[:start])
        for position in range(start, len(data)):
            await wire.pause(self.seconds)
            await wire.send(data[position : position + 1])


@dataclass(frozen=True)
class Hang(Fault):
    """The answer stops after some bytes; for a while, or for good."""

    seconds: float | None = None
    """How long; None for as long as the sandbox runs."""
    sent: int = 0
    """Bytes of the whole answer, head included, that go out first."""
    acts: bool = True
    raw: ClassVar[bool] = True

    async def play(self, wire: Wire, data: bytes) -> None:
        await wire.send(data[: self.sent])
        await wire.pause(self.seconds)
        if self.seconds is not None:
            await wire.send(data[self.sent :])


@dataclass(frozen=True)
class Reset(Fault):
    """The connection breaks (TCP RST) after some bytes of the answer, by default before the first."""

    sent: int = 0
    acts: bool = True
    raw: ClassVar[bool] = True

    async def play(self, wire: Wire, data: bytes) -> None:
        await wire.send(data[: self.sent])
        wire.reset()


@dataclass(frozen=True)
class Dropped(Fault):
    """The right answer; then the connection ends, though it promised to stay."""

    acts: bool = True
    raw: ClassVar[bool] = True

    async def play(self, wire: Wire, data: bytes) -> None:
        await wire.send(data)
        wire.close()


def _edited(answer: Answer, edits: dict[str, Callable[[Any], Any]]) -> Answer:
    def edit(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {key: edits[key](each) if key in edits else edit(each) for key, each in value.items()}

    return answer.with_body(json.dumps(edit(json.loads(answer.body))).encode())


def _without(value: Any, missing: str) -> Any:
    if not isinstance(value, dict):
        return value
    return {key: _without(each, missing) for key, each in value.items() if key != missing}

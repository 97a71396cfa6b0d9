"""The sandbox as tests use it: it records calls, can be waited for, and answers with faults.

A fault is a small frozen value. Some change the reply, some its way to the client. ``acts`` says whether the call has
its effect before the fault: after a lost reply to a start there is a session; after a 503 there is none.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Callable, TypeVar
from urllib.parse import urlsplit

from aiohttp import web

from pam_iampass.client.status import Status
from pam_iampass.sandbox import calls, phone, sandbox
from pam_iampass.sandbox.calls import Backend
from pam_iampass.sandbox.sessions import EndedBy, SandboxSession, SessionOrUser
from pam_iampass.sandbox.state import Sms
from pam_iampass.server.http import Dispatcher, Handler, find_handler
from pam_iampass.server.messages import IncomingRequest, RefusedRequest, Reply
from tests.support.deadline import PATIENCE

Found = TypeVar("Found")

_KINDS: Mapping[Handler[Backend], str] = {
    calls.start: "start",
    calls.poll: "poll",
    calls.end: "end",
    calls.add_users: "add_users",
    calls.delete_users: "delete_users",
    calls.link: "registration_link",
    calls.sms: "registration_sms",
    calls.device: "has_device",
    calls.lost_device: "lost_device",
}
"""The calls of the wire protocol, which can be answered with a fault. All other requests are of the kind ``other``."""


@dataclass(frozen=True)
class Call:
    """One call."""

    kind: str
    path: str
    """As it was sent, without the query."""
    at: float
    """``time.monotonic()`` seconds when the call was complete."""
    status: int
    """The HTTP status of the reply, which a fault may have prevented."""


class Fault:
    """One fault."""

    acts: bool

    def change(self, reply: Reply) -> Reply:
        """The faulty reply."""
        return reply

    async def interfere(self, connection: asyncio.Transport, stopping: asyncio.Event) -> None:
        """Called before the response is sent. `stopping` is set when the sandbox stops."""


@dataclass(frozen=True)
class HttpStatus(Fault):
    """Another HTTP status."""

    status: int = 503
    acts: bool = False

    def change(self, reply: Reply) -> Reply:
        return Reply(self.status, b"", "text/plain")


@dataclass(frozen=True)
class Junk(Fault):
    """A 200 with another body."""

    body: bytes = b"<html>It works!</html>"
    content_type: str = "text/html"
    acts: bool = True

    def change(self, reply: Reply) -> Reply:
        return Reply(200, self.body, self.content_type)


@dataclass(frozen=True)
class ReplacedKey(Fault):
    """A key of the reply, at any depth, with another value, such as one of a wrong type."""

    key: str
    value: Any
    acts: bool = True

    def change(self, reply: Reply) -> Reply:
        return _with_key(reply, self.key, self.value)


@dataclass(frozen=True)
class SessionState(Fault):
    """Another ``session_status``, known or not."""

    status: str
    acts: bool = True

    def change(self, reply: Reply) -> Reply:
        return _with_key(reply, "session_status", self.status)


def _with_key(reply: Reply, key: str, value: Any) -> Reply:
    def edited(content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        return {name: value if name == key else edited(each) for name, each in content.items()}

    return replace(reply, body=json.dumps(edited(json.loads(reply.body))).encode())


@dataclass(frozen=True)
class Slow(Fault):
    """The response comes later."""

    seconds: float = 2.0
    acts: bool = True

    async def interfere(self, connection: asyncio.Transport, stopping: asyncio.Event) -> None:
        await asyncio.sleep(self.seconds)


@dataclass(frozen=True)
class Hang(Fault):
    """The response never comes."""

    acts: bool = True

    async def interfere(self, connection: asyncio.Transport, stopping: asyncio.Event) -> None:
        await stopping.wait()


@dataclass(frozen=True)
class Held(Fault):
    """The response comes once this is set."""

    until: threading.Event = field(default_factory=threading.Event)
    acts: bool = True

    async def interfere(self, connection: asyncio.Transport, stopping: asyncio.Event) -> None:
        while not (self.until.is_set() or stopping.is_set()):
            await asyncio.sleep(0.02)


@dataclass(frozen=True)
class Reset(Fault):
    """The connection breaks (TCP RST) instead of a response."""

    acts: bool = True

    async def interfere(self, connection: asyncio.Transport, stopping: asyncio.Event) -> None:
        # Without lingering, the kernel sends RST.
        connection.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        connection.abort()


class _FaultyDispatcher(Dispatcher[Backend]):
    """Records the calls, and answers them with the faults that were planned."""

    def __init__(self, backend: Backend, *arguments: Any) -> None:
        super().__init__((*calls.ROUTES, *phone.ROUTES), backend, *arguments)
        self.backend = backend
        self.calls: list[Call] = []
        self.open_pages = 0
        self.plan()

    def plan(self) -> None:
        """Delete all faults that are still to come."""
        self.next: dict[str, deque[Fault]] = {kind: deque() for kind in _KINDS.values()}
        self.always: dict[str, Fault] = {}

    async def handle(self, http: web.BaseRequest, stopping: asyncio.Event) -> web.StreamResponse:
        request = IncomingRequest(http.method, http.raw_path, http.headers.items(), await http.read())
        kind = _kind_of(request)
        fault = self.next[kind].popleft() if self.next.get(kind) else self.always.get(kind)
        reply = await self.reply(request) if fault is None or fault.acts else Reply.of({})
        if fault is not None:
            reply = fault.change(reply)
        assert isinstance(http.transport, asyncio.Transport)
        self.calls.append(Call(kind, request.path, time.monotonic(), reply.status))
        is_page = reply.stream is not None
        self.open_pages += is_page
        self.backend.state.notifier.changed()
        try:
            if fault is not None:
                await fault.interfere(http.transport, stopping)
            return await self.send(http, reply, stopping)
        finally:
            self.open_pages -= is_page


def _kind_of(request: IncomingRequest) -> str:
    try:
        return _KINDS[find_handler(calls.ROUTES, request)]
    except RefusedRequest:
        return "other"


class Sandbox(sandbox.Sandbox):
    """A sandbox whose users do what a test says, and that misbehaves when it is told to."""

    clock_skew = 0.0
    """Seconds by which its clock is fast: in Date, and for the check of timestamps."""

    _dispatcher: _FaultyDispatcher

    def _make_dispatcher(self, names: frozenset[str]) -> _FaultyDispatcher:
        return _FaultyDispatcher(self._backend, names, self._now, self._report)

    def _now(self) -> float:
        return super()._now() + self.clock_skew

    def __enter__(self) -> Sandbox:
        super().__enter__()
        return self

    def delete_user(self, user: str) -> None:
        """Remove a user, and end its sessions."""
        self._state.delete_user(user)

    def lose_device(self, user: str) -> None:
        """The user loses the phone: it stays registered, but nobody can answer on it. Raises LookupError."""
        self._state.users.set_lost(user, True)

    @property
    def messages(self) -> tuple[Sms, ...]:
        """Every registration SMS so far."""
        return self._state.users.messages

    # On the phone. ``request`` is as in ``approve``.

    def open_link(self, link: str) -> None:
        """Register a phone: what it does with a registration link."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context)
        connection.request("POST", urlsplit(link).path)
        assert connection.getresponse().status == 200
        connection.close()

    def fail(self, request: SessionOrUser) -> SandboxSession:
        """The phone does not recognize the user: ``failed``."""
        return self._state.answer(request, Status.failed)

    def time_out(self, request: SessionOrUser) -> SandboxSession:
        """Let the request time out now: ``timeout``."""
        return self._state.sessions.decide(request, Status.timeout)

    def identify(self, request: SessionOrUser) -> SandboxSession:
        """The user has begun to answer: ``identifying``, still undecided."""
        return self._state.answer(request, Status.identifying)

    def walk_away(self, session: SessionOrUser) -> SandboxSession:
        """The user leaves an active session: ``walkaway``."""
        return self._state.sessions.walk_away(session)

    def come_back(self, session: SessionOrUser) -> SandboxSession:
        """The user returns to a session: ``active`` again."""
        return self._state.sessions.come_back(session)

    def close(self, session: SessionOrUser) -> SandboxSession:
        """End an open session on the phone: ``closed``."""
        return self._state.move(session, "end")

    # Watching

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every call so far, in order."""
        return tuple(self._dispatcher.calls)

    def _wait_for(self, find: Callable[[], Found | None], timeout: float, what: str) -> Found:
        """Call ``find`` after each change until it returns a result. Raises TimeoutError."""
        changed, deadline = threading.Event(), time.monotonic() + timeout
        with self._state.notifier.watched(changed.set):
            while True:
                changed.clear()
                found = find()
                if found:
                    return found
                if not changed.wait(max(deadline - time.monotonic(), 0)):
                    raise TimeoutError(f"not within {timeout} s: {what}")

    def wait_for_session(
        self, fits: Callable[[SandboxSession], bool], timeout: float = PATIENCE, what: str = "such a session"
    ) -> SandboxSession:
        """Wait for a session that fits; returns the newest. Raises TimeoutError."""

        def newest() -> SandboxSession | None:
            return next((session for session in reversed(self.sessions) if fits(session)), None)

        return self._wait_for(newest, timeout, what)

    def wait_for_request(
        self, user: str | None = None, timeout: float = PATIENCE, after: SandboxSession | None = None
    ) -> SandboxSession:
        """Wait for an undecided request of a user, or of any; returns the newest. Raises TimeoutError.

        :param after: only a request that began after this one.
        """
        first = 0 if after is None else after.number

        def fits(session: SandboxSession) -> bool:
            return session.undecided and session.number > first and user in (None, session.user)

        return self.wait_for_session(fits, timeout, f"a request for {user or 'any user'}")

    def wait_for_end(self, which: SessionOrUser, timeout: float = PATIENCE) -> SandboxSession:
        """Wait until the client has ended a session, of a user the newest. Raises TimeoutError."""
        key = which.number if isinstance(which, SandboxSession) else which

        def ended() -> SandboxSession | None:
            matching = [session for session in self.sessions if key in (session.number, session.user)]
            return matching[-1] if matching and matching[-1].ended_by is EndedBy.CLIENT else None

        return self._wait_for(ended, timeout, f"{which!r} ended by its client")

    def wait_for_phone(self, timeout: float = PATIENCE) -> None:
        """Wait until a phone page is open. Raises TimeoutError."""
        self._wait_for(lambda: self._dispatcher.open_pages or None, timeout, "an open phone page")

    def wait_for_calls(self, kind: str, count: int = 1, timeout: float = PATIENCE) -> tuple[Call, ...]:
        """Wait for a number of calls of a kind; returns all of them. Raises TimeoutError."""

        def enough() -> tuple[Call, ...]:
            calls = tuple(call for call in self.calls if call.kind == kind)
            return calls if len(calls) >= count else ()

        return self._wait_for(enough, timeout, f"{count} calls: {kind}")

    # Misbehaving

    def misbehave(self, kind: str, *faults: Fault, times: int | None = 1) -> None:
        """Answer the next calls of a kind with these faults, one after the other.

        :param times: how often each; None for always, after the faults that come a number of times.
        """
        for fault in faults:
            if times is None:
                self._dispatcher.always[kind] = fault
            else:
                self._dispatcher.next[kind].extend([fault] * times)

    def behave(self) -> None:
        """Delete all faults that are still to come."""
        self._dispatcher.plan()

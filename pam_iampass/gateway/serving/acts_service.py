"""The socket at which a gateway answers the portal: who may connect, and how a call is answered and refused.

The portal is the only peer, and it is not trusted: whatever it sends may be an attacker's. Calls are declared in
`portal/calls.py`; what each field must be, and what is done then, is in `acts_calls.py`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Callable, TypeVar
from weakref import WeakValueDictionary

from pam_iampass.client.errors import IampassError
from pam_iampass.errors import EditRefused
from pam_iampass.fleet.act import Check
from pam_iampass.gateway.acts.act import checked
from pam_iampass.gateway.acts.names import UnknownName
from pam_iampass.gateway.acts.rings import WaitingForRings
from pam_iampass.gateway.base.connection import DatabaseError, UnknownOutcome
from pam_iampass.gateway.base.database import work_for
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.base.keys import Tampered
from pam_iampass.gateway.requests.own_requests import NotApproved
from pam_iampass.gateway.serving.watching import look_for_changes
from pam_iampass.gateway.sign_in.actors import BadParameter, NotPermitted, NotSignedIn, ProofRefused, TooMany
from pam_iampass.portal.calls import Call, Error
from pam_iampass.server.http import Dispatcher, Route, find_handler
from pam_iampass.server.messages import IncomingRequest, RefusedRequest, Reply
from pam_iampass.server.serving import Bounds, Owner
from pam_iampass.server.strangers import LineIsFull, Strangers
from pam_iampass.system.unix_sockets import peer_credentials
from pam_iampass.text import clean

T = TypeVar("T")
BOUNDS = Bounds(connections=700, of_one_address=600, body=16 * 1024, lines=100, waiting=4)
"""The bounds of what the peers can send. The portal cannot take the connections that are left for root."""
CONNECTIONS = 6
"""Connections to the database. Calls have three of them at most."""
MOST_HELD = 60
"""Calls that wait for a phone at the same time. Others are answered at once, so that calls find a connection."""
MOST_HELD_OF_ONE = 8
"""Calls among these of one person, in all sign-ins, or of one link."""
MOST_AT_ONCE = 8
"""Calls of one sign-in, or of one link, at the same time: neither takes all connections, and all that is slow."""
MOST_OF_STRANGERS = 2
"""Calls of strangers at the same time: without a token, to sign in, or with one that is looked for."""
STRANGERS_WAIT = 500
"""Calls of strangers that wait for these. After a restart, everybody who has signed in is a stranger: the portal has so
many connections. The line for each address is the portal's, which alone knows the address."""
_MOST_REFUSED = 100
"""Users whose refused connections are named in the journal, each once."""
Find = Callable[[Gateway, str], Coroutine[Any, Any, Any]]
"""Looks for a token that was not found lately. Raises NotSignedIn or ProofRefused if the token is not good."""


@dataclass(frozen=True)
class Answered:
    """How a call is answered."""

    checks: Mapping[str, Check]
    """The check of each field."""
    respond: Callable[[ActsService, Any], Coroutine[Any, Any, Any]]
    """Does what is asked; returns the answer. Raises CallRefused, and what `_refusal` knows."""
    find: Find


class CallRefused(RefusedRequest):
    """A call that is refused."""

    def __init__(self, error: Error, detail: str = "", parameter: str = "") -> None:
        super().__init__(error.status, error.name, detail or error.words)
        self.parameter = parameter
        """The field that is wrong; empty if it is none."""

    @classmethod
    def of(cls, error: BadParameter, within: str = "") -> CallRefused:
        """The refusal for a field that is wrong, `within` another one."""
        return cls(Error.BAD_FIELD, error.problem, within + clean(error.name, 40))


# The service


@dataclass
class ActsService:
    """Answers the calls of the portal."""

    gateway: Gateway
    stopping: asyncio.Event
    views: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """Views are read one after the other: acts find a connection to the database beside them."""
    held: Counter[str] = field(default_factory=Counter)
    """How many calls wait for a phone now, by the person, or by what a link is for."""
    rings: WaitingForRings = field(default_factory=WaitingForRings)
    ring_reads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """Each page that was woken reads for itself: they do so one after the other, as `views`."""
    under_way: WeakValueDictionary[str, asyncio.Semaphore] = field(default_factory=WeakValueDictionary)
    """Full if MOST_AT_ONCE calls with a token are not answered yet, by that token."""
    strangers: Strangers = field(default_factory=lambda: Strangers(MOST_OF_STRANGERS, STRANGERS_WAIT))
    """They keep at least one of the connections of calls free for people who have signed in."""
    _lines: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    @asynccontextmanager
    async def turn(self, token: str | None, find: Find) -> AsyncIterator[None]:
        """The turn of a call. Without a token, the call waits in the line of strangers. A token that was not found
        lately is looked for in that line. Raises CallRefused, and what `find` raises."""
        if token is None:
            async with self._stranger():
                yield
            return
        few = self.under_way.setdefault(token, asyncio.Semaphore(MOST_AT_ONCE))
        if few.locked():
            raise CallRefused(Error.BUSY)
        async with few:
            if not self.strangers.knows(token):
                async with self._stranger():
                    await find(self.gateway, token)
                self.strangers.found(token)
            work_for("portal")
            yield

    @asynccontextmanager
    async def _stranger(self) -> AsyncIterator[None]:
        work_for("strangers")
        try:
            async with self.strangers.turn(""):
                yield
        except LineIsFull:
            raise CallRefused(Error.BUSY) from None

    @asynccontextmanager
    async def look(self, token: str) -> AsyncIterator[None]:
        """The turn of a sign-in to read a view: one of each waits for it, the others of that sign-in behind it."""
        line = self._lines.setdefault(token, asyncio.Lock())
        async with line, self.views:
            yield

    def patience(self, seconds: float, who: str) -> float:
        """How long a call may wait for a phone that would wait for so long."""
        is_free = sum(self.held.values()) < MOST_HELD and self.held[who] < MOST_HELD_OF_ONE
        return seconds if is_free else 0.0

    async def hold(self, work: Coroutine[Any, Any, T], who: str) -> T:
        """Wait for a phone; its result. Raises CallRefused if the gateway stops."""
        self.held[who] += 1
        try:
            return await self.unless_stopping(work)
        finally:
            self.held -= Counter((who,))

    async def unless_stopping(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of what waits. Raises CallRefused if the gateway stops before."""
        waiting = asyncio.ensure_future(work)
        stops = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait((waiting, stops), return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                raise CallRefused(Error.STOPPING)
            return waiting.result()
        finally:
            for each in (waiting, stops):
                each.cancel()

    async def wake_pages(self) -> None:
        """Wake the pages that wait for what asks somebody now, until this is cancelled."""
        await look_for_changes(self.gateway, lambda: bool(len(self.rings)), self.rings.wake_changed)


class ActsDispatcher(Dispatcher[ActsService]):
    """Answers the calls, each in the form of this protocol."""

    def __init__(
        self,
        calls: Mapping[type[Call[Any]], Answered],
        service: ActsService,
        refused: Callable[[IncomingRequest, RefusedRequest], None],
    ) -> None:
        routes = tuple(Route("POST", cls.PATH, _handler(cls, answered)) for cls, answered in calls.items())
        super().__init__(routes, service, frozenset(), service.gateway.clock, refused)

    async def reply(self, request: IncomingRequest) -> Reply:
        """The reply to a call, which may be refused."""
        try:
            if request.query:
                raise CallRefused(Error.UNKNOWN_CALL)
            handler = find_handler(self._routes, request)
            _require_no_old_copy(self._service)
            reply = await handler(self._service, request)
            _require_no_old_copy(self._service)
            return reply
        except RefusedRequest as refusal:
            self._refused(request, refusal)
            answer = {"error": refusal.reason, "detail": refusal.detail}
            if isinstance(refusal, CallRefused) and refusal.parameter:
                answer["parameter"] = refusal.parameter
            return Reply.of(answer, refusal.status, refusal.headers)


def _require_no_old_copy(service: ActsService) -> None:
    """Raise CallRefused for an old copy of the database. It may also be found to be one while a call is answered."""
    if service.gateway.restored:
        raise CallRefused(Error.RESTORED)


def _handler(
    cls: type[Call[Any]], answered: Answered
) -> Callable[[ActsService, IncomingRequest], Coroutine[Any, Any, Reply]]:
    async def handle(service: ActsService, request: IncomingRequest) -> Reply:
        try:
            asked = cls(**checked(cls, answered.checks, _body(request)))
        except BadParameter as error:
            raise CallRefused.of(error) from None
        token: str | None = getattr(asked, "token", None)
        try:
            async with service.turn(token, answered.find):
                answer = await answered.respond(service, asked)
        except (EditRefused, DatabaseError, IampassError, Tampered) as error:
            if token is not None and isinstance(error, (NotSignedIn, ProofRefused, NotApproved)):
                service.strangers.forget(token)
            _require_no_old_copy(service)
            raise _refusal(error) from None
        return Reply(body=json.dumps(dataclasses.asdict(answer), default=datetime.isoformat).encode())

    return handle


def _body(request: IncomingRequest) -> dict[str, Any]:
    """The JSON object in the body, in which all texts are whole. Raises CallRefused."""
    try:
        value = request.json_object()
        text = json.dumps(value, ensure_ascii=False)
        text.encode()  # half a character is not UTF-8
        if "\\u0000" in text:  # the database has no such texts
            raise CallRefused(Error.BAD_BODY, "no text may have a NUL")
    except RefusedRequest as refusal:
        raise CallRefused(Error.BAD_BODY, refusal.detail) from None
    except UnicodeEncodeError:
        raise CallRefused(Error.BAD_BODY, "a text ends in half a character") from None
    return value


def _refusal(error: Exception) -> CallRefused:
    """The answer after an error. A person who may not see a name is not told whether somebody has it."""
    if isinstance(error, NotPermitted):
        return CallRefused(Error.NOT_PERMITTED)
    if isinstance(error, NotSignedIn):
        return CallRefused(Error.NOT_SIGNED_IN)
    if isinstance(error, (ProofRefused, NotApproved)):
        return CallRefused(Error.REFUSED)
    if isinstance(error, TooMany):
        return CallRefused(Error.BUSY)
    if isinstance(error, BadParameter):
        return CallRefused.of(error, "parameters.")
    if isinstance(error, UnknownName):  # its remedy has names of others
        return CallRefused(Error.ACT_REFUSED, "no person and no host has this name")
    if isinstance(error, EditRefused):
        return CallRefused(Error.ACT_REFUSED, ": ".join(filter(None, (str(error), error.remedy))))
    if isinstance(error, UnknownOutcome):
        return CallRefused(Error.UNKNOWN_OUTCOME)
    if isinstance(error, IampassError):
        return CallRefused(Error.IAMPASS_AWAY)
    return CallRefused(Error.DATABASE_AWAY)


# Who may connect


def peers(*uids: int) -> Owner:
    """Says whose a connection to the unix socket is: closed at once unless the other process has one of these uids, by
    the kernel's word (SO_PEERCRED, unix(7))."""
    named: set[int] = set()

    def owner(sock: socket.socket, _: Any) -> str | None:
        _pid, uid, _gid = peer_credentials(sock)
        if uid in uids:
            return str(uid)
        if uid not in named and len(named) < _MOST_REFUSED:
            named.add(uid)
            print(f"refused: a connection of the user with the id {uid}", file=sys.stderr, flush=True)
        return None

    return owner

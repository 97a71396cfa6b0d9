"""The socket at which a gateway answers the portal: who may connect, and how a call is declared, checked and refused.

A call is a frozen dataclass of what is sent, declared once with its path, what each field must be, what is answered,
and its errors. `docs/acts-protocol.md` is made from that, and the portal's client is compared with it. The portal is
the only peer, and it is not trusted: whatever it sends may be an attacker's. The calls themselves are in
`acts_calls.py`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import json
import socket
import sys
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, ClassVar, TypeVar, get_type_hints

from pam_iampass.client.errors import IampassError
from pam_iampass.errors import EditRefused
from pam_iampass.gateway.actors import BadParameter, NotPermitted, NotSignedIn, ProofRefused
from pam_iampass.gateway.acts.act import Check
from pam_iampass.gateway.acts.names import UnknownName
from pam_iampass.gateway.database import DatabaseError, UnknownOutcome, work_for
from pam_iampass.gateway.gateway import Gateway
from pam_iampass.gateway.keys import Tampered
from pam_iampass.gateway.own_requests import NotApproved
from pam_iampass.gateway.rings import WaitingForRings
from pam_iampass.gateway.serving import Bounds, Owner
from pam_iampass.gateway.watching import look_for_changes
from pam_iampass.server.http import Dispatcher, Route, find_handler
from pam_iampass.server.messages import IncomingRequest, RefusedRequest, Reply
from pam_iampass.system.unix_sockets import peer_credentials
from pam_iampass.text import clean

T = TypeVar("T")
C = TypeVar("C", bound="type[Call]")
BOUNDS = Bounds(connections=700, of_one_address=600, body=16 * 1024, lines=100, waiting=4)
"""The bounds of what the peers can send. The portal cannot take the connections that are left for root."""
SOCKET = Path("/run/iampass-gateway/acts.sock")
CONNECTIONS = 6
"""Connections to the database, of which calls have three at most."""
MOST_HELD = 60
"""Calls that wait for a phone at the same time; others must find a connection meanwhile."""
_MOST_REFUSED = 100
"""Users whose refused connections are named in the journal, each once."""


# Errors


class Error(enum.Enum):
    """Why a call is refused: the HTTP status, and what it means."""

    BAD_BODY = 400, "The body is not a JSON object as it must be."
    BAD_FIELD = 400, "A field is missing, unknown or wrong: `parameter` names it."
    NOT_SIGNED_IN = 401, "The sign-in is not known, or it is over: sign in again."
    REFUSED = 403, "What was sent as proof does not count: begin again. It is not said why."
    NOT_PERMITTED = 403, "Whoever has signed in may not do or see this."
    UNKNOWN_CALL = 404, "There is no such call."
    WRONG_METHOD = 405, "All calls are POST."
    TOO_SLOW = 408, "The body was not complete in time. There is no JSON in this answer."
    ACT_REFUSED = 409, "Nothing was done, since it cannot be done now: `detail` says why."
    TOO_LARGE = 413, "The body is too large. There is no JSON in this answer."
    BUSY = 429, "Too many calls of this kind are under way: try again."
    RESTORED = 503, "The database is an old copy that nobody has confirmed: nothing is answered."
    DATABASE_AWAY = 503, "The database did not do it: nothing was done."
    IAMPASS_AWAY = 503, "IAMPASS did not do it. What the act changes at the gateway was done."
    UNKNOWN_OUTCOME = 503, "It may have been done, or not: look before it is done again."
    STOPPING = 503, "The gateway stops: ask again."

    @property
    def status(self) -> int:
        return self.value[0]

    @property
    def words(self) -> str:
        """What it means, for people."""
        return self.value[1]


COMMON = (
    Error.BAD_BODY,
    Error.BAD_FIELD,
    Error.UNKNOWN_CALL,
    Error.WRONG_METHOD,
    Error.TOO_SLOW,
    Error.TOO_LARGE,
    Error.RESTORED,
    Error.DATABASE_AWAY,
    Error.UNKNOWN_OUTCOME,
    Error.STOPPING,
)
"""The errors that each call may have."""


class CallRefused(RefusedRequest):
    """A call that is refused."""

    def __init__(self, error: Error, detail: str = "", parameter: str = "") -> None:
        super().__init__(error.status, error.name, detail or error.words)
        self.parameter = parameter
        """The field that is wrong; empty if it is none."""


# Declarations


@dataclass(frozen=True)
class Field:
    """What a field of a call must be, and what it is for."""

    check: Check
    doc: str


@dataclass(frozen=True)
class Declared:
    """What is fixed about all calls of a class."""

    path: str
    errors: tuple[Error, ...]
    """The errors that not every call may have."""
    fields: Mapping[str, Field]
    answer: type[Any]
    """A dataclass of what is answered: each field is annotated with what it is."""


class Call:
    """What is sent. A subclass is a frozen dataclass, whose fields are annotated with a Field."""

    declared: ClassVar[Declared]

    async def respond(self, service: ActsService) -> Any:
        """Do what is asked; the answer. Raises CallRefused, and what `_refusal` knows."""
        raise NotImplementedError


def call(calls: dict[str, type[Call]], path: str, *errors: Error) -> Callable[[C], C]:
    """Declare one of these calls, with the errors that it may have besides the common ones."""

    def declare(cls: C) -> C:
        answer = get_type_hints(cls.respond)["return"]
        cls.declared = Declared(path, errors, fields_of(cls), answer)
        calls[path] = cls
        return cls

    return declare


def fields_of(cls: type[Any]) -> dict[str, Field]:
    """The declared fields of a dataclass."""
    hints = get_type_hints(cls, include_extras=True)
    return {each.name: hints[each.name].__metadata__[0] for each in dataclasses.fields(cls)}


def filled(cls: type[T], values: Mapping[str, Any], within: str = "") -> T:
    """An object of a class with declared fields. Raises CallRefused.

    :param within: what names of fields begin with in an error.
    """
    fields = fields_of(cls)
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    for name in values:
        if name not in fields:
            raise CallRefused(Error.BAD_FIELD, "is no field of this call", within + clean(name, 40))
    for each in dataclasses.fields(cls):  # type: ignore[arg-type]
        if each.name not in values:
            if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
                raise CallRefused(Error.BAD_FIELD, "is missing", within + each.name)
            continue
        problem = fields[each.name].check(values[each.name])
        if problem:
            raise CallRefused(Error.BAD_FIELD, problem, within + each.name)
    return cls(**values)


# The service


@dataclass
class ActsService:
    """What answers the calls."""

    gateway: Gateway
    stopping: asyncio.Event
    views: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """Views are read one after the other: acts find a connection to the database beside them."""
    held: int = 0
    """Calls that wait for a phone now."""
    rings: WaitingForRings = field(default_factory=WaitingForRings)
    ring_reads: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """Each page that was woken reads for itself: they do so one after the other, as `views`."""

    async def hold(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for a phone; its result. Raises CallRefused if too many wait, or the gateway stops."""
        if self.held >= MOST_HELD:
            work.close()
            raise CallRefused(Error.BUSY)
        self.held += 1
        try:
            return await self.unless_stopping(work)
        finally:
            self.held -= 1

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
        calls: Mapping[str, type[Call]],
        service: ActsService,
        refused: Callable[[IncomingRequest, RefusedRequest], None],
    ) -> None:
        routes = tuple(Route("POST", path, _handler(cls)) for path, cls in calls.items())
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


def _handler(cls: type[Call]) -> Callable[[ActsService, IncomingRequest], Coroutine[Any, Any, Reply]]:
    async def handle(service: ActsService, request: IncomingRequest) -> Reply:
        try:
            asked = filled(cls, _body(request))
            work_for("portal")
            answer = await asked.respond(service)
        except (EditRefused, DatabaseError, IampassError, Tampered) as error:
            _require_no_old_copy(service)
            raise _refusal(error) from None
        return Reply(body=json.dumps(dataclasses.asdict(answer), default=_text).encode())

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
    """What the peer is told of an error. Whoever may not see a name is not told whether somebody has it."""
    if isinstance(error, NotPermitted):
        return CallRefused(Error.NOT_PERMITTED)
    if isinstance(error, NotSignedIn):
        return CallRefused(Error.NOT_SIGNED_IN)
    if isinstance(error, (ProofRefused, NotApproved)):
        return CallRefused(Error.REFUSED)
    if isinstance(error, BadParameter):
        return CallRefused(Error.BAD_FIELD, str(error), f"parameters.{clean(error.name, 40)}")
    if isinstance(error, UnknownName):  # its remedy has names of others
        return CallRefused(Error.ACT_REFUSED, "nobody has this name")
    if isinstance(error, EditRefused):
        return CallRefused(Error.ACT_REFUSED, str(error))
    if isinstance(error, UnknownOutcome):
        return CallRefused(Error.UNKNOWN_OUTCOME)
    if isinstance(error, IampassError):
        return CallRefused(Error.IAMPASS_AWAY)
    return CallRefused(Error.DATABASE_AWAY)


def _text(value: object) -> str:
    """A value that JSON does not have."""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


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

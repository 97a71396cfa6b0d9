"""One gateway: what its calls and its command share."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Callable, Protocol, TypeVar
from weakref import WeakValueDictionary

from pam_iampass.client.api import ManagementAPI
from pam_iampass.client.application import Application
from pam_iampass.client.call import Call
from pam_iampass.client.errors import IampassError
from pam_iampass.client.procedures import Procedure
from pam_iampass.client.status import Status
from pam_iampass.gateway.base.database import Database
from pam_iampass.gateway.base.keys import KeyFile
from pam_iampass.gateway.base.leases import Leases
from pam_iampass.gateway.base.mark import Mark
from pam_iampass.gateway.base.outcomes import Outcomes
from pam_iampass.gateway.base.settings import GatewaySettings
from pam_iampass.gateway.base.upstream import Lane, Upstream
from pam_iampass.gateway.base.waiting import HeldCalls

T = TypeVar("T")
_PHONES_AT_ONCE = 8
_CLOCKS_DIFFER = 300.0
"""Seconds. A database whose clock was set back further prolongs nothing for which `is_over` is asked."""


class Iampass(Protocol):
    """IAMPASS, with one application."""

    application: Application
    failing_since: float | None
    """`time.monotonic()` of the first attempt that has failed since one was answered; None if none has."""

    async def call(self, call: Call[T], seconds: float, lane: Lane) -> T:
        """Makes the call, within `seconds`. Raises IampassError."""


async def carry_out(iampass: Iampass, procedure: Procedure[T], seconds: float, lane: Lane) -> T:
    """Make the calls of a procedure, each within `seconds`; its result. Raises IampassError."""
    go_on = partial(procedure.send, None)
    try:
        while True:
            call = go_on()
            try:
                go_on = partial(procedure.send, await iampass.call(call, seconds, lane))
            except IampassError as error:
                go_on = partial(procedure.throw, error)
    except StopIteration as stop:
        result: T = stop.value
        return result


class NoIampass:
    """An IAMPASS for callers that make no such calls."""

    application: Application
    failing_since: float | None = None

    async def call(self, call: Call[T], seconds: float, lane: Lane) -> T:
        """As `Iampass`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Poll:
    """A poll of a session at IAMPASS."""

    at: float
    """The `time.monotonic()` at which IAMPASS was asked."""
    answer: asyncio.Task[Any]
    """The HostSession as it is then."""


@dataclass
class Gateway:
    """A gateway with open connections to its database."""

    settings: GatewaySettings
    database: Database
    keys: KeyFile
    iampass: Iampass = field(default_factory=NoIampass)
    clock: Callable[[], float] = time.time
    """Unix time in seconds: for signatures, and `is_over`. Everything else goes by the database's clock."""
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    """The id of this process."""

    restored: bool = False
    """Whether the database is an old copy that nobody has confirmed: no host is answered."""
    how_far: tuple[int, datetime | None, int] = (0, None, 0)
    """How far the database had come when it was looked at last: the id of its newest record, when that was written, and
    how many there ever were."""
    unwritten: Mark | None = None
    """How far the database had come, if the mark that says so outside it cannot be written."""

    # What a process may forget.
    starts: dict[tuple[str, str], asyncio.Task[Any]] = field(default_factory=dict)
    """The starts under way here, by host and request id: a repeat waits for them."""
    repeats: Counter[str] = field(default_factory=Counter)
    """How many repeats of starts wait here for them, by host."""
    ends: WeakValueDictionary[str, asyncio.Semaphore] = field(default_factory=WeakValueDictionary)
    """The share of each host in the ends of sessions, while it asks for some."""
    turn_over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a request of this gateway is on a phone no longer."""
    inviting: set[asyncio.Task[None]] = field(default_factory=set)
    """Messages that are being sent to people without a phone."""
    polls: dict[uuid.UUID, Poll] = field(default_factory=dict)
    """The last poll of each session."""
    waiting: dict[uuid.UUID, Status] = field(default_factory=dict)
    """The requests that the database had on a phone at `looked_at`, or that were begun here since, of hosts that may
    ask."""
    withdrawn: set[uuid.UUID] = field(default_factory=set)
    """The requests of hosts that may not ask any more: they have begun when their host was suspended or removed."""
    looked_at: float = -math.inf
    """`time.monotonic()`."""
    noted_requests: dict[uuid.UUID, Status | None] = field(default_factory=dict)
    """The notes of `note_request` since the database was last asked which requests are on a phone."""
    leases: Leases = field(default_factory=Leases)
    """The sessions that this gateway polls."""
    doubted: set[uuid.UUID] = field(default_factory=set)
    """Approved sessions with a new status that a host was just told: they are polled soon."""
    unanswered: dict[uuid.UUID, asyncio.Event] = field(default_factory=dict)
    """The questions to hosts for whose answers a start waits here; set when there is one."""
    asking_for_phones: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_PHONES_AT_ONCE))
    """The bound of calls of IAMPASS that no login waits for."""
    phones: dict[tuple[str, datetime | None], tuple[float, str]] = field(default_factory=dict)
    """Answers of IAMPASS about people's phones, to be shown, by name and the time at which one was last reported lost,
    each with its `time.monotonic()`."""
    asked_for_phones: deque[tuple[float, str]] = field(default_factory=deque)
    """When IAMPASS was asked for `phones` within a minute, as there, and for which sign-in."""
    verified: dict[str, dict[str, str]] = field(default_factory=dict)
    """The versions of rows of each table that were verified to be shown as damaged, each with its damage in words, or
    an empty text (`attention.py`)."""
    display_names: dict[tuple[str, bytes], str] = field(default_factory=dict)
    """Display names without upper case, by a person's name and the encrypted one: to decrypt 10,000 takes 40 ms."""
    seen: dict[str, float] = field(default_factory=dict)
    """The `time.monotonic()` at which it was last written that a host has called, by its id."""
    outcomes: Outcomes = field(default_factory=Outcomes)
    """The outcomes of the last acts of people who have signed in."""
    held: HeldCalls = field(default_factory=HeldCalls)
    """Calls that wait for a change of a session."""

    def is_over(self, ends_at: datetime) -> bool:
        """Whether it is later than this, also if somebody has set back the clock of the database."""
        return self.clock() >= ends_at.timestamp() + _CLOCKS_DIFFER

    def share_of_ends(self, host: str) -> asyncio.Semaphore:
        """The share of a host in the ends at IAMPASS, to be held during one. Beyond it they wait."""
        return self.ends.setdefault(host, asyncio.Semaphore(self.settings.limits.calls_of_host))

    def note_request(self, id: uuid.UUID, status: Status | None) -> None:
        """Take note of what this gateway has just committed: the status of a request that is on a phone now, or None
        for one that may have been answered, so that the database has to be asked about it."""
        self.noted_requests[id] = status
        if status is None:
            self.waiting.pop(id, None)
            self.withdrawn.discard(id)
        else:
            self.waiting[id] = status

    def replace_requests(
        self, waiting: dict[uuid.UUID, Status], withdrawn: set[uuid.UUID], looked_at: float
    ) -> None:
        """Take over what the database was found to say. What was noted since then is newer."""
        self.waiting, self.withdrawn, self.looked_at = waiting, withdrawn, looked_at
        for id, status in list(self.noted_requests.items()):
            if status is None or id not in withdrawn:
                self.note_request(id, status)


def management(settings: GatewaySettings) -> ManagementAPI:
    """The application at IAMPASS, to manage its users with. Raises IampassError."""
    return ManagementAPI(
        settings.application_id,
        settings.application_secret,
        settings.server,
        settings.server_ca_file,
        settings.proxy,
        previous_secret=settings.previous_secret,
    )


@asynccontextmanager
async def opened(settings: GatewaySettings, connections: int | None = None) -> AsyncIterator[Gateway]:
    """A gateway with these settings. Connections are made when they are needed.

    :param connections: the most to the database; None for what the settings say.
    """
    most = settings.limits.connections if connections is None else connections
    async with Database(settings.database, connections=most) as database:
        iampass = Upstream.of(settings)
        try:
            yield Gateway(settings, database, KeyFile(settings.key), iampass)
        finally:
            await iampass.close()

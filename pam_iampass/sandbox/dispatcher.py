"""From a request of aiohttp to its answer: finds the call, has it answered or misbehaves, and records it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from email.utils import formatdate
from typing import Callable
from urllib.parse import urlsplit

from aiohttp import web
from multidict import CIMultiDictProxy

from pam_iampass.sandbox.answer import Answer, StreamedAnswer
from pam_iampass.sandbox.calls import Call, CallKind
from pam_iampass.sandbox.errors import Refusal
from pam_iampass.sandbox.events import EventKind
from pam_iampass.sandbox.fault_plan import FaultPlan
from pam_iampass.sandbox.faults import Fault
from pam_iampass.sandbox.incoming import Incoming
from pam_iampass.sandbox.routes import Route, find_route
from pam_iampass.sandbox.service import Service
from pam_iampass.sandbox.target import Target
from pam_iampass.sandbox.wire import ConnectionWire, FaultyResponse, response_of

# More than any test makes; a sandbox that runs for weeks must not grow for ever.
_CALLS_KEPT = 100_000


class Dispatcher:
    """Answers requests.

    :param names: the host names under which the sandbox may be called, in lower case.
    :param clock: the server's Unix time.
    """

    def __init__(
        self,
        service: Service,
        faults: FaultPlan,
        names: frozenset[str],
        clock: Callable[[], float],
    ) -> None:
        self._service = service
        self._faults = faults
        self._names = names
        self._clock = clock
        self._calls: deque[Call] = deque(maxlen=_CALLS_KEPT)

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every call so far, in the order in which they came."""
        with self._service.world.changes:
            return tuple(self._calls)

    async def handle(self, request: web.BaseRequest, stopping: asyncio.Event) -> web.StreamResponse:
        """Answer a request of aiohttp's low-level server, which leaves the path as it was sent."""
        incoming = await _incoming(request)
        route = find_route(incoming.method, incoming.target)
        fault = self._faults.take(route.kind)
        answer = Answer.of({})
        if fault is None or fault.acts:
            answer = self._answer(route, incoming)
        if fault is not None:
            self._service.world.tell(EventKind.FAULT, detail=f"{route.kind.value}: {fault}")
            answer = fault.change(answer)
        self._record(request, incoming, route.kind, answer, fault)
        if isinstance(answer, StreamedAnswer) and answer.stream is not None:
            return await answer.stream(request, stopping)
        return self._response(request, answer, fault, stopping)

    def _answer(self, route: Route, incoming: Incoming) -> Answer:
        try:
            _require_own_host(incoming.headers, self._names)
            return route.handler(self._service, incoming)
        except Refusal as refusal:
            what = f"{incoming.method} {incoming.raw_target}"
            why = f"{refusal.status} {refusal.reason}, {refusal.detail}"
            self._service.world.tell(EventKind.REFUSED, detail=f"{what}: {why}")
            return Answer.refusing(refusal)

    def _record(
        self,
        request: web.BaseRequest,
        incoming: Incoming,
        kind: CallKind,
        answer: Answer,
        fault: Fault | None,
    ) -> None:
        path, _, query = incoming.raw_target.partition("?")
        call = Call(
            kind=kind,
            method=incoming.method,
            path=path,
            query=query,
            headers=incoming.headers,
            body=incoming.body,
            connection=_caller(request),
            at=time.monotonic(),
            status=answer.status,
            fault=fault,
        )
        with self._service.world.changes:
            self._calls.append(call)
            self._service.world.changes.made()

    def _response(
        self, request: web.BaseRequest, answer: Answer, fault: Fault | None, stopping: asyncio.Event
    ) -> web.StreamResponse:
        date = formatdate(self._clock(), usegmt=True)
        transport = request.transport
        if fault is None or not fault.raw or transport is None:
            return response_of(answer, date)
        return FaultyResponse(fault, answer.as_bytes(date), ConnectionWire(transport, stopping))


async def _incoming(request: web.BaseRequest) -> Incoming:
    return Incoming(
        method=request.method,
        raw_target=request.raw_path,
        target=Target.parse(request.raw_path),
        headers=request.headers,
        body=await request.read(),
        host=request.headers.get("Host", ""),
    )


def _require_own_host(headers: CIMultiDictProxy[str], names: frozenset[str]) -> None:
    # A page of another site that has its name resolve to us must not be able to play the phone.
    hosts = headers.getall("Host", [])
    try:
        name = urlsplit(f"//{hosts[0]}").hostname if len(hosts) == 1 else None
    except ValueError:
        name = None
    if name not in names:
        raise Refusal(421, "WRONG_HOST", f"this sandbox answers to: {', '.join(sorted(names))}")


def _caller(request: web.BaseRequest) -> str:
    address = request.transport.get_extra_info("peername") if request.transport is not None else None
    return "{}:{}".format(*address[:2]) if address else ""

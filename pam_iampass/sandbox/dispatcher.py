"""Handles the requests of the server: finds the call, answers it or applies a fault, and records it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from email.utils import formatdate

from aiohttp import web

from pam_iampass.sandbox.backend import Backend
from pam_iampass.sandbox.bounded_handler import read_body
from pam_iampass.sandbox.calls import Call
from pam_iampass.sandbox.connection import ClientConnection
from pam_iampass.sandbox.errors import Refusal
from pam_iampass.sandbox.events import EventKind
from pam_iampass.sandbox.fault_plan import FaultPlan
from pam_iampass.sandbox.reply import ServiceReply
from pam_iampass.sandbox.request import IncomingRequest
from pam_iampass.sandbox.responses import FaultyResponse, response_of
from pam_iampass.sandbox.routes import Route, find_route

# More than any test makes; the record of a sandbox that runs for weeks must stay bounded.
_CALLS_KEPT = 100_000


class Dispatcher:
    """Answers requests.

    :param names: the host names of the sandbox, in lower case.
    """

    def __init__(self, backend: Backend, faults: FaultPlan, names: frozenset[str]) -> None:
        self._backend = backend
        self._faults = faults
        self._names = names
        self._calls: deque[Call] = deque(maxlen=_CALLS_KEPT)

    @property
    def calls(self) -> tuple[Call, ...]:
        """Every call so far, in order."""
        with self._backend.state.notifier:
            return tuple(self._calls)

    async def handle(self, http: web.BaseRequest, stopping: asyncio.Event) -> web.StreamResponse:
        """Answer a request of aiohttp's low-level server, which does not normalise paths."""
        request = IncomingRequest(http.method, http.raw_path, http.headers, await read_body(http))
        route = find_route(request)
        fault = self._faults.take(route.kind)
        reply = ServiceReply.of({})
        if fault is None or fault.acts:
            reply = self._reply(route, request)
        if fault is not None:
            self._backend.state.report(EventKind.FAULT, detail=f"{route.kind.value}: {fault}")
            reply = fault.change(reply)
        call = Call(
            kind=route.kind,
            method=request.method,
            path=request.path,
            query=request.query,
            headers=request.headers,
            body=request.body,
            connection=_client_of(http),
            at=time.monotonic(),
            status=reply.status,
            fault=fault,
        )
        with self._backend.state.notifier:
            self._calls.append(call)
            self._backend.state.notifier.changed()
        if reply.stream is not None:
            return await reply.stream(http, stopping)
        date = formatdate(self._backend.now(), usegmt=True)
        if fault is None or not fault.raw or http.transport is None:
            return response_of(reply, date)
        return FaultyResponse(fault, reply.as_bytes(date), ClientConnection(http.transport, stopping))

    def _reply(self, route: Route, request: IncomingRequest) -> ServiceReply:
        try:
            # A page of another site whose name resolves to this address must not control the phone.
            request.require_host(self._names)
            request.require_few_headers()
            return route.handler(self._backend, request)
        except Refusal as refusal:
            what = f"{request.method} {request.target}"
            why = f"{refusal.status} {refusal.reason}, {refusal.detail}"
            self._backend.state.report(EventKind.REFUSED, detail=f"{what}: {why}")
            return ServiceReply.refusing(refusal)


def _client_of(http: web.BaseRequest) -> str:
    address = http.transport.get_extra_info("peername") if http.transport is not None else None
    return "{}:{}".format(*address[:2]) if address else ""

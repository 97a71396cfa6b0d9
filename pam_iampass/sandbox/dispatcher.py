"""Handles the requests of the server: finds the call and answers it."""

from __future__ import annotations

import asyncio
from email.utils import formatdate

from aiohttp import web
from multidict import CIMultiDict

from pam_iampass.sandbox.backend import Backend
from pam_iampass.sandbox.errors import Refusal
from pam_iampass.sandbox.events import EventKind
from pam_iampass.sandbox.reply import ServiceReply
from pam_iampass.sandbox.request import IncomingRequest
from pam_iampass.sandbox.routes import Route, find_route


class Dispatcher:
    """Answers requests.

    :param names: the host names of the sandbox, in lower case.
    """

    def __init__(self, backend: Backend, names: frozenset[str]) -> None:
        self._backend = backend
        self._names = names

    async def handle(self, http: web.BaseRequest, stopping: asyncio.Event) -> web.StreamResponse:
        """Answer a request of aiohttp's low-level server, which does not normalise paths.

        Raises HTTPRequestEntityTooLarge (413), which aiohttp answers.

        :param stopping: is set when the sandbox stops.
        """
        request = IncomingRequest(http.method, http.raw_path, http.headers, await http.read())
        reply = self._reply(find_route(request), request)
        if reply.stream is not None:
            return await reply.stream(http, stopping)
        return self._response(reply)

    def _reply(self, route: Route, request: IncomingRequest) -> ServiceReply:
        try:
            # A page of another site whose name resolves to this address must not control the phone.
            request.require_host(self._names)
            return route.handler(self._backend, request)
        except Refusal as refusal:
            what = f"{request.method} {request.target}"
            why = f"{refusal.status} {refusal.reason}, {refusal.detail}"
            self._backend.state.report(EventKind.REFUSED, detail=f"{what}: {why}")
            return ServiceReply.refusing(refusal)

    def _response(self, reply: ServiceReply) -> web.Response:
        """The response. Its Date is the sandbox's, which may be wrong on purpose."""
        headers = CIMultiDict(reply.all_headers(formatdate(self._backend.now(), usegmt=True)))
        return web.Response(status=reply.status, reason=reply.reason_phrase, body=reply.body, headers=headers)

"""The responses of the server: ordinary ones, and those that a fault sends."""

from __future__ import annotations

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict

from pam_iampass.sandbox.connection import ClientConnection
from pam_iampass.sandbox.faults import Fault
from pam_iampass.sandbox.reply import ServiceReply


class FaultyResponse(web.StreamResponse):
    """A response that a fault sends itself, bypassing aiohttp."""

    def __init__(self, fault: Fault, data: bytes, connection: ClientConnection) -> None:
        super().__init__()
        self._fault = fault
        self._data = data
        self._connection = connection

    @property
    def keep_alive(self) -> bool | None:
        """A fault that ends the connection does so itself."""
        return True

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send everything."""
        await self._fault.play(self._connection, self._data)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Everything is sent already."""


def response_of(reply: ServiceReply, date: str) -> web.StreamResponse:
    """The ordinary response. Its Date is the sandbox's, which may be wrong on purpose."""
    headers = CIMultiDict(reply.all_headers(date))
    return web.Response(status=reply.status, reason=reply.reason_phrase, body=reply.body, headers=headers)

"""Server-sent events: informs the page of each change (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator

from aiohttp import web

from pam_iampass.sandbox.phone_view import View, phone_view
from pam_iampass.sandbox.service_state import ServiceState

# A page that receives nothing for three beats considers the connection lost.
_BEAT_SECONDS = 5.0
# Combines changes that follow each other into one event.
_REST_SECONDS = 0.05
_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


class PhoneStream:
    """Sends the view to every open page."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state
        self._open = 0

    @property
    def open(self) -> int:
        """The number of open pages."""
        with self._state.notifier:
            return self._open

    async def respond(self, request: web.BaseRequest, stopping: asyncio.Event) -> web.StreamResponse:
        """Send the view after each change, until the page is closed or the sandbox stops."""
        response = web.StreamResponse(headers=_HEADERS)
        changed, loop = asyncio.Event(), asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(changed.set)

        leaving = contextlib.suppress(ConnectionError)
        with leaving, self._state.notifier.watched(wake), self._counted():
            await response.prepare(request)
            await self._send(response, changed, stopping)
        return response

    async def _send(
        self, response: web.StreamResponse, changed: asyncio.Event, stopping: asyncio.Event
    ) -> None:
        sent: View | None = None
        while not stopping.is_set():
            changed.clear()
            view = phone_view(self._state)
            await response.write(b": heartbeat\n\n" if view == sent else _event(view))
            sent = view
            await _first_of(changed, stopping, _BEAT_SECONDS)
            await asyncio.sleep(_REST_SECONDS)

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, step: int) -> None:
        with self._state.notifier:
            self._open += step
            self._state.notifier.changed()


def _event(view: View) -> bytes:
    # JSON without line breaks: one data line.
    return f"data: {json.dumps({**view, 'now': time.monotonic()})}\n\n".encode()


async def _first_of(one: asyncio.Event, other: asyncio.Event, seconds: float) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in (one, other)]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()

"""Server-sent events: the page hears of each change at once (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator

from aiohttp import web

from pam_iampass.sandbox.phone_view import View, phone_view
from pam_iampass.sandbox.world import World

# A page that hears nothing for three beats takes the connection for lost.
_BEAT_SECONDS = 5.0
# Many changes at once make one event.
_REST_SECONDS = 0.05
_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}


class PhoneStream:
    """Tells every open page what there is to show."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._open = 0

    @property
    def open(self) -> int:
        """How many pages listen."""
        with self._world.changes:
            return self._open

    async def respond(self, request: web.BaseRequest, stopping: asyncio.Event) -> web.StreamResponse:
        """Send the view whenever it has changed, until the page or the sandbox goes away."""
        response = web.StreamResponse(headers=_HEADERS)
        changed, loop = asyncio.Event(), asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon_threadsafe(changed.set)

        leaving = contextlib.suppress(ConnectionError)
        with leaving, self._world.changes.watched(wake), self._counted():
            await response.prepare(request)
            await self._tell(response, changed, stopping)
        return response

    async def _tell(
        self, response: web.StreamResponse, changed: asyncio.Event, stopping: asyncio.Event
    ) -> None:
        sent: View | None = None
        while not stopping.is_set():
            changed.clear()
            view = phone_view(self._world)
            await response.write(b": still here\n\n" if view == sent else _event(view))
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
        with self._world.changes:
            self._open += step
            self._world.changes.made()


def _event(view: View) -> bytes:
    # JSON without line breaks, so it is one data line whatever is in it.
    return f"data: {json.dumps({**view, 'now': time.monotonic()})}\n\n".encode()


async def _first_of(one: asyncio.Event, other: asyncio.Event, seconds: float) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in (one, other)]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()

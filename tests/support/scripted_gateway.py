"""A portal in a thread, whose gateway answers what a test says: rows that no real one would have, and no database."""

from __future__ import annotations

import asyncio
import http.client
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from types import TracebackType
from typing import Any, Callable

from aiohttp import web

from pam_iampass.portal.app import make_app
from pam_iampass.portal.gateway import GatewayClient
from pam_iampass.portal.settings import PortalSettings
from pam_iampass.portal.sign_in import SIGN_IN
from pam_iampass.sandbox.sandbox import ServingThread

TOKEN = "t" * 43
Row = Mapping[str, Any]


class Answer(HTMLParser):
    """A page as it was answered: its elements with their attributes, and its text."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__()
        self.status, self.body = status, body
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(body)
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str, attribute: str) -> list[str]:
        """The values of an attribute of all elements with this tag that have it."""
        return [found[attribute] for name, found in self.elements if name == tag and attribute in found]

    @property
    def links(self) -> list[str]:
        return self.all("a", "href")

    @property
    def offers(self) -> set[str]:
        """The acts that the page offers."""
        return {action[5:] for action in self.all("form", "action") if action.startswith("/act/")}


@dataclass
class ScriptedGateway:
    """What the gateway answers. Who looks at the pages is `person`, with `roles`."""

    person: str = "alice"
    roles: Sequence[str] = ()
    rows: dict[str, Sequence[Row]] = field(default_factory=dict)
    """The rows of each view; others have none."""
    more: set[str] = field(default_factory=set)
    """Views that have more rows than are answered."""
    rings: Sequence[Row] = ()
    errors: dict[str, str] = field(default_factory=dict)
    """The error of a view, or of another path."""
    asked: list[tuple[str, Row]] = field(default_factory=list)
    """The views that were read, with their filters."""

    def __enter__(self) -> ScriptedGateway:
        self._server = ServingThread("portal", self._serve)
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.stop()

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def get(self, path: str, **headers: str) -> Answer:
        """The answer to who has signed in."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", path, headers={"Cookie": f"{SIGN_IN}={TOKEN}", **headers})
        response = connection.getresponse()
        body = response.read().decode()
        connection.close()
        return Answer(response.status, body)

    def ring(self, *rows: Row) -> None:
        """From now on, just these requests ask the person."""
        self._loop.call_soon_threadsafe(self._ring, rows)

    def _ring(self, rows: Sequence[Row]) -> None:
        self.rings = rows
        self._rung.set()
        self._rung = asyncio.Event()

    async def _serve(self, stopping: asyncio.Event, ready: Callable[[], None]) -> None:
        self._loop, self._rung = asyncio.get_running_loop(), asyncio.Event()
        gateway, folder = web.Application(), tempfile.TemporaryDirectory()
        gateway.router.add_post("/{path:.*}", self._respond)
        path = Path(folder.name) / "acts.sock"
        runners = [web.AppRunner(gateway, shutdown_timeout=0)]
        await runners[0].setup()
        await web.UnixSite(runners[0], str(path)).start()
        async with GatewayClient(path) as client:
            runners.append(web.AppRunner(make_app(PortalSettings("http://localhost"), client), shutdown_timeout=0))
            await runners[1].setup()
            await web.TCPSite(runners[1], "127.0.0.1", 0).start()
            self.port: int = runners[1].addresses[0][1]
            ready()
            await stopping.wait()
            for runner in reversed(runners):
                await runner.cleanup()
        folder.cleanup()

    async def _respond(self, request: web.Request) -> web.Response:
        sent = await request.json()
        if code := self.errors.get(sent.get("view", request.path)):
            error = {"error": code, "detail": "is wrong", "parameter": "filter.begins"}
            return web.json_response(error, status=400)
        if request.path == "/sign-in/show":
            shown = {"person": self.person, "roles": [*self.roles], "confirmed": True, "id": "this"}
            return web.json_response(shown)
        if request.path == "/rings":
            if sent.get("seen") == self._seen:
                await self._rung.wait()
            return web.json_response({"rows": [*self.rings], "seen": self._seen})
        view = sent["view"]
        self.asked.append((view, sent["filter"]))
        return web.json_response({"rows": [*self.rows.get(view, ())], "more": view in self.more})

    @property
    def _seen(self) -> str:
        return ",".join(row["id"] for row in self.rings) or "nothing"

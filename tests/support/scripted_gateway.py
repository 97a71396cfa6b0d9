"""A portal whose gateway answers what a test says: rows that no real one would have, and no database."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Callable

from aiohttp import web

from pam_iampass.portal.settings import PortalSettings
from pam_iampass.portal.sign_in import SIGN_IN
from pam_iampass.sandbox.sandbox import ServingThread
from tests.support.portal import RunningPortal, Visitor, free_port

TOKEN = "t" * 43
Row = Mapping[str, Any]


class Shown(HTMLParser):
    """A page: its elements with their attributes, and its text."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__()
        self.status = status
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(body)
        self.words = " ".join(self.text.split())

    def handle_starttag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
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
    rings: Sequence[Row] = ()
    errors: dict[str, str] = field(default_factory=dict)
    """The error of a view, or of the call at a path."""
    asked: list[tuple[str, Row]] = field(default_factory=list)
    """The views that were read, and the acts that were carried out, with their filters and parameters."""
    by_themselves: list[str] = field(default_factory=list)
    """Of the views, those that a page has read by itself."""
    result: Row = field(default_factory=dict)
    """Of every act."""
    repeated: bool = False
    """Whether every act was done before."""
    _rung: asyncio.Event = field(init=False)

    def __enter__(self) -> ScriptedGateway:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self._path = folder / "acts.sock"
            server = ServingThread("gateway", self._serve)
            server.start()
            stack.callback(server.stop)
            port = free_port()
            self.url = f"http://localhost:{port}"
            self._portal = stack.enter_context(RunningPortal(PortalSettings(self.url), self._path, port))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def visitor(self) -> Visitor:
        """The browser of who has signed in."""
        visitor = Visitor(self._portal)
        visitor.cookies[SIGN_IN] = TOKEN
        return visitor

    def get(self, path: str, *, by_itself: bool = False) -> Shown:
        """The page at an address, for who has signed in; or, `by_itself`, as a script of a page asks for it."""
        answer = self.visitor.get(path, **({"HX-Request": "true"} if by_itself else {}))
        return Shown(answer.status, answer.text)

    def act(self, name: str, **form: str) -> Shown:
        """The page about an act that was carried out."""
        answer = self.visitor.post(f"/act/{name}", form)
        return Shown(answer.status, answer.text)

    def ring(self, *rows: Row) -> None:
        """From now on, just these requests ask the person; or others of their logins are open."""
        self._loop.call_soon_threadsafe(self._ring, rows)

    def _ring(self, rows: Sequence[Row]) -> None:
        self.rings = rows
        self._rung.set()
        self._rung = asyncio.Event()

    async def _serve(self, stopping: asyncio.Event, ready: Callable[[], None]) -> None:
        self._loop, self._rung = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_post("/{path:.*}", self._respond)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        await web.UnixSite(runner, str(self._path)).start()
        ready()
        await stopping.wait()
        self._rung.set()
        await runner.cleanup()

    async def _respond(self, request: web.Request) -> web.Response:
        sent = await request.json()
        if code := self.errors.get(sent.get("view", request.path)):
            error = {"error": code, "detail": "is wrong", "parameter": "filter.search"}
            return web.json_response(error, status=503 if code.endswith("AWAY") else 400)
        if request.path == "/sign-in/show":
            shown = {"person": self.person, "roles": [*self.roles], "confirmed": True, "id": "this"}
            return web.json_response(shown)
        if request.path == "/rings":
            if sent.get("seen") == self.seen:
                await self._rung.wait()
            return web.json_response({"rows": [*self.rings], "seen": self.seen})
        if request.path == "/act":
            self.asked.append((sent["act"], sent["parameters"]))
            return web.json_response({"result": {**self.result}, "repeated": self.repeated})
        self.asked.append((sent["view"], sent["filter"]))
        if sent["by_itself"]:
            self.by_themselves.append(sent["view"])
        rows, kinds = self.rows.get(sent["view"], ()), sent["filter"].get("kinds")
        found = [row for row in rows if kinds is None or row["kind"] in kinds]
        return web.json_response({"rows": found, "more": False})

    @property
    def seen(self) -> str:
        asking = [row for row in self.rings if row["status"] in ("asked", "waits")]
        return ",".join(row["id"] for row in (*asking, *self.rows.get("sessions", ()))) or "nothing"

"""The portal, as tests use it: its pages at a port, in front of a gateway's socket."""

from __future__ import annotations

import asyncio
import gzip
import html
import http.client
import json
import re
import secrets
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable
from urllib.parse import urlencode

from pam_iampass.portal.app import make_app, serve_app
from pam_iampass.portal.gateway import GatewayClient
from pam_iampass.portal.pages import ROUTES
from pam_iampass.portal.settings import PortalSettings
from pam_iampass.portal.visit import Handler
from pam_iampass.sandbox.sandbox import ServingThread
from tests.support.authenticator import Authenticator
from tests.support.deadline import PATIENCE


def free_port() -> int:
    """A port that nobody uses at this moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class RunningPortal:
    """The portal in a thread, at a port of this machine."""

    def __init__(
        self,
        settings: PortalSettings,
        acts: Path,
        port: int,
        *,
        context: ssl.SSLContext | None = None,
        routes: Sequence[tuple[str, Handler]] = ROUTES,
    ) -> None:
        self.settings = settings
        self.port = port
        self.context = context
        self._acts, self._routes = acts, routes
        self._server = ServingThread("portal", self._serve)

    def __enter__(self) -> RunningPortal:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    async def _serve(self, stopping: asyncio.Event, ready: Callable[[], None]) -> None:
        listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        async with GatewayClient(self._acts) as gateway:
            app = make_app(self.settings, gateway, self._routes)
            await serve_app(app, listener, self.context, stopping, ready)


@dataclass(frozen=True)
class Answer:
    """What the portal has answered."""

    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies that it sets, with what is said of them."""
        found = (each.partition("=") for each in self.headers.get_all("Set-Cookie", []))
        return {name: value for name, _, value in found}

    @property
    def words(self) -> str:
        """What a reader sees, without tags."""
        return " ".join(html.unescape(re.sub("<[^>]*>", " ", self.text.replace("<wbr>", ""))).split())


class Visitor:
    """A browser without scripts, which keeps cookies, and sends the headers that it is told."""

    def __init__(self, portal: RunningPortal, authenticator: Authenticator | None = None) -> None:
        self.portal = portal
        self.authenticator = authenticator
        self.cookies: dict[str, str] = {}

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, headers=headers)

    def post(self, path: str, form: Mapping[str, str] | None = None, **headers: str | None) -> Answer:
        """The answer to a form that a page of the portal sends. A header that is None is left out."""
        sent = {
            "Origin": self.portal.settings.origin,
            "Content-Type": "application/x-www-form-urlencoded",
            **headers,
        }
        body = urlencode(form or {}).encode()
        return self.send(
            "POST", path, body, {name: value for name, value in sent.items() if value is not None}
        )

    def send(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = {}) -> Answer:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection = http.client.HTTPConnection("127.0.0.1", self.portal.port, timeout=PATIENCE)
        if self.portal.context is not None:
            context = ssl._create_unverified_context()  # who it is, only browsers ask
            connection = http.client.HTTPSConnection(
                "127.0.0.1", self.portal.port, timeout=PATIENCE, context=context
            )
        try:
            connection.request(method, path, body, {**({"Cookie": cookie} if cookie else {}), **headers})
            response = connection.getresponse()
            body = response.read()
            if response.headers["Content-Encoding"] == "gzip":
                body = gzip.decompress(body)
            answer = Answer(response.status, response.headers, body.decode())
        finally:
            connection.close()
        for name, said in answer.cookies.items():
            value = said.partition(";")[0].strip('"')
            if value:
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)
        return answer

    def ask(self, path: str, form: Mapping[str, str] | None = None) -> dict[str, Any]:
        """What a script of the page is told."""
        answer = self.post(path, form, Accept="application/json")
        assert answer.status == 200, answer.text
        return answer.json

    def sign_in(self, to: str = "/") -> Answer:
        assert self.authenticator is not None
        options = self.ask("/sign-in/challenge")["options"]
        return self.post("/sign-in", {"touch": json.dumps(self.authenticator.get(options)), "to": to})

    def act(self, name: str, *, touch: bool = False, **form: str) -> Answer:
        """The page about an act that was carried out, or was not."""
        form = {"once": secrets.token_hex(8), **form}
        if touch:
            assert self.authenticator is not None
            options = self.ask(f"/act/{name}/challenge", form)["options"]
            form = {**form, "touch": json.dumps(self.authenticator.get(options))}
        return self.post(f"/act/{name}", form)

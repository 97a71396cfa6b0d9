"""What strangers cost the portal who take as many connections as they may."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import re
import secrets
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable

import pytest
import trustme
from aiohttp import web

from pam_iampass.portal import settings
from pam_iampass.portal.app import BOUNDS
from pam_iampass.portal.sign_in import SIGN_IN
from pam_iampass.portal.visit import Visit
from pam_iampass.sandbox.sandbox import ServingThread
from tests.support.portal import Answer, RunningPortal, Visitor
from tests.support.world import wait_until

NUMBER = 300
READS_NOTHING = """
import socket, ssl, sys
context, kept = ssl._create_unverified_context(), []
for _ in range(int(sys.argv[2])):
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    plain.connect(("127.0.0.1", int(sys.argv[1])))
    kept.append(context.wrap_socket(plain))
    kept[-1].sendall(b"GET /static/htmx.min.js HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" * 6)
print("connected", flush=True)
sys.stdin.read()
"""
"""A client that asks for a file on each of its connections, and reads nothing."""


def anonymous_memory() -> float:
    """Megabytes of this process, in which the portal runs."""
    [found] = re.findall("^RssAnon:\\s+([0-9]+) kB$", Path("/proc/self/status").read_text(), re.M)
    return int(found) / 1024


def test_as_many_connections_as_are_allowed_fit_into_the_memory(tmp_path: Path, port: int) -> None:
    """Nobody has signed in. systemd ends the portal at MemoryMax, for everybody, again and again."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    unit = (Path(__file__).parents[2] / "packaging/systemd/portal/pam-iampass-portal.service").read_text()
    [most] = re.findall("^MemoryMax=([0-9]+)M$", unit, re.M)
    there = settings.PortalSettings("https://localhost")
    with RunningPortal(there, tmp_path / "no.sock", port, context=context):
        before = anonymous_memory()
        client = [sys.executable, "-c", READS_NOTHING, str(port), str(NUMBER)]
        with subprocess.Popen(client, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            connected = process.stdout.readline()
            each = (anonymous_memory() - before) / NUMBER
            process.communicate()
    assert connected == b"connected\n"
    idle = 30.0  # a portal that has nothing to do
    assert idle + each * BOUNDS.connections < int(most)


ALICE, MADE_UP = "a" * 43, "x" * 40
"""The token of alice, and how tokens begin that the gateway does not answer."""


class HoldingGateway:
    """A gateway that answers no sign-in, and no token that begins with MADE_UP, until it is told to. Only alice has
    signed in."""

    def __init__(self) -> None:
        self.held = 0
        """The calls that were held."""
        self.may_answer = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def respond(self, request: web.BaseRequest) -> web.Response:
        token = (await request.json()).get("token", MADE_UP)
        if token == ALICE:
            shown = {"person": "alice", "roles": [], "confirmed": True, "id": "1"}
            return web.json_response(shown)
        if token.startswith(MADE_UP):
            self._loop = asyncio.get_running_loop()
            self.held += 1
            await self.may_answer.wait()
        return web.json_response({"error": "NOT_SIGNED_IN", "detail": ""}, status=401)

    def answer(self) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self.may_answer.set)


@pytest.fixture
def holding(tmp_path: Path) -> Iterator[HoldingGateway]:
    gateway = HoldingGateway()

    async def serve(stopping: asyncio.Event, ready: Callable[[], None]) -> None:
        runner = web.ServerRunner(web.Server(gateway.respond))
        await runner.setup()
        await web.UnixSite(runner, str(tmp_path / "acts.sock")).start()
        ready()
        await stopping.wait()
        await runner.cleanup()

    thread = ServingThread("gateway", serve)
    thread.start()
    yield gateway
    thread.stop()


def from_address(portal: RunningPortal, address: str, path: str, **sent: str) -> Answer:
    """What the portal answers to this address, behind a proxy. The browser has sent another address itself."""
    headers = {"X-Forwarded-For": f"192.0.2.{secrets.randbelow(255)}, {address}"}
    visitor = Visitor(portal)
    visitor.cookies.update({SIGN_IN: sent["cookie"]} if "cookie" in sent else {})
    form = {"token": sent["link"]} if "link" in sent else None
    return visitor.get(path, **headers) if "cookie" in sent else visitor.post(path, form, **headers)


async def greet(_: web.Request, visit: Visit) -> web.Response:
    return web.Response(text=f"Hello {visit.person}")


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/", {"cookie": MADE_UP + "xxx"}),
        ("/link/challenge", {"link": MADE_UP + "xxx"}),
        ("/link/answer", {"link": MADE_UP + "xxx"}),
        ("/sign-in/challenge", {}),
    ],
    ids=["cookies", "links", "waiting for a link's phone", "sign-ins"],
)
def test_strangers_of_one_address_wait_in_a_short_line_and_keep_nobody_else_waiting(
    holding: HoldingGateway, tmp_path: Path, port: int, path: str, sent: dict[str, str]
) -> None:
    """Their addresses are of one /64. Each connection is a real one."""
    there = settings.PortalSettings("http://localhost", proxies=(ipaddress.ip_network("127.0.0.1"),))
    acts, number = tmp_path / "acts.sock", 100
    with (
        RunningPortal(there, acts, port, routes=[("/", greet)]) as portal,
        ThreadPoolExecutor(number) as strangers,
    ):
        hello = functools.partial(from_address, portal, path="/", cookie=ALICE)
        assert hello("2001:db8::1").text == "Hello alice"
        asked = [
            strangers.submit(from_address, portal, f"2001:db8::{each + 1:x}", path, **sent)
            for each in range(number)
        ]
        try:
            late = number - 40

            def is_settled() -> bool:
                return holding.held == 4 and sum(each.done() for each in asked) == late

            wait_until(lambda: holding.held > 4 or is_settled(), "none is refused")
            assert holding.held == 4
            assert hello("2001:db8::1").text == "Hello alice"
            assert from_address(portal, "2001:db8:0:1::1", "/", cookie="y" * 43).status == 401
        finally:
            holding.answer()
        found = Counter(each.result().status for each in asked)
        assert found == {429: late, 401: 40}

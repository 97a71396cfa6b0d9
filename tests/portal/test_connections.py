"""What strangers cost the portal who take as many connections as they may."""

from __future__ import annotations

import asyncio
import re
import ssl
import subprocess
import sys
import threading
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
from pam_iampass.sandbox.sandbox import ServingThread
from tests.support.deadline import PATIENCE
from tests.support.portal import RunningPortal, Visitor

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


class HoldingGateway:
    """A gateway that answers no sign-in until it is told to, and to all others that nobody has signed in."""

    def __init__(self) -> None:
        self.held = threading.Semaphore(0)
        """Is released for each sign-in that has come."""
        self.may_answer = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def respond(self, request: web.BaseRequest) -> web.Response:
        if request.path == "/sign-in/challenge":
            self._loop = asyncio.get_running_loop()
            self.held.release()
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


def test_many_sign_ins_of_strangers_leave_the_gateway_to_those_who_have_signed_in(
    holding: HoldingGateway, tmp_path: Path, port: int
) -> None:
    there = settings.PortalSettings("http://localhost")
    with RunningPortal(there, tmp_path / "acts.sock", port) as portal, ThreadPoolExecutor(20) as strangers:
        asked = [strangers.submit(Visitor(portal).post, "/sign-in/challenge") for _ in range(20)]
        try:
            for _ in range(4):
                assert holding.held.acquire(timeout=PATIENCE)
            for _ in range(20):  # the portal has looked at its connections that often
                assert Visitor(portal).get("/", Cookie=f"{SIGN_IN}={'A' * 43}").status == 401
            assert not holding.held.acquire(blocking=False)
        finally:
            holding.answer()
        assert [each.result().status for each in asked] == [401] * 20

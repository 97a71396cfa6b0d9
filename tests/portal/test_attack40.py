"""What strangers, pages of other names and who has stolen a cookie do at the port of the portal."""

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
from typing import Any, Callable

import pytest
import trustme
from aiohttp import web

from pam_iampass.gateway import acts_service
from pam_iampass.gateway.database import one
from pam_iampass.portal import settings
from pam_iampass.portal.app import BOUNDS
from pam_iampass.sandbox.sandbox import ServingThread
from tests.portal.conftest import SignIn
from tests.support.acts_socket import RunningActs
from tests.support.deadline import PATIENCE
from tests.support.portal import RunningPortal, Visitor

TOKEN = "__Host-sign-in"


def get(portal: RunningPortal, path: str, cookie: str) -> Any:
    return Visitor(portal).send("GET", path, headers={"Cookie": cookie})


# Cookies of names beside the portal's


def test_a_page_of_a_name_beside_the_portals_signs_nobody_in(
    signed_in: SignIn, portal: RunningPortal
) -> None:
    """wiki.example.com can set a cookie for example.com, but none that begins with __Host-. It sets `theme` to a text
    with a space, which browsers keep and send."""
    alice, mallory = signed_in("alice").cookies[TOKEN], signed_in("bob").cookies[TOKEN]
    own, planted = f"{TOKEN}={alice}", f"theme=dark {TOKEN}={mallory}"
    for cookies in (f"{own}; {planted}", f"{planted}; {own}"):
        assert "<bdi>alice</bdi>" in get(portal, "/", cookies).text


@pytest.mark.parametrize("set_by_others", ["theme=dark mode on", "a{b=1", "x=; a b"])
def test_a_page_of_a_name_beside_the_portals_shuts_nobody_out(
    signed_in: SignIn, portal: RunningPortal, set_by_others: str
) -> None:
    alice = signed_in("alice").cookies[TOKEN]
    assert get(portal, "/", f"{TOKEN}={alice}; {set_by_others}").status == 200


# Links on the portal's own pages


def test_no_page_of_the_portal_links_elsewhere(portal: RunningPortal) -> None:
    shown = Visitor(portal).get("//evil.example/sign-in")
    assert 'href="//' not in shown.text


# The encoding of a form


def test_a_form_is_utf_8(portal: RunningPortal) -> None:
    """32 KiB of Punycode cost 0.2 s of the only thread, for who has not signed in and needs no page for it."""
    kind = "application/x-www-form-urlencoded; charset=punycode"
    body = b"touch=x-" + b"b" * 100
    headers = {"Origin": portal.settings.origin, "Content-Type": kind}
    shown = Visitor(portal).send("POST", "/sign-in", body, headers)
    assert "is no form" in shown.text


# Filters that cannot be


@pytest.mark.parametrize("query", ["since=x", "until=0001-01-01T00:00:00%2B14:00"])
def test_a_time_that_is_none_is_said_and_is_no_failure(signed_in: SignIn, query: str) -> None:
    assert signed_in("alice").get(f"/log?{query}").status == 200


# A stolen cookie takes all calls of a sign-in


def test_who_finds_no_call_left_in_a_sign_in_is_shown_where_to_sign_in_again(
    signed_in: SignIn, acts: RunningActs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fleet-security: «then that sign-in has to wait, and its owner signs in again». With the cookie of the old one,
    each page says that there is too much to do, and has no link to /sign-in; signing out does not end it either."""
    alice = signed_in("alice")
    monkeypatch.setattr(acts_service, "MOST_AT_ONCE", 0)
    shown = alice.get("/")
    assert shown.status == 429
    assert 'href="/sign-in"' in shown.text or "/sign-out" in shown.text


# The memory of the portal


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


# Requests of other sites' pages


@pytest.mark.parametrize(("site", "destination"), [("same-site", "image"), ("cross-site", "document")])
def test_pages_of_other_names_keep_no_sign_in_from_ending(
    signed_in: SignIn, acts: RunningActs, site: str, destination: str
) -> None:
    """wiki.example.com shows an image from the portal's name (the cookie is sent: SameSite goes by example.com), any
    site opens it in a window. Each time counts as something that the person has done."""
    alice = signed_in("alice")
    server = acts.gateway.database

    async def active() -> Any:
        async with server.statement() as connection:
            return await one(connection, "SELECT active_at FROM sign_in")

    before = acts.run(active())
    mode = "navigate" if destination == "document" else "no-cors"
    shown = alice.get("/", **{"Sec-Fetch-Site": site, "Sec-Fetch-Dest": destination, "Sec-Fetch-Mode": mode})
    assert shown.status == (200 if mode == "navigate" else 403)
    assert acts.run(active()) == before


# Many sign-ins of strangers


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
                assert get(portal, "/", f"{TOKEN}={'A' * 43}").status == 401
            assert not holding.held.acquire(blocking=False)
        finally:
            holding.answer()
        assert [each.result().status for each in asked] == [401] * 20

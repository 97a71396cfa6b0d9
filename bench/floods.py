"""What logins lose while strangers flood the portal, or somebody who has taken the portal over floods the gateway.

The gateway, its service for the portal (`serve-acts`) and the portal are the processes that a machine has. There,
systemd gives the two that answer the portal less of the CPU (CPUWeight=20); here, they have the nice value that comes
closest to it. What floods them would be on other machines, and takes only CPU time that nothing else wants.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import secrets
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.fleet import (
    FAILED,
    MEDIAN,
    PERCENTILE,
    THROUGH,
    Site,
    folder_on_disk,
    free_port,
    play,
    running_site,
)
from bench.measure import Section
from pam_iampass.gateway.base.places import PORTAL_ACCOUNT
from tests.support.authenticator import Authenticator, Passkey, new_key
from tests.support.folders import put
from tests.support.gateway_machine import add_account
from tests.support.postgres import Postgres
from tests.support.processes import with_socket

QUIET = "no flood"
SOCKET = "300 connections with sign-ins, challenges and tokens at the gateway's socket"
PORT = "2,000 slow connections to the portal, and 100 with sign-ins and pages"
START = [THROUGH.format(name) for name in (MEDIAN, PERCENTILE)]
ANSWERED, REFUSED = "calls answered per s", "connections refused or closed"
_LESS_CPU = 7
"""nice(2) gives 1 / 1.25^7 of the weight: a fifth, as CPUWeight=20 does of 100."""
_LEAST_CPU = 19
_AGENT = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
)


def measure(seconds: float, rate: float, host_count: int, person_count: int) -> Section:
    """Logins through one gateway, without a flood and with each of them, `rate` a second for `seconds`."""
    title = f"Logins while the portal is flooded, {rate:g} a second"
    section = Section(title, [*START, FAILED, ANSWERED, REFUSED])
    print(title)
    port = free_port()
    settings = f"portal: {{origin: 'https://localhost:{port}'}}\n"
    with folder_on_disk() as folder:
        postgres = Postgres(Path(folder, "postgres"))
        try:
            postgres.start("-c", "fsync=on")
            with (
                running_site(postgres, host_count, person_count, 0, 1, settings) as site,
                portal(site, port),
            ):
                for name in (QUIET, SOCKET, PORT):
                    with play(site, rate) as hosts, _flood(name, site, port) as flood:
                        found = hosts.measured(seconds)
                        figures = {column: found[column] for column in (*START, FAILED)}
                        section.add(name, **figures, **flood.figures())
        finally:
            postgres.remove()
    section.remark = (
        f"The services that answer the portal have nice {_LESS_CPU}, which is close to the CPUWeight that their units"
        f" have; what floods them has nice {_LEAST_CPU}, since it would be on other machines."
    )
    return section


def bounds(section: Section) -> list[tuple[str, float, float]]:
    """The bounds: (what, found, at most)."""
    quiet, *flooded = section.rows
    found = [
        (f"start, median, {row.name}, ratio to no flood", row.values[START[0]] / quiet.values[START[0]], 1.5)
        for row in flooded
    ]
    return [*found, (f"{section.title}: failed logins", sum(row.values[FAILED] for row in section.rows), 0)]


def acts_socket(site: Site) -> Path:
    """Where the gateway's service for the portal answers."""
    return site.folder / "acts.sock"


@contextmanager
def portal(site: Site, port: int) -> Iterator[None]:
    """The two services that answer the portal's visitors."""
    add_account(PORTAL_ACCOUNT)
    config = site.folder / "portal.yaml"
    files = f"certificate_file: {site.folder}/server.pem\ncertificate_key_file: {site.folder}/server.pem\n"
    put(config, f"origin: https://localhost:{port}\n{files}")
    acts = socket.socket(socket.AF_UNIX)
    acts.bind(str(acts_socket(site)))
    acts.listen(1024)
    web = socket.create_server(("127.0.0.1", port), backlog=1024)
    gateway = ["pam_iampass.gateway.cli", "serve-acts", "--config", str(site.gateways[0].config)]
    pages = ["pam_iampass.portal.cli", "serve", "--config", str(config), "--gateway", str(acts_socket(site))]
    with (
        _service(site, gateway, acts, "Answering the portal."),
        _service(site, pages, web, "The portal answers at "),
    ):
        yield


@contextmanager
def _service(site: Site, module: list[str], listener: socket.socket, ready: str) -> Iterator[None]:
    """A service as systemd starts it, with its socket, once it is ready."""
    command = with_socket(listener, "nice", "-n", str(_LESS_CPU), sys.executable, "-m", *module)
    environment = {**os.environ, "STATE_DIRECTORY": str(site.folder / "gateway0")}
    log = (site.folder / "portal.log").open("a")
    with (
        log,
        listener,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environment,
            pass_fds=[listener.fileno()],
        ) as process,
    ):
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line.startswith(ready), line + (site.folder / "portal.log").read_text()
            yield
        finally:
            process.terminate()


class _Flood:
    """The process that floods, or none."""

    def __init__(self, process: subprocess.Popen[str] | None) -> None:
        self._process = process

    def figures(self) -> dict[str, float]:
        """What it has done since it began."""
        if self._process is None:
            return {}
        output, _ = self._process.communicate("")
        found: dict[str, float] = json.loads(output)
        return found


@contextmanager
def _flood(name: str, site: Site, port: int) -> Iterator[_Flood]:
    if name == QUIET:
        yield _Flood(None)
        return
    command = ["nice", "-n", str(_LEAST_CPU), sys.executable, "-m", "bench.floods"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            asked = {"name": name, "socket": str(acts_socket(site)), "port": port}
            print(json.dumps(asked), file=process.stdin, flush=True)
            assert process.stdout.readline() == "flooding\n"
            yield _Flood(process)
        finally:
            process.terminate()


# The process that floods


class _Flooding:
    """What has been sent so far, and what came of it."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self._asked = asked
        self._answered = self._refused = 0
        self._context = ssl.create_default_context()
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._binding = secrets.token_urlsafe(32)
        self._touch: dict[str, Any] | None = None
        self.begun = asyncio.Event()
        """Set once something was answered."""

    def figures(self, seconds: float) -> dict[str, float]:
        return {ANSWERED: self._answered / seconds, REFUSED: self._refused}

    async def of_gateway(self) -> None:
        """Calls at the socket, one after the other, on one connection after the other."""
        while True:
            with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError, ValueError):
                reader, writer = await asyncio.open_unix_connection(self._asked["socket"])
                while True:
                    await self._ask_gateway(reader, writer)
            self._refused += 1
            await asyncio.sleep(0.1)

    async def _ask_gateway(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun = await self._call(reader, writer, "/sign-in/challenge", {"binding": self._binding})
        if self._touch is None:
            browser = Authenticator(f"https://localhost:{self._asked['port']}")
            owner = secrets.token_urlsafe(32)  # nobody's
            browser.passkeys.append(Passkey(secrets.token_bytes(32), owner, new_key(browser.algorithm)))
            self._touch = browser.get(begun["options"])
        sign_in = {"binding": self._binding, "answer": self._touch, "remote": "192.0.2.1", "agent": _AGENT}
        await self._call(reader, writer, "/sign-in", sign_in)
        await self._call(reader, writer, "/sign-in/show", {"token": secrets.token_urlsafe(32)})

    async def _call(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, values: dict[str, Any]
    ) -> dict[str, Any]:
        body = json.dumps(values).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        return dict(json.loads(await self._exchange(reader, writer, f"{head}\r\n\r\n".encode() + body)))

    async def of_portal(self) -> None:
        """Requests at the port."""
        origin = f"https://localhost:{self._asked['port']}"
        post = f"POST /sign-in/challenge HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\nContent-Length: 0\r\n\r\n".encode()
        page = b"GET /sign-in HTTP/1.1\r\nHost: x\r\n\r\n"
        number = 0
        while True:
            number += 1
            with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError, KeyError):
                reader, writer = await self._connect(number % 20)
                while True:
                    for request in (post, page):
                        await self._exchange(reader, writer, request)
            self._refused += 1
            await asyncio.sleep(0.1)

    async def slow(self, number: int) -> None:
        """A request that never ends, a byte a second, again and again."""
        while True:
            with contextlib.suppress(OSError):
                _, writer = await self._connect(20 + number % 20)
                writer.write(b"GET / HTTP/1.1\r\nX: ")
                while not writer.is_closing():
                    writer.write(b"x")
                    await writer.drain()
                    await asyncio.sleep(1)
            self._refused += 1
            await asyncio.sleep(1)

    async def _connect(self, place: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        address = f"127.0.1.{place + 1}"
        return await asyncio.open_connection(
            "127.0.0.1", self._asked["port"], ssl=self._context, local_addr=(address, 0)
        )

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
    ) -> bytes:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        body = await reader.readexactly(length)
        self._answered += 1
        self.begun.set()
        return body


async def _be_flood(asked: dict[str, Any]) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (16384, 16384))
    flooding = _Flooding(asked)
    if asked["name"] == SOCKET:
        work = [flooding.of_gateway() for _ in range(300)]
    else:
        work = [flooding.slow(number) for number in range(2000)] + [flooding.of_portal() for _ in range(100)]
    tasks = [asyncio.create_task(each) for each in work]
    await flooding.begun.wait()
    began = time.monotonic()
    print("flooding", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        if task.done():
            task.result()  # raises what has ended it: the flood was less than it says
    print(json.dumps(flooding.figures(time.monotonic() - began)), flush=True)
    os._exit(0)  # without closing thousands of connections


if __name__ == "__main__":
    asyncio.run(_be_flood(json.loads(sys.stdin.readline())))

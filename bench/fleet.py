"""One gateway with 1,000 hosts and 10,000 people: logins, and what a start costs more than without it.

The gateway is the service itself (`pam-iampass-gateway serve`), its PostgreSQL waits for the disk at each commit.
IAMPASS is a small server that checks no signature and says `active` two seconds after a start. The hosts are one
process, with connections of their own for each host. Beside every tenth login its host starts a session at IAMPASS
itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import secrets
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import aiohttp
import trustme
from aiohttp import web
from yarl import URL

from bench.measure import Section, median, percentile
from bench.pending import cpu_seconds, peak_mib
from pam_iampass.client import Status
from pam_iampass.client.application import Application
from pam_iampass.client.attempts import IDLE_SECONDS
from pam_iampass.client.call import Call
from pam_iampass.client.origin import Origin
from pam_iampass.gateway import hosts, people, restored
from pam_iampass.gateway.database import migrate
from pam_iampass.gateway.gateway import opened
from pam_iampass.gateway.hosts import Host, HostStatus
from pam_iampass.gateway.people import Person
from pam_iampass.gateway.settings import load
from pam_iampass.login.approval import next_poll
from pam_iampass.server.http import serve
from pam_iampass.server.messages import Reply, ended, polled, started
from tests.support.folders import put
from tests.support.postgres import Postgres

LOGINS = "logins per s"
THROUGH, DIRECT = "start, {}", "start without the gateway, {}"
MEDIAN, PERCENTILE = "median ms", "95th percentile ms"
FAILED = "failed logins"
ROW, OFTEN = "{rate} logins a second", "{rate} logins a second that poll as IAMPASS is polled"
ANSWER_SECONDS = 2.0
_DIRECT_EVERY = 10
_WARM_UP_SECONDS = 4.0
_LOGIN_SECONDS = 60
_CALL_SECONDS = 30.0
_SECRET = "secret-of-each-host"
_SETTINGS = """\
names: [localhost]
listen: 127.0.0.1:{port}
database: {conninfo}
application_id: bench
application_secret_file: {folder}/application-secret
server: {iampass}
server_ca_file: {folder}/ca.pem
key_file: {folder}/key
ca_file: {folder}/ca.pem
certificate_file: {folder}/server.pem
certificate_key_file: {folder}/server.pem
"""


def measure(seconds: float, rates: tuple[int, ...], host_count: int, person_count: int) -> Section:
    """Each of `rates` in turn, in logins a second, for `seconds`. Hosts wait for answers, as agents do; at the first
    rate, they also poll without, as the published client does."""
    title = f"One gateway with {host_count:,} hosts and {person_count:,} people"
    print(title)
    times = [name.format(figure) for figure in (MEDIAN, PERCENTILE) for name in (THROUGH, DIRECT)]
    cores = [f"{name} CPU of one core %" for name in ("gateway", "PostgreSQL", "hosts", "IAMPASS")]
    section = Section(title, [LOGINS, *times, FAILED, *cores, "gateway memory MiB", "PostgreSQL memory MiB"])
    with ExitStack() as stack:
        folder = Path(stack.enter_context(_folder_on_disk()))
        postgres = Postgres(folder / "postgres")
        stack.callback(postgres.remove)
        postgres.start("-c", "fsync=on")
        sync = _sync_ms(folder)
        iampass, iampass_url = stack.enter_context(_iampass(folder))
        gateway, url = stack.enter_context(_gateway(folder, postgres, iampass_url, host_count, person_count))
        for name, rate in ((OFTEN, rates[0]), *((ROW, rate) for rate in rates)):
            asked = {"gateway": url, "iampass": iampass_url, "ca_file": f"{folder}/ca.pem", "rate": rate}
            asked |= {"seconds": seconds, "hosts": host_count, "people": person_count, "waits": name == ROW}
            section.add(name.format(rate=rate), **_play(asked, gateway, postgres, iampass))
    section.remark = (
        f"Each person approves after {ANSWER_SECONDS:g} s. Hosts, gateway, PostgreSQL and IAMPASS share"
        f" {os.cpu_count()} cores. Each start is on a new connection, also without the gateway. To write 8 KiB to this"
        f" disk and wait for it (fdatasync), as at a commit, takes {sync:.2f} ms."
    )
    return section


def bounds(values: dict[str, float]) -> list[tuple[str, float, float]]:
    """The bounds of a row: (what, found, at most)."""
    through, direct = (values[way.format(PERCENTILE)] for way in (THROUGH, DIRECT))
    return [
        ("failed logins", values[FAILED], 0),
        ("start, 95th percentile above that without the gateway, ms", through - direct, 100),
        ("gateway memory, MiB", values["gateway memory MiB"], 300),
    ]


@contextmanager
def _folder_on_disk() -> Iterator[str]:
    """A folder that is not in memory, as that of the isolated root is, and that only root can write."""
    with tempfile.TemporaryDirectory(dir=".") as real, tempfile.TemporaryDirectory(dir="/var/lib") as name:
        subprocess.run(["mount", "--bind", real, name], check=True)
        try:
            os.chmod(name, 0o755)
            yield name
        finally:
            subprocess.run(["umount", name], check=True)


def _sync_ms(folder: Path) -> float:
    found = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(100):
            began = time.monotonic()
            file.write(bytes(8192))
            os.fdatasync(file)
            found.append(time.monotonic() - began)
    return 1000 * median(found)


@contextmanager
def _iampass(folder: Path) -> Iterator[tuple[int, str]]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(f"{folder}/ca.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(f"{folder}/server.pem")
    with _process("iampass", str(folder)) as process:
        assert process.stdout is not None
        yield process.pid, f"https://localhost:{int(process.stdout.readline())}"


@contextmanager
def _gateway(
    folder: Path, postgres: Postgres, iampass: str, host_count: int, person_count: int
) -> Iterator[tuple[int, str]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "gateway.yaml"
    values = {"folder": folder, "port": port, "iampass": iampass, "conninfo": postgres.new_database()}
    put(config, _SETTINGS.format(**values))
    put(folder / "application-secret", "secret-of-the-application", 0o600)
    put(folder / "key", "5a" * 32, 0o600)
    (folder / "server.pem").chmod(0o600)
    (folder / "state").mkdir()
    asyncio.run(_populate(config, host_count, person_count))
    command = [sys.executable, "-m", "pam_iampass.gateway.cli", "serve", "--config", str(config)]
    environment = {**os.environ, "STATE_DIRECTORY": str(folder / "state")}
    with (
        (folder / "gateway.log").open("w+") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as process,
    ):
        try:
            assert process.stdout is not None
            assert "Serving" in process.stdout.readline(), (folder / "gateway.log").read_text()
            yield process.pid, f"https://localhost:{port}"
        finally:
            process.terminate()


async def _populate(config: Path, host_count: int, person_count: int) -> None:
    async with opened(load(config)) as gateway:
        await migrate(gateway.database)
        async with gateway.database.transaction() as connection:
            await restored.begin(gateway, connection)
            now = datetime.now(timezone.utc)
            for number in range(host_count):
                id = _host_id(number)
                host = Host(id, id, "default", _SECRET, None, HostStatus.ACTIVE, now, "i-bench")
                await hosts.add(gateway, connection, host)
            for number in range(person_count):
                await people.add(gateway, connection, Person(f"person{number}", people.new_token()))
            await connection.execute("ANALYZE")


def _host_id(number: int) -> str:
    return f"h-{number:012d}".translate(str.maketrans("0189", "abcd"))


def _play(asked: dict[str, Any], gateway: int, postgres: Postgres, iampass: int) -> dict[str, float]:
    with _process("hosts") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{json.dumps(asked)}\n")
        process.stdin.flush()
        assert process.stdout.readline() == "begin\n"
        pids = {"gateway": gateway, "hosts": process.pid, "IAMPASS": iampass}
        before, began = _cpu(pids, postgres), time.monotonic()
        assert process.stdout.readline() == "end\n"
        after, took = _cpu(pids, postgres), time.monotonic() - began
        figures: dict[str, float] = json.loads(process.stdout.readline())
    used = {
        name: sum(after[name].values()) - sum(before[name].get(pid, 0) for pid in after[name])
        for name in after
    }
    shared = {f"{name} CPU of one core %": 100 * seconds / took for name, seconds in used.items()}
    memory = {"gateway memory MiB": peak_mib(gateway), "PostgreSQL memory MiB": _memory_mib(postgres)}
    return {**figures, **shared, **memory}


def _cpu(pids: dict[str, int], postgres: Postgres) -> dict[str, dict[int, float]]:
    """The CPU seconds of each process of each program."""
    found = {name: {pid: cpu_seconds(pid)} for name, pid in pids.items()}
    return {**found, "PostgreSQL": {pid: cpu_seconds(pid) for pid in _processes(postgres)}}


def _processes(postgres: Postgres) -> list[int]:
    first = int((postgres.folder / "data" / "postmaster.pid").read_text().split("\n")[0])
    return [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]


def _memory_mib(postgres: Postgres) -> float:
    """What all its processes have together; what they share counts once."""
    texts = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in _processes(postgres))
    return sum(int(text.split("\nPss:")[1].split()[0]) for text in texts) / 1024


@contextmanager
def _process(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """This file as a process of its own, until the block ends."""
    command = [sys.executable, "-m", "bench.fleet", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


# The process that is IAMPASS


async def _be_iampass(folder: str) -> None:
    began: dict[str, float] = {}
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    url = f"https://localhost:{listener.getsockname()[1]}"
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(f"{folder}/server.pem")

    def reply(path: list[str]) -> Reply:
        if path[1] == "authentication":
            id = secrets.token_hex(16)
            began[id] = time.monotonic()
            return started(Status.pending, id, "secret-of-the-session", f"{url}/session/{id}")
        if path[3] == "status":
            if path[2] not in began:
                return polled(Status.closed)
            approved = time.monotonic() - began[path[2]] >= ANSWER_SECONDS
            return polled(Status.active if approved else Status.pending)
        return ended(began.pop(path[2], None) is not None)

    async def handle(request: web.BaseRequest, stopping: asyncio.Event) -> web.StreamResponse:
        await request.read()
        made = reply(request.path.split("/"))
        return web.Response(status=made.status, body=made.body, content_type=made.content_type)

    def ready() -> None:
        print(url.rpartition(":")[2], flush=True)

    await serve(handle, listener, context, asyncio.Event(), ready)


# The process that is the hosts


class _Server:
    """What the hosts call, each on connections of its own."""

    def __init__(self, url: str, ca_file: str, *, gateway: bool) -> None:
        self._origin = replace(Origin.of(url), gateways=gateway)
        self._context = ssl.create_default_context(cafile=ca_file)
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    def application(self, id: str) -> Application:
        return Application(self._origin, id, _SECRET)

    async def call(self, host: str, call: Call[Any]) -> Any:
        """The result of a host's call. Raises IampassError and what aiohttp raises."""
        if host not in self._sessions:
            connector = aiohttp.TCPConnector(ssl=self._context, keepalive_timeout=IDLE_SECONDS)
            timeout = aiohttp.ClientTimeout(total=_CALL_SECONDS)
            self._sessions[host] = aiohttp.ClientSession(connector=connector, timeout=timeout)
        nonce = secrets.randbits(64)
        async with self._sessions[host].request(
            call.method,
            URL(call.url, encoded=True),
            data=call.body,
            headers=call.headers(nonce, int(time.time())),
            allow_redirects=False,
        ) as response:
            body = await response.read()
            return call.read(response.status, response.headers, body, time.time(), nonce)

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()


@dataclass
class _Hosts:
    """The hosts, and what they have found while it was measured."""

    gateway: _Server
    iampass: _Server
    host_count: int
    person_count: int
    waits: bool
    measuring: bool = False
    logins: int = 0
    starts: dict[str, list[float]] = field(default_factory=lambda: {THROUGH: [], DIRECT: []})
    failures: Counter[str] = field(default_factory=Counter)

    async def login(self, number: int) -> None:
        """One login, as a host's agent makes its calls."""
        host, person = _host_id(number % self.host_count), f"person{number * 7919 % self.person_count}"
        try:
            began = time.monotonic()
            session = await self._start(THROUGH, self.gateway, host, person)
            if session.failure_reason is not None:
                raise ValueError(session.failure_reason)
            moment = next_poll(None, _LOGIN_SECONDS)
            while moment is not None and session.in_progress:
                if self.waits:
                    session.session_status = await self.gateway.call(host, session.poll(session.longest_wait))
                    continue
                await asyncio.sleep(began + moment - time.monotonic())
                moment = next_poll(max(moment, time.monotonic() - began), _LOGIN_SECONDS)
                session.session_status = await self.gateway.call(host, session.poll())
            await self.gateway.call(host, session.end())
            if not session.active:
                raise ValueError(session.session_status.name)
            self.logins += self.measuring
        except Exception as error:  # noqa: BLE001 - counted, and said
            if self.measuring:
                self.failures[f"{type(error).__name__}: {error}"] += 1

    async def start_directly(self, number: int) -> None:
        """What the host of a login would do without the gateway, as far as the start."""
        host = _host_id(number % self.host_count)
        session = await self._start(DIRECT, self.iampass, host, f"person{number}")
        await self.iampass.call(host, session.end())

    async def _start(self, way: str, server: _Server, host: str, person: str) -> Any:
        told = {"request_id": secrets.token_urlsafe(16), "service": "sshd", "remote": "192.0.2.1"}
        parameters = told if way is THROUGH else {}
        call = server.application(host).start(person, None, _LOGIN_SECONDS, parameters)
        began = time.monotonic()
        session = await server.call(host, call)
        if self.measuring:
            self.starts[way].append(1000 * (time.monotonic() - began))
        return session


async def _be_hosts(asked: dict[str, Any]) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (16384, 16384))
    gateway = _Server(asked["gateway"], asked["ca_file"], gateway=True)
    iampass = _Server(asked["iampass"], asked["ca_file"], gateway=False)
    found = _Hosts(gateway, iampass, asked["hosts"], asked["people"], asked["waits"])
    began = time.monotonic()
    logins: list[asyncio.Task[None]] = []
    direct: list[asyncio.Task[None]] = []

    async def until(moment: float) -> None:
        while (due := began + len(logins) / asked["rate"]) < moment:
            await asyncio.sleep(due - time.monotonic())
            number = len(logins)
            logins.append(asyncio.create_task(found.login(number)))
            if number % _DIRECT_EVERY == 0:
                direct.append(asyncio.create_task(found.start_directly(number)))

    await until(began + _WARM_UP_SECONDS)
    found.measuring = True
    print("begin", flush=True)
    measured = time.monotonic()
    await until(measured + asked["seconds"])
    found.measuring = False
    seconds = time.monotonic() - measured
    print("end", flush=True)
    await asyncio.gather(*logins, *direct)
    for server in (gateway, iampass):
        await server.close()
    if found.failures:
        print(found.failures.most_common(5), file=sys.stderr)
    figures = {LOGINS: found.logins / seconds, FAILED: sum(found.failures.values())}
    for way, times in found.starts.items():
        figures |= {way.format(MEDIAN): median(times), way.format(PERCENTILE): percentile(times, 95)}
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "iampass":
        asyncio.run(_be_iampass(sys.argv[2]))
    else:
        asyncio.run(_be_hosts(json.loads(sys.stdin.readline())))

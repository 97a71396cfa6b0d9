"""Gateways with hosts and people: logins, kept sessions, and what a restart costs.

Gateways are the service itself (`pam-iampass-gateway serve`), their PostgreSQL waits for the disk at each commit.
IAMPASS is nginx, which checks no signature and says `active` two seconds after a start. The hosts are one
process, with connections of their own for each host. Beside every tenth login its host starts a session at IAMPASS
itself. A host that keeps sessions has a call at its gateway that waits for news of them, as its agent has.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import secrets
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Callable
from uuid import UUID

import trustme
from multidict import CIMultiDict

from bench.measure import Section, median, percentile
from bench.pending import cpu_seconds, peak_mib
from bench.upstream import nginx
from pam_iampass.client import IampassError, Status
from pam_iampass.client.application import Application
from pam_iampass.client.attempts import IDLE_SECONDS
from pam_iampass.client.call import Call
from pam_iampass.client.gateways import KEPT_SECONDS
from pam_iampass.client.origin import Origin
from pam_iampass.client.session import Session, SessionSchema
from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.database import migrate
from pam_iampass.gateway.base.gateway import Gateway, opened
from pam_iampass.gateway.base.settings import load
from pam_iampass.gateway.base.statements import insert
from pam_iampass.gateway.check import restored
from pam_iampass.gateway.hosts import hosts
from pam_iampass.gateway.hosts.hosts import Host, HostStatus
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person
from pam_iampass.gateway.requests import sessions
from pam_iampass.gateway.requests.sessions import State
from pam_iampass.gateway.serving.watching import CHECK_SECONDS
from pam_iampass.login.approval import next_poll
from pam_iampass.server.messages import ended, polled, started
from pam_iampass.session.at_gateway import AGAIN, WAIT
from tests.support.folders import put
from tests.support.postgres import Postgres

LOGINS = "logins per s"
THROUGH, DIRECT = "start, {}", "start without a gateway, {}"
MEDIAN, PERCENTILE = "median ms", "95th percentile ms"
FAILED = "failed logins"
MEMORY = "largest gateway memory MiB"
CORES = [f"{name} CPU of one core %" for name in ("gateways", "PostgreSQL", "hosts", "IAMPASS")]
ROW, OFTEN = "{rate} logins a second", "{rate} logins a second that poll as IAMPASS is polled"
POLLS, MOST_POLLS = "polls of kept sessions per s", "most in 1 s"
IN_A_TENTH = ("in 0.1 s, median", "in 0.1 s, 95th percentile", "in 0.1 s, most")
WAIT_AGAIN, AGAIN_CPU, LOST = "all wait again after s", "gateway CPU s until then", "calls that failed"
KEPT = 20
"""Sessions that a host keeps."""
LOGINS_OF_A_HOST = 0.1
"""Logins of a host that keeps sessions, a second."""
ANSWER_SECONDS = 2.0
_DIRECT_EVERY = 10
_WARM_UP_SECONDS = 4.0
_LOGIN_SECONDS = 60
_CALL_SECONDS = 35.0
_SECRET = "secret-of-each-host"
_KEPT_VERSION = 3
_SETTINGS = """\
names: [localhost, 127.0.0.1]
listen: 127.0.0.1:{port}
monitoring: 127.0.0.1:{monitoring}
database: {conninfo}
application_id: {application}
application_secret_file: {folder}/application-secret
server: {iampass}
server_ca_file: {iampass_ca}
key_file: {folder}/key
ca_file: {folder}/ca.pem
certificate_file: {folder}/server.pem
certificate_key_file: {folder}/server.pem
groups: {{default: {{everybody: true}}}}
"""


def measure(seconds: float, rates: tuple[int, ...], host_count: int, person_count: int) -> list[Section]:
    """One gateway; two with more and more hosts that keep sessions; one that is started anew."""
    with folder_on_disk() as folder:
        postgres = Postgres(Path(folder, "postgres"))
        try:
            postgres.start("-c", "fsync=on")
            return [
                _one(postgres, seconds, rates, host_count, person_count),
                _two(postgres, 1.5 * seconds, (host_count // 100, host_count // 10, host_count)),
                _started_anew(postgres, seconds, host_count),
            ]
        finally:
            postgres.remove()


def _one(
    postgres: Postgres, seconds: float, rates: tuple[int, ...], host_count: int, person_count: int
) -> Section:
    """Each of `rates` in turn, in logins a second, for `seconds`. Hosts wait for answers, as agents do; at the first
    rate, they also poll without, as the published client does."""
    title = f"One gateway with {host_count:,} hosts and {person_count:,} people"
    section = Section(title, [LOGINS, *_times(), FAILED, *CORES, MEMORY, "PostgreSQL memory MiB"])
    print(title)
    with running_site(postgres, host_count, person_count, 0, 1) as site:
        for name, rate in ((OFTEN, rates[0]), *((ROW, rate) for rate in rates)):
            with play(site, rate, waits=name == ROW) as hosts:
                section.add(name.format(rate=rate), **hosts.measured(seconds))
        section.remark = (
            f"Each person approves after {ANSWER_SECONDS:g} s. Hosts, gateway, PostgreSQL and IAMPASS share"
            f" {os.cpu_count()} cores. Hosts keep idle connections as agents do: for {KEPT_SECONDS:g} s to gateways,"
            f" for {IDLE_SECONDS:g} s to IAMPASS, so that each start there is on a new one. To write 8 KiB to"
            f" this disk and wait for it (fdatasync), as at a commit, takes {_sync_ms(postgres.folder):.2f} ms."
        )
    return section


def _two(postgres: Postgres, seconds: float, counts: tuple[int, ...]) -> Section:
    """Two gateways and so many hosts, each of which keeps sessions and has its share of the logins."""
    title = f"Two gateways with hosts that keep {KEPT} sessions each"
    polls = [POLLS, MOST_POLLS, *IN_A_TENTH]
    section = Section(title, [LOGINS, *_times(), FAILED, *CORES, MEMORY, "PostgreSQL memory MiB", *polls])
    print(title)
    for count in filter(None, counts):
        with running_site(postgres, count, 10 * count, KEPT, 2) as site:
            for part in (0.5, 1) if count == counts[-1] else (1,):
                rate = part * count * LOGINS_OF_A_HOST
                with play(site, rate) as hosts:
                    site.wait_until_all_are_polled()
                    row = f"{count:,} hosts, {10 * count:,} people, {KEPT * count:,} sessions, {rate:g} logins a second"
                    section.add(row, **hosts.measured(seconds))
    section.remark = (
        f"Kept sessions are polled at IAMPASS every 30 s. Hosts, gateways, PostgreSQL and IAMPASS share"
        f" {os.cpu_count()} cores: if the four columns of CPU add up to nearly {100 * (os.cpu_count() or 1)} %, the"
        " machine is full, and a start waits for it."
    )
    return section


def _started_anew(postgres: Postgres, seconds: float, count: int) -> Section:
    """A gateway whose hosts keep sessions is stopped and started; logins wait on it, and others come afterwards."""
    title = f"One gateway is started anew: {count:,} hosts come back"
    section = Section(title, [WAIT_AGAIN, AGAIN_CPU, LOST, LOGINS, *_times(), FAILED, *CORES, MEMORY])
    print(title)
    with running_site(postgres, count, 10 * count, KEPT, 1) as site:
        ways = {f"at random within {AGAIN:g} s, as agents do": AGAIN, "in the same moment": 0.0}
        for name, spread in ways.items():
            with play(site, count / 50, spread=spread) as hosts:
                site.wait_until_all_are_polled()
                hosts.pause()
                site.gateways[0].stop()
                site.gateways[0].start()
                section.add(name, **hosts.measured(seconds, came_back=lambda: site.held() >= count))
    section.remark = (
        f"{KEPT} kept sessions on each host, {count / 50:g} logins a second. The times of starts are of those that"
        " began when the gateway served again. Logins that waited when it stopped must end well, too."
    )
    return section


def _times() -> list[str]:
    return [name.format(figure) for figure in (MEDIAN, PERCENTILE) for name in (THROUGH, DIRECT)]


def above_direct(values: dict[str, float]) -> float:
    """How much longer a start takes than without a gateway, in milliseconds: the 95th percentiles."""
    return values[THROUGH.format(PERCENTILE)] - values[DIRECT.format(PERCENTILE)]


def bounds(one: Section, two: Section, again: Section) -> list[tuple[str, float, float]]:
    """The bounds: (what, found, at most)."""
    single, many, half, fewer = (row.values for row in (one.rows[-1], *two.rows[:-4:-1]))
    slower = "start, 95th percentile above that without a gateway, ms"
    cpu = CORES[0]
    found = [
        (f"gateway at {one.rows[-1].name}: {slower}", above_direct(single), 100),
        (f"gateway at {one.rows[-1].name}: memory, MiB", single[MEMORY], 300),
        (f"two gateways, {two.rows[-1].name}: {slower}", above_direct(many), 50),
        (f"two gateways, {two.rows[-2].name}: {slower}", above_direct(half), 50),
        (f"two gateways, {two.rows[-1].name}: memory of one, MiB", many[MEMORY], 300),
        (
            "two gateways: most polls of kept sessions in 1 s, ratio to the mean",
            many[MOST_POLLS] / many[POLLS],
            2,
        ),
        (
            f"two gateways: CPU with {two.rows[-1].name.partition(',')[0]} hosts against a tenth of them, ratio",
            many[cpu] / fewer[cpu],
            11,
        ),
    ]
    for section in (one, two, again):
        failed = sum(row.values[FAILED] for row in section.rows)
        found.append((f"{section.title}: failed logins", failed, 0))
    return found + [
        (f"hosts come back {row.name}: {WAIT_AGAIN}", row.values[WAIT_AGAIN], 15) for row in again.rows
    ]


@contextmanager
def folder_on_disk() -> Iterator[str]:
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


class GatewayService:
    """The process of a gateway, on ports of its own."""

    def __init__(self, folder: Path, number: int, values: dict[str, object], settings: str = "") -> None:
        self.port, self._monitoring = (free_port() for _ in range(2))
        self._folder = folder / f"gateway{number}"
        self._folder.mkdir()
        self.config = self._folder / "gateway.yaml"
        text = _SETTINGS.format(**values, port=self.port, monitoring=self._monitoring)
        put(self.config, text + settings)
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Returns when it serves."""
        command = [sys.executable, "-m", "pam_iampass.gateway.cli", "serve", "--config", str(self.config)]
        environment = {**os.environ, "STATE_DIRECTORY": str(self._folder)}
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
            )
        assert self._process.stdout is not None
        assert "Serving" in self._process.stdout.readline(), (self._folder / "log").read_text()

    def stop(self) -> None:
        """As `systemctl stop`."""
        if self._process is not None:
            self._process.terminate()
            self._process.communicate()
            self._process = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def held(self) -> int:
        """How many calls wait there."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._monitoring}/metrics") as response:
            text: str = response.read().decode()
        return int(float(text.split("\niampass_gateway_calls_held ")[1].split()[0]))


def make_files(folder: Path, application_secret: str) -> None:
    """The files of gateways: a CA, their certificate, the key of the database, the secret of the application."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(f"{folder}/ca.pem")
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        f"{folder}/server.pem"
    )
    (folder / "server.pem").chmod(0o600)
    put(folder / "application-secret", application_secret, 0o600)
    put(folder / "key", "5a" * 32, 0o600)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@dataclass
class Site:
    """Gateways with their database, and IAMPASS."""

    folder: Path
    postgres: Postgres
    iampass: int
    """Its process."""
    iampass_url: str
    gateways: list[GatewayService]
    hosts: int
    people: int
    kept: int
    """Sessions that each host keeps."""

    def held(self) -> int:
        """How many calls wait at the gateways."""
        return sum(gateway.held() for gateway in self.gateways)

    def wait_until_all_are_polled(self) -> None:
        """Wait until each host waits for news of its sessions, and each session is polled as often as ever: those that
        a gateway takes over are polled sooner."""
        until = time.monotonic() + 300.0
        usual = self.hosts * self.kept / CHECK_SECONDS
        while self.held() < self.hosts or not self._are_polled_as_usual(1.1 * usual):
            assert time.monotonic() < until, "not all hosts wait, or their sessions are not polled as usual"
            time.sleep(1.0)

    def _are_polled_as_usual(self, most: float) -> bool:
        polls = _kept_polls(self.folder)
        lately = sum(at > time.time() - CHECK_SECONDS / 3 for at in polls)
        return len(polls) >= self.hosts * self.kept and lately <= most * CHECK_SECONDS / 3

    def cpu(self, hosts: int) -> dict[str, dict[int, float]]:
        """The CPU seconds of each process of each program."""
        gateways = [gateway.pid for gateway in self.gateways]
        pids = zip(CORES, (gateways, _processes(self.postgres), [hosts], [self.iampass]))
        return {name: {pid: cpu_seconds(pid) for pid in of_program} for name, of_program in pids}


@contextmanager
def running_site(
    postgres: Postgres, host_count: int, person_count: int, kept: int, gateways: int, settings: str = ""
) -> Iterator[Site]:
    """Gateways that serve, with hosts and people. `settings` are more lines of their settings."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/lib")))
        make_files(folder, "secret-of-the-application")
        folder.chmod(0o755)
        url, iampass = stack.enter_context(_iampass(folder))
        values = {"folder": folder, "iampass": url, "iampass_ca": f"{folder}/ca.pem", "application": "bench"}
        values["conninfo"] = postgres.new_database()
        found = [GatewayService(folder, number, values, settings) for number in range(gateways)]
        asyncio.run(_populate(found[0].config, url, host_count, person_count, kept))
        for gateway in found:
            gateway.start()
            stack.callback(gateway.stop)
        yield Site(folder, postgres, iampass, url, found, host_count, person_count, kept)


async def _populate(config: Path, iampass: str, host_count: int, person_count: int, kept: int) -> None:
    async with opened(load(config)) as gateway:
        await migrate(gateway.database)
        async with gateway.database.transaction() as connection:
            await restored.begin(gateway, connection)
            now = datetime.now(timezone.utc)
            for number in range(host_count):
                id = _host_id(number)
                host = Host(id, id, "default", _SECRET, None, HostStatus.ACTIVE, now, "i-bench")
                await hosts.add(gateway, connection, host)
                for place in range(kept):
                    await _keep(gateway, connection, number * kept + place, id, iampass, now)
                await connection.flush()
            for number in range(person_count):
                await people.add(gateway, connection, Person(f"person{number}", people.new_token()))
            await connection.execute("ANALYZE")
        async with gateway.database.statement() as connection:
            await connection.execute("CHECKPOINT")  # not while it is measured


async def _keep(
    gateway: Gateway, connection: Connection, number: int, host: str, iampass: str, now: datetime
) -> None:
    """The row of a session that was approved an hour ago."""
    id, url = _kept_id(number), f"{iampass}/session/kept{number}"
    upstream = Session(
        Status.active, f"kept{number}", "secret-of-the-session", f"{url}/logout", f"{url}/status"
    )
    text = SessionSchema().dumps(upstream)
    row = {
        "id": id,
        "host": host,
        "host_name": host,
        "person": f"person{number}",
        "request_id": secrets.token_urlsafe(16),
        "parameters": secrets.token_bytes(32),
        "methods": [],
        "state": State.OPEN.value,
        "status": Status.active.name,
        "reason": None,
        "nothing_sent": False,
        "approved": True,
        "began_at": now - timedelta(hours=1),
        "waits_until": now - timedelta(minutes=59),
        "deadline": now - timedelta(minutes=59),
        "expires_at": now + timedelta(hours=11),
        "retry_after": None,
        "decided_at": now - timedelta(minutes=59),
        "gateway": gateway.id,
        "version": _KEPT_VERSION,
        "upstream": gateway.keys.encrypt(text, sessions.TABLE, "upstream", str(id)),
        "details": {"service": "sshd"},
    }
    await insert(connection, sessions.TABLE, gateway.keys.sealed(sessions.TABLE, row))


def _kept_id(number: int) -> UUID:
    return UUID(int=(0xA4 << 120) + number)


def _host_id(number: int) -> str:
    return f"h-{number:012d}".translate(str.maketrans("0189", "abcd"))


class Playing:
    """The process that is the hosts."""

    def __init__(self, process: subprocess.Popen[str], site: Site) -> None:
        self._process = process
        self._site = site
        self._begun = False

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)

    def _said(self, wanted: str) -> None:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line == f"{wanted}\n", line

    def _begin(self) -> None:
        """Have logins come, for a while that is not measured."""
        if not self._begun:
            self._tell("begin")
            self._said("warm")
            self._begun = True

    def pause(self) -> None:
        """No new logins, until it is measured: the gateway is about to stop."""
        self._begin()
        self._tell("pause")

    def measured(self, seconds: float, came_back: Callable[[], bool] | None = None) -> dict[str, float]:
        """The figures of so many seconds. `came_back` says whether all hosts wait again."""
        self._begin()
        self._tell(f"{seconds}")
        self._said("begin")
        before, began = self._site.cpu(self._process.pid), time.monotonic()
        more: dict[str, float] = {}
        if came_back is not None:
            while not came_back() and time.monotonic() < began + seconds:
                time.sleep(0.1)
            cpu = sum(self._site.cpu(self._process.pid)[CORES[0]].values()) - sum(before[CORES[0]].values())
            more = {WAIT_AGAIN: time.monotonic() - began, AGAIN_CPU: cpu}
        self._said("end")
        after, took = self._site.cpu(self._process.pid), time.monotonic() - began
        assert self._process.stdout is not None
        figures: dict[str, float] = json.loads(self._process.stdout.readline())
        for name in CORES:
            used = sum(each - before[name].get(pid, 0.0) for pid, each in after[name].items())
            more[name] = 100 * used / took
        more[MEMORY] = max(peak_mib(gateway.pid) for gateway in self._site.gateways)
        return {**figures, **more, "PostgreSQL memory MiB": _memory_mib(self._site.postgres)}


@contextmanager
def play(site: Site, rate: float, *, waits: bool = True, spread: float = AGAIN) -> Iterator[Playing]:
    """The hosts, which make so many logins a second. `waits` says whether their polls wait, `spread` in how many
    seconds they come back to a gateway that has failed."""
    asked = {"gateways": [f"https://localhost:{gateway.port}" for gateway in site.gateways], "rate": rate}
    asked |= {
        "iampass": site.iampass_url,
        "folder": str(site.folder),
        "ca_file": f"{site.folder}/ca.pem",
        "waits": waits,
        "spread": spread,
    }
    asked |= {"hosts": site.hosts, "people": site.people, "kept": site.kept}
    with _process() as process:
        assert process.stdin is not None
        print(json.dumps(asked), file=process.stdin, flush=True)
        yield Playing(process, site)


def _processes(postgres: Postgres) -> list[int]:
    first = int((postgres.folder / "data" / "postmaster.pid").read_text().split("\n")[0])
    return [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]


def _memory_mib(postgres: Postgres) -> float:
    """What all its processes have together; what they share counts once."""
    texts = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in _processes(postgres))
    return sum(int(text.split("\nPss:")[1].split()[0]) for text in texts) / 1024


@contextmanager
def _process() -> Iterator[subprocess.Popen[str]]:
    """This file as a process of its own, until the block ends."""
    command = [sys.executable, "-m", "bench.fleet"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


# IAMPASS

_NGINX = """\
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
load_module /usr/lib/nginx/modules/ngx_http_js_module.so;
events {{ worker_connections 8192; }}
http {{
    js_path {folder}; js_import iampass.js;
    log_format moment $msec;
    access_log off; keepalive_timeout 65s; keepalive_requests 1000000000; client_body_temp_path {folder}/bodies;
    default_type application/json;
    ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.pem;
    server {{
        listen 127.0.0.1:{port} ssl backlog=1024;
        location /authentication/ {{ js_content iampass.start; }}
        location ^~ /session/kept {{ access_log {folder}/polls moment; return 200 '{kept}'; }}
        location ~ ^/session/.*/status$ {{ js_content iampass.poll; }}
        location /session/ {{ return 200 '{ended}'; }}
    }}
}}
"""
_SCRIPT = """\
function begun(uri) {{ return parseInt(uri.split('/')[2].split('-')[0], 36); }}
function start(r) {{
    var id = Date.now().toString(36) + '-' + Math.random().toString(36).slice(2);
    r.headersOut['Content-Type'] = 'application/json';
    r.return(202, '{started}'.replaceAll('SESSION', id));
}}
function poll(r) {{
    r.headersOut['Content-Type'] = 'application/json';
    r.return(200, Date.now() - begun(r.uri) >= {answer_ms} ? '{active}' : '{pending}');
}}
export default {{start, poll}};
"""


@contextmanager
def _iampass(folder: Path) -> Iterator[tuple[str, int]]:
    """The URL of a server, and its process: nginx takes far less of the machine than one in Python would."""
    port = free_port()
    url = f"https://localhost:{port}"
    begun = started(Status.pending, "SESSION", "secret-of-the-session", f"{url}/session/SESSION")
    texts = {"active": polled(Status.active), "pending": polled(Status.pending), "started": begun}
    texts |= {"kept": polled(Status.active), "ended": ended(True)}
    values = {name: reply.body.decode() for name, reply in texts.items()}
    put(folder / "nginx.conf", _NGINX.format(folder=folder, port=port, **values))
    put(folder / "iampass.js", _SCRIPT.format(answer_ms=int(1000 * ANSWER_SECONDS), **values))
    with nginx(folder) as process:
        yield url, process


def _kept_polls(folder: Path) -> list[float]:
    """When IAMPASS was polled for kept sessions, by `time.time()`."""
    file = folder / "polls"
    return [float(line) for line in file.read_text().split()] if file.exists() else []


# The process that is the hosts


class _Server:
    """What the hosts call, each on connections of its own, which it keeps as an agent does."""

    def __init__(self, url: str, ca_file: str, *, gateway: bool) -> None:
        self._origin = replace(Origin.of(url), gateways=gateway)
        self._port = int(url.rpartition(":")[2])
        self._context = ssl.create_default_context(cafile=ca_file)
        self._idle: dict[str, list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]]] = {}

    def application(self, id: str) -> Application:
        return Application(self._origin, id, _SECRET)

    async def call(self, host: str, call: Call[Any]) -> Any:
        """The result of a host's call. Raises IampassError, and OSError, EOFError or TimeoutError."""
        nonce = secrets.randbits(64)
        headers = call.headers(nonce, int(time.time()))
        target = call.url[call.url.index("/", len("https://")) :]
        lines = [f"{call.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        body = call.body or b""
        if call.body is not None:
            lines.append(f"Content-Length: {len(body)}")
        request = "\r\n".join((*lines, "", "")).encode() + body
        longest = KEPT_SECONDS if self._origin.gateways and call.idempotent else IDLE_SECONDS
        exchange = self._exchange(host, request, longest)
        status, answered, text = await asyncio.wait_for(exchange, _CALL_SECONDS)
        return call.read(status, answered, text, time.time(), nonce)

    async def _exchange(
        self, host: str, request: bytes, longest: float = IDLE_SECONDS
    ) -> tuple[int, CIMultiDict[str], bytes]:
        idle = self._idle.setdefault(host, [])
        while idle and (idle[0][1].at_eof() or time.monotonic() - idle[0][0] >= longest):
            idle.pop(0)[2].close()
        if idle:
            _, reader, writer = idle.pop()
        else:
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self._port, ssl=self._context, server_hostname="localhost"
            )
        try:
            writer.write(request)
            head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = CIMultiDict(line.split(": ", 1) for line in lines if line)
            body = await reader.readexactly(int(headers["Content-Length"]))
        except BaseException:
            writer.close()
            raise
        idle.append((time.monotonic(), reader, writer))
        return int(head.split()[1]), headers, body


_FAILURES = (OSError, EOFError, TimeoutError, IampassError)


@dataclass
class _Hosts:
    """The hosts, and what they have found while it was measured."""

    gateways: list[_Server]
    iampass: _Server
    asked: dict[str, Any]
    measuring: bool = False
    logins: int = 0
    starts: dict[str, list[float]] = field(default_factory=lambda: {THROUGH: [], DIRECT: []})
    failures: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    """Calls about kept sessions that failed."""
    coming: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while there are new logins."""
    serving: asyncio.Event = field(default_factory=asyncio.Event)
    """Set unless a gateway is started anew."""

    async def come(self) -> None:
        """New logins, for ever."""
        began, number = time.monotonic(), 0
        async with asyncio.TaskGroup() as tasks:
            while True:
                if not self.coming.is_set():
                    await self.coming.wait()
                    began = time.monotonic() - number / self.asked["rate"]
                await asyncio.sleep(began + number / self.asked["rate"] - time.monotonic())
                tasks.create_task(self.login(number))
                if number % _DIRECT_EVERY == 0:
                    tasks.create_task(self.start_directly(number))
                number += 1

    async def login(self, number: int) -> None:
        """One login, as a host's agent makes its calls."""
        of_host, person = number % self.asked["hosts"], f"person{number * 7919 % self.asked['people']}"
        host, gateway = _host_id(of_host), self._gateway(of_host)
        measured, waits = self.measuring, False
        try:
            began = time.monotonic()
            session = await self._start(THROUGH, gateway, host, person)
            if session.failure_reason is not None:
                raise ValueError(session.failure_reason)
            moment, waits = next_poll(None, _LOGIN_SECONDS), True
            while moment is not None and session.in_progress:
                if not self.asked["waits"]:
                    await asyncio.sleep(began + moment - time.monotonic())
                    moment = next_poll(max(moment, time.monotonic() - began), _LOGIN_SECONDS)
                wait = session.longest_wait if self.asked["waits"] else 0
                session.session_status = await self._until_answered(gateway, host, session.poll(wait))
            await self._until_answered(gateway, host, session.end())
            if not session.active:
                raise ValueError(session.session_status.name)
            self.logins += measured
        except Exception as error:  # noqa: BLE001 - counted, and said
            if measured or (waits and self.asked["kept"]):
                self.failures[f"{type(error).__name__}: {error}"] += 1

    async def _until_answered(self, gateway: _Server, host: str, call: Call[Any]) -> Any:
        """The answer of a gateway, also of one that is started anew meanwhile."""
        until = time.monotonic() + _LOGIN_SECONDS
        while True:
            try:
                return await gateway.call(host, call)
            except _FAILURES:
                if self.serving.is_set() or time.monotonic() > until:
                    raise
                await self.serving.wait()

    async def start_directly(self, number: int) -> None:
        """What the host of a login would do without the gateway, as far as the start."""
        host = _host_id(number % self.asked["hosts"])
        session = await self._start(DIRECT, self.iampass, host, f"person{number}")
        await self.iampass.call(host, session.end())

    async def _start(self, way: str, server: _Server, host: str, person: str) -> Any:
        told = {"request_id": secrets.token_urlsafe(16), "service": "sshd", "remote": "192.0.2.1"}
        parameters = told if way is THROUGH else {}
        call = server.application(host).start(person, None, _LOGIN_SECONDS, parameters)
        began, measured = time.monotonic(), self.measuring
        session = await server.call(host, call)
        if measured:
            self.starts[way].append(1000 * (time.monotonic() - began))
        return session

    async def watch(self, number: int) -> None:
        """Wait for news of the sessions that a host keeps, for ever."""
        first, host, gateway = number * self.asked["kept"], _host_id(number), self._gateway(number)
        versions = {str(_kept_id(first + place)): _KEPT_VERSION for place in range(self.asked["kept"])}
        await asyncio.sleep(random.random() * AGAIN)
        while True:
            try:
                await gateway.call(host, gateway.application(host).watch(versions, WAIT, None))
            except _FAILURES:
                self.lost += self.measuring
                if self.asked["spread"]:
                    await asyncio.sleep(random.random() * self.asked["spread"])
                else:
                    await self.serving.wait()

    def _gateway(self, host: int) -> _Server:
        return self.gateways[host % len(self.gateways)]

    def figures(self, began: float, seconds: float) -> dict[str, float]:
        """What was found."""
        if self.failures:
            print(self.failures.most_common(5), file=sys.stderr)
        figures = {LOGINS: self.logins / seconds, FAILED: sum(self.failures.values()), LOST: self.lost}
        for way, times in self.starts.items():
            figures |= {way.format(MEDIAN): median(times), way.format(PERCENTILE): percentile(times, 95)}
        if self.asked["kept"]:
            begun = time.time() - (time.monotonic() - began)
            moments = (at - begun for at in _kept_polls(Path(self.asked["folder"])))
            polls = [at for at in moments if 0 <= at < seconds]
            of_tenths = Counter(int(10 * at) for at in polls)
            tenths = [of_tenths[tenth] for tenth in range(int(10 * seconds))]
            figures |= {
                POLLS: len(polls) / seconds,
                MOST_POLLS: max(Counter(map(int, polls)).values(), default=0),
            }
            figures |= dict(zip(IN_A_TENTH, (median(tenths), percentile(tenths, 95), max(tenths))))
        return figures


async def _be_hosts(asked: dict[str, Any]) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (16384, 16384))
    gateways = [_Server(url, asked["ca_file"], gateway=True) for url in asked["gateways"]]
    found = _Hosts(gateways, _Server(asked["iampass"], asked["ca_file"], gateway=False), asked)

    async def told() -> str:
        return (await asyncio.to_thread(sys.stdin.readline)).strip()

    work = [asyncio.create_task(found.come())]
    work += [
        asyncio.create_task(found.watch(number)) for number in range(asked["hosts"] if asked["kept"] else 0)
    ]
    found.serving.set()
    await told()
    found.coming.set()
    await asyncio.sleep(_WARM_UP_SECONDS)
    print("warm", flush=True)
    if (line := await told()) == "pause":
        found.coming.clear()
        found.serving.clear()
        line = await told()
    began, seconds = time.monotonic(), float(line)
    found.measuring = True
    found.serving.set()
    found.coming.set()
    print("begin", flush=True)
    await asyncio.sleep(seconds)
    print("end", flush=True)
    found.coming.clear()
    await asyncio.sleep(2 * ANSWER_SECONDS)  # for those that have begun
    for task in work:
        task.cancel()
    with suppress(asyncio.CancelledError):
        await asyncio.gather(*work)
    print(json.dumps(found.figures(began, seconds)), flush=True)


if __name__ == "__main__":
    asyncio.run(_be_hosts(json.loads(sys.stdin.readline())))

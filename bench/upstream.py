"""The calls that a gateway makes to IAMPASS: threads with http.client or requests, against aiohttp in one event loop.

All ways sign and read each call in the same code, `pam_iampass.client`. IAMPASS is nginx with fixed replies over TLS,
in a process of its own: it takes far less of the machine than a sandbox would.

On two busy cores, docs/inside/decisions/calls-of-iampass.md has http.client and aiohttp. The others: http.client in
threads of an event loop 4,470 calls a second at most, 0.25 to 0.38 ms of CPU a call, 66 and 112 MiB with 100 and 400
calls at once; requests in threads 1,900, 0.44 to 0.96 ms, 70 and 112 MiB.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Callable

import requests
import trustme

from bench.measure import Section, median, percentile
from bench.pending import cpu_seconds, peak_mib
from pam_iampass.client import Deadline, Session, Status, Transport
from pam_iampass.client.application import Application
from pam_iampass.client.call import Call
from pam_iampass.client.origin import Origin
from pam_iampass.gateway.base.upstream import Lane, Upstream

#: Calls in one second: 100 logins with 20 polls each, and 20,000 kept sessions that are polled every 30 s.
IN_ONE_SECOND = {"start": 100, "poll": 2000 + 20_000 // 30, "end": 100}
RATE = sum(IN_ONE_SECOND.values())
PEOPLE = 10_000
ROW = "{way}, {at_once} at once, answered after {delay} ms"
FASTEST = {"at_once": 100, "delay": 0}
AIOHTTP, EXECUTOR = "aiohttp in one event loop", "http.client in threads of an event loop"
SECONDS_FOR_A_CALL = 10.0
AT_ONCE = {0: 100, 20: 100, 100: 400}
"""By the milliseconds until the server answers: threads or tasks, each with a connection."""

TOKEN = "session-token-text"
STARTED = {
    "authenticated": True,
    "session_status": "pending",
    "session_token": TOKEN,
    "session_secret": "session-secret-text",
}
NGINX = """\
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
load_module /usr/lib/nginx/modules/ngx_http_echo_module.so;
events {{ worker_connections 4096; }}
http {{
    access_log off; default_type application/json; keepalive_timeout 600s; keepalive_requests 1000000000;
    ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.pem;
    server {{
        listen 127.0.0.1:{port} ssl;
        location /authentication/ {{ {start} }}
        location /session/{token}/status {{ {poll} }}
        location /session/{token}/logout {{ {end} }}
    }}
}}
"""

Make = Callable[[Call[Any]], Any]


def measure(seconds: float, rounds: int) -> Section:
    """Each way in turn, in each round, for `seconds`."""
    title = f"Calls to IAMPASS, {RATE:,} a second"
    print(title)
    columns = [
        "calls per s",
        "lag, median ms",
        "lag, 95th percentile ms",
        "CPU ms",
        "CPU of one core %",
        "server CPU of one core %",
        "memory MiB",
        "at most, calls per s",
    ]
    section = Section(title, columns)
    for delay, at_once in AT_ONCE.items():
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        with _iampass(delay) as (url, ca_file, pid):
            for _ in range(rounds):
                for way, figures in found.items():
                    paced, most = (
                        _run(way, url, ca_file, pid, rate, seconds, at_once) for rate in (RATE, 1_000_000)
                    )
                    figures.append({**paced, "at most, calls per s": most["calls per s"]})
        for way, figures in found.items():
            medians = {column: median([each[column] for each in figures]) for column in columns}
            section.add(ROW.format(way=way, at_once=at_once, delay=delay), **medians)
    section.remark = (
        "The lag is from the moment when a call is due until its result is read. `At most` is with all calls due at"
        " once."
    )
    return section


def _run(
    way: str, url: str, ca_file: str, server: int, rate: int, seconds: float, at_once: int
) -> dict[str, float]:
    numbers = (str(rate), str(seconds), str(at_once))
    command = [sys.executable, "-m", "bench.upstream", way, url, ca_file, *numbers]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begin\n"
        before, began = cpu_seconds(server), time.monotonic()
        line = process.stdout.readline()
        used = 100 * (cpu_seconds(server) - before) / (time.monotonic() - began)
    figures: dict[str, float] = json.loads(line)
    return {**figures, "server CPU of one core %": used}


@contextmanager
def _iampass(delay: int) -> Iterator[tuple[str, str, int]]:
    """The URL of a server, the file with its authority, and the process that serves."""
    with tempfile.TemporaryDirectory() as name:
        folder, authority = Path(name), trustme.CA()
        authority.cert_pem.write_to_path(f"{folder}/ca.pem")
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(f"{folder}/server.pem")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        url = f"https://localhost:{port}"
        urls = {f"{kind}_url": f"{url}/session/{TOKEN}/{kind}" for kind in ("status", "logout")}
        replies = {
            "start": {"authentication_status": {**STARTED, **urls}},
            "poll": {"authentication_status": {"session_status": "active"}},
            "end": {"status": True},
        }
        answer = f"echo_sleep {delay / 1000}; echo '{{}}';" if delay else "return 200 '{}';"
        texts = {kind: answer.replace("{}", json.dumps(reply)) for kind, reply in replies.items()}
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, token=TOKEN, **texts))
        with nginx(folder) as process:
            yield url, f"{folder}/ca.pem", process


@contextmanager
def nginx(folder: Path) -> Iterator[int]:
    """The process of nginx that serves, with the `nginx.conf` of a folder, until the block ends."""
    log = folder / "error.log"
    with subprocess.Popen(["nginx", "-c", f"{folder}/nginx.conf", "-e", f"{log}"]) as first:
        children = Path(f"/proc/{first.pid}/task/{first.pid}/children")
        while not children.read_text().split():
            assert first.poll() is None, log.read_text()
            time.sleep(0.05)
        try:
            yield int(children.read_text().split()[0])
        finally:
            first.terminate()


# What the measured process does


class Schedule:
    """Which call is made when."""

    def __init__(self, url: str, rate: int, seconds: float, at_once: int) -> None:
        kinds = [kind for kind, number in IN_ONE_SECOND.items() for _ in range(number)]
        random.Random(1).shuffle(kinds)
        self._kinds = kinds
        self._numbers = count()
        self._rate = rate
        self._application = Application(Origin.of(url), "bench", "application-secret-text")
        session_url = f"{url}/session/{TOKEN}"
        self._session = Session(
            Status.pending, TOKEN, "session-secret-text", f"{session_url}/logout", f"{session_url}/status"
        )
        self.seconds = seconds
        self.at_once = at_once
        self.lags: list[float] = []

    def begin(self) -> None:
        self._began = time.monotonic()
        self._until = self._began + self.seconds

    def next(self) -> tuple[Call[Any], float] | None:
        """The next call, and when it is due; None at the end."""
        number = next(self._numbers)
        due = self._began + number / self._rate
        if max(due, time.monotonic()) >= self._until:
            return None
        return self.call(number), due

    def call(self, number: int) -> Call[Any]:
        kind = self._kinds[number % len(self._kinds)]
        if kind == "start":
            return self._application.start(f"person{number % PEOPLE}", None, 60)
        call = self._session.poll() if kind == "poll" else self._session.end()
        assert call is not None
        return call

    def done(self, due: float) -> None:
        now = time.monotonic()
        if now < self._until:
            self.lags.append(now - due)


def in_threads(make: Make, schedule: Schedule) -> None:
    """Make the calls in threads, each of which has made one before."""
    ready = threading.Barrier(schedule.at_once + 1)
    begun = threading.Event()

    def work() -> None:
        make(schedule.call(0))
        ready.wait()
        begun.wait()
        while (following := schedule.next()) is not None:
            call, due = following
            if (wait := due - time.monotonic()) > 0:
                time.sleep(wait)
            make(call)
            schedule.done(due)

    threads = [threading.Thread(target=work) for _ in range(schedule.at_once)]
    for thread in threads:
        thread.start()
    ready.wait()
    with _measured(schedule):
        begun.set()
        for thread in threads:
            thread.join()


async def in_tasks(make: Callable[[Call[Any]], Awaitable[Any]], schedule: Schedule) -> None:
    """Make the calls in tasks of one event loop."""

    async def work() -> None:
        while (following := schedule.next()) is not None:
            call, due = following
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            await make(call)
            schedule.done(due)

    await asyncio.gather(*(make(schedule.call(0)) for _ in range(schedule.at_once)))
    with _measured(schedule):
        await asyncio.gather(*(work() for _ in range(schedule.at_once)))


@contextmanager
def _measured(schedule: Schedule) -> Iterator[None]:
    print("begin", flush=True)
    schedule.begin()
    began, cpu = time.monotonic(), time.process_time()
    yield
    cpu, took = time.process_time() - cpu, time.monotonic() - began
    lags = schedule.lags
    figures = {
        "calls per s": len(lags) / schedule.seconds,
        "lag, median ms": 1000 * median(lags),
        "lag, 95th percentile ms": 1000 * percentile(lags, 95),
        "CPU ms": 1000 * cpu / len(lags),
        "CPU of one core %": 100 * cpu / took,
        "memory MiB": peak_mib(os.getpid()),
    }
    print(json.dumps(figures), flush=True)


def _http_client(url: str, ca_file: str, schedule: Schedule) -> None:
    transport = Transport(url, ca_file, connections=schedule.at_once)
    in_threads(lambda call: transport.call(call, Deadline.after(SECONDS_FOR_A_CALL), attempts=1), schedule)


def _executor(url: str, ca_file: str, schedule: Schedule) -> None:
    async def main() -> None:
        transport = Transport(url, ca_file, connections=schedule.at_once)
        loop, pool = asyncio.get_running_loop(), ThreadPoolExecutor(schedule.at_once)

        def in_its_thread(call: Call[Any]) -> Any:
            return transport.call(call, Deadline.after(SECONDS_FOR_A_CALL), attempts=1)

        await in_tasks(lambda call: loop.run_in_executor(pool, in_its_thread, call), schedule)

    asyncio.run(main())


def _requests(url: str, ca_file: str, schedule: Schedule) -> None:
    session = requests.Session()
    session.trust_env, session.verify = False, ca_file
    session.mount("https://", requests.adapters.HTTPAdapter(pool_maxsize=schedule.at_once))

    def make(call: Call[Any]) -> None:
        now = time.time()
        options: dict[str, Any] = {"timeout": SECONDS_FOR_A_CALL, "allow_redirects": False}
        headers = call.headers(secrets.randbits(64), int(now))
        response = session.request(call.method, call.url, data=call.body, headers=headers, **options)
        call.read(response.status_code, response.headers, response.content, now)

    in_threads(make, schedule)


def _aiohttp(url: str, ca_file: str, schedule: Schedule) -> None:
    async def main() -> None:
        connections = {Lane.polls: schedule.at_once}
        upstream = Upstream(url, "bench", "application-secret-text", ca_file, connections=connections)
        await in_tasks(lambda call: upstream.call(call, SECONDS_FOR_A_CALL, Lane.polls, attempts=1), schedule)
        await upstream.close()

    asyncio.run(main())


WAYS: dict[str, Callable[[str, str, Schedule], None]] = {
    "http.client in threads": _http_client,
    EXECUTOR: _executor,
    "requests in threads": _requests,
    AIOHTTP: _aiohttp,
}


if __name__ == "__main__":
    _way, _url, _ca_file, *_numbers = sys.argv[1:]
    WAYS[_way](_url, _ca_file, Schedule(_url, int(_numbers[0]), float(_numbers[1]), int(_numbers[2])))

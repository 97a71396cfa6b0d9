"""The CPU of one poll over a kept-alive connection: ours, and the same request with other libraries.

Ours signs each poll, keeps its deadline at every byte and reads the response strictly. The libraries send a request
that was signed before, with a time-out of their own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import requests
import urllib3

from bench.measure import Section, median
from pam_iampass.client import Deadline, Session, Status, Transport
from pam_iampass.client.call import signature
from tests.support.scripted_server import ScriptedServer, answer, scripted_server

POLLS = 100
SECONDS = 5.0
PENDING = answer(
    200,
    {"authentication_status": {"session_status": "pending"}},
    headers={"Content-Type": "application/json", "Date": "Tue, 14 Nov 2023 22:13:20 GMT", "Server": "bench"},
)

Poll = Callable[[], object]


def measure(rounds: int) -> Section:
    """Poll in rounds of 100, each way in turn; CPU is that of the polling thread."""
    title = "One poll on a kept-alive connection"
    print(title)
    section = Section(title, ["CPU ms"])
    ways = {"pam_iampass.client": _ours, "requests.Session": _requests, "urllib3.PoolManager": _urllib3}
    found: dict[str, list[float]] = {name: [] for name in ways}
    steps = [PENDING] * (POLLS * (rounds + 1) * len(ways))
    with ExitStack() as stack:
        server = stack.enter_context(scripted_server(*steps))
        polls = {name: stack.enter_context(way(server)) for name, way in ways.items()}
        for poll in polls.values():
            _cpu_ms(poll)  # connects
        for _ in range(rounds):
            for name, poll in polls.items():
                found[name].append(_cpu_ms(poll))
    for name, values in found.items():
        section.add(name, **{"CPU ms": median(values)})
    return section


def _cpu_ms(poll: Poll) -> float:
    before = time.thread_time()
    for _ in range(POLLS):
        poll()
    return 1000 * (time.thread_time() - before) / POLLS


def _url(server: ScriptedServer) -> str:
    return f"{server.url}/status/session-token"


def _headers(server: ScriptedServer) -> dict[str, str]:
    return signature("session-token", "secret", _url(server), 7, 1_700_000_000)


@contextmanager
def _ours(server: ScriptedServer) -> Iterator[Poll]:
    transport = Transport(server.url, server.ca_file)
    session = Session(
        Status.pending, "session-token", "secret", _url(server), _url(server), transport=transport
    )
    yield lambda: session.get_status(Deadline.after(SECONDS), attempts=1, pause=lambda seconds: None)
    transport.close()


@contextmanager
def _requests(server: ScriptedServer) -> Iterator[Poll]:
    headers = _headers(server)
    with requests.Session() as session:
        session.trust_env, session.verify = False, server.ca_file
        yield lambda: session.get(_url(server), headers=headers, timeout=SECONDS).json()


@contextmanager
def _urllib3(server: ScriptedServer) -> Iterator[Poll]:
    headers = _headers(server)
    with urllib3.PoolManager(ca_certs=server.ca_file) as pool:
        options = {"headers": headers, "timeout": SECONDS, "retries": False}
        yield lambda: json.loads(pool.request("GET", _url(server), **options).data)

"""The time from the approval on the phone to the result in PAM: ours, and the polling loop of the API documentation."""

from __future__ import annotations

import asyncio
import random
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Callable

from bench.doors import play
from bench.measure import Section, median, percentile
from pam_iampass.client import AuthenticationAPI, Deadline, Gateways, Transport
from pam_iampass.gateway.database import Database, migrate
from pam_iampass.login.approval import FIRST_POLL, next_poll
from tests.support.agent import RunningAgent
from tests.support.gateway import HOST, HOST_SECRET, RunningGateway, new_request_id, settings_for
from tests.support.postgres import Postgres
from tests.support.sandbox import Sandbox

COLUMNS = ["median s", "95th percentile s", "polls median"]


def measure(sandbox: Sandbox, count: int) -> Section:
    """Approve `count` logins at random times, in each way."""
    title = "From approval to result"
    print(title)
    section = Section(title, COLUMNS)
    for name, first, last in (("within the first 20 s", 1.0, 20.0), ("between 20 s and 50 s", 20.0, 50.0)):
        waits, polls = _ours(sandbox, count, first, last)
        section.add(f"pam-iampass, approved {name}", **_figures(waits, polls))
    waits, polls = _published_loop(sandbox, count, 1.0, 20.0)
    section.add("a loop that sleeps 5 s, approved within the first 20 s", **_figures(waits, polls))
    for waits_there in (True, False):
        waits, polls = _at_gateway(sandbox, count, 1.0, 20.0, waits_there)
        way = "that holds the poll" if waits_there else "that is polled as IAMPASS is"
        section.add(f"a gateway {way}, approved within the first 20 s", **_figures(waits, polls))
    return section


def _figures(waits: list[float], polls: list[float]) -> dict[str, float]:
    return dict(zip(COLUMNS, (median(waits), percentile(waits, 95), median(polls))))


class _People:
    """Approves `count` requests at times that are spread evenly, with a random time in each interval."""

    def __init__(self, sandbox: Sandbox, count: int, first: float, last: float) -> None:
        self._count = count
        self._sandbox = sandbox
        self._range = (first, last)
        self._before = len(sandbox.sessions)
        self._moments: dict[int, float] = {}
        self.approved: dict[str, float] = {}

    def __call__(self) -> None:
        first, last = self._range
        for session in self._sandbox.sessions[self._before :]:
            if session.number not in self._moments:
                place = (len(self._moments) + random.random()) / self._count
                self._moments[session.number] = session.started_at + first + place * (last - first)
            moment = self._moments[session.number]
            if session.user not in self.approved and time.monotonic() >= moment:
                self.approved[session.user] = time.monotonic()
                self._sandbox.approve(session.number)

    def polls(self) -> list[float]:
        return [session.polls for session in self._sandbox.sessions[self._before :]]


def _ours(sandbox: Sandbox, count: int, first: float, last: float) -> tuple[list[float], list[float]]:
    people = _People(sandbox, count, first, last)
    with RunningAgent():
        logins = play([f"bench{number}" for number in range(count)], 70.0, people)
    return [login.ended - people.approved[f"t-{login.user}"] for login in logins], people.polls()


def _published_loop(
    sandbox: Sandbox, count: int, first: float, last: float
) -> tuple[list[float], list[float]]:
    transport = Transport(sandbox.url, sandbox.ca_file, connections=count)
    api = AuthenticationAPI(sandbox.application_id, sandbox.application_secret, transport=transport)
    people = _People(sandbox, count, first, last)
    ended: dict[str, float] = {}

    def log_in(user: str) -> None:
        session = api.authenticate_user(user)
        while session.in_progress:
            session.get_status()
            if session.in_progress:
                time.sleep(5)
        ended[user] = time.monotonic()
        session.destroy()

    _together(log_in, [f"t-bench{number}" for number in range(count)], people)
    return [ended[user] - moment for user, moment in people.approved.items()], people.polls()


def _together(log_in: Callable[[str], None], names: Sequence[str], people: _People) -> None:
    """Make these logins at the same time, while people approve them."""
    threads = [threading.Thread(target=log_in, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        people()
        time.sleep(0.01)


def _at_gateway(
    sandbox: Sandbox, count: int, first: float, last: float, waits_there: bool
) -> tuple[list[float], list[float]]:
    """Logins of a host that has joined a gateway. The polls are those of the host."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.chmod(0o755)
        postgres = Postgres(folder / "postgres")
        stack.callback(postgres.remove)
        postgres.start()
        conninfo = postgres.new_database()
        asyncio.run(_migrated(conninfo))
        settings = settings_for(conninfo, sandbox, folder)
        running = RunningGateway(
            replace(settings, limits=replace(settings.limits, calls_at_once=2 * count, connections=20))
        )
        running.first_poll = FIRST_POLL
        stack.enter_context(running)
        running.add_host()
        for number in range(count):
            running.add_person(f"bench{number}", f"t-bench{number}")
        transport = Gateways([running.url], running.ca_file, connections=count)
        api = AuthenticationAPI(HOST, HOST_SECRET, transport=transport)
        people = _People(sandbox, count, first, last)
        polls: list[float] = []
        ended: dict[str, float] = {}

        def log_in(name: str) -> None:
            session, mine = api.authenticate_user(name, parameters={"request_id": new_request_id()}), 0
            began, moment = time.monotonic(), next_poll(None, 60.0)
            while session.in_progress and moment is not None:
                if not waits_there:
                    time.sleep(max(began + moment - time.monotonic(), 0.0))
                    moment = next_poll(max(moment, time.monotonic() - began), 60.0)
                session.get_status(Deadline.after(60.0), wait=session.longest_wait if waits_there else 0)
                mine += 1
            ended[f"t-{name}"] = time.monotonic()
            polls.append(mine)
            session.destroy()

        _together(log_in, [f"bench{number}" for number in range(count)], people)
        return [ended[user] - moment for user, moment in people.approved.items()], polls


async def _migrated(conninfo: str) -> None:
    async with Database(conninfo, connections=1) as database:
        await migrate(database)

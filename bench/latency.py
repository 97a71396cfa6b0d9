"""The time from the approval on the phone to the result in PAM: ours, and the polling loop of the API documentation."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from typing import Callable

from bench.doors import play
from bench.joined import joined
from bench.measure import Section, median, percentile
from pam_iampass.client import AuthenticationAPI, Transport
from tests.support.agent import RunningAgent
from tests.support.installation import Installation
from tests.support.sandbox import Sandbox

COLUMNS = ["median s", "95th percentile s", "polls of IAMPASS median"]


GATEWAY, DIRECT = "a gateway that holds the poll, approved within the first 20 s", "pam-iampass, approved {}"
EARLY = "within the first 20 s"


def measure(sandbox: Sandbox, machine: Installation, count: int) -> Section:
    """Approve `count` logins at random times, in each way. An agent has up to 64 polls held at a time."""
    title = "From approval to result"
    print(title)
    section = Section(title, COLUMNS)
    for name, first, last in ((EARLY, 1.0, 20.0), ("between 20 s and 50 s", 20.0, 50.0)):
        waits, polls = _ours(sandbox, count, first, last)
        section.add(DIRECT.format(name), **_figures(waits, polls))
    with joined(
        sandbox, machine, {f"bench{number}": f"t-bench{number}" for number in range(count)}
    ) as argument:
        waits, polls = _ours(sandbox, count, 1.0, 20.0, argument)
        section.add(GATEWAY, **_figures(waits, polls))
    waits, polls = _published_loop(sandbox, count, 1.0, 20.0)
    section.add("a loop that sleeps 5 s, approved within the first 20 s", **_figures(waits, polls))
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


def _ours(
    sandbox: Sandbox, count: int, first: float, last: float, *arguments: str
) -> tuple[list[float], list[float]]:
    people = _People(sandbox, count, first, last)
    with RunningAgent():
        logins = play([f"bench{number}" for number in range(count)], 70.0, people, *arguments)
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

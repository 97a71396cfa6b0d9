"""Thousands of kept sessions in one agent: memory, CPU, spread of the polls, and whether pending logins get later."""

from __future__ import annotations

import os
import pwd
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.doors import play
from bench.measure import Section, median, percentile
from bench.pending import cpu_seconds, peak_mib, play_pending
from pam_iampass.agent.control import ask
from pam_iampass.config.settings import SessionSettings
from pam_iampass.session.kept_session import AttachedLogin, KeptSession
from pam_iampass.session.store import SessionStore
from pam_iampass.system import paths
from pam_iampass.system.database import Database
from tests.support.agent import RunningAgent
from tests.support.kept_sessions import kept_sessions
from tests.support.sandbox import Sandbox
from tests.support.world import wait_until

ALONE, BESIDE, WITHOUT = "sessions alone", "sessions and pending logins", "pending logins alone"
MEDIAN, PERCENTILE = "to result, median s", "to result, 95th percentile s"


def measure(sandbox: Sandbox, count: int, pending: int, seconds: float, rounds: int) -> Section:
    """Keep `count` sessions for `seconds`; then `pending` logins without them and beside them, in turn."""
    title = f"{count} kept sessions, polled every 30 s"
    print(title)
    section = Section(
        title,
        [
            "agent CPU of one core %",
            "agent memory MiB",
            "polls per s",
            "most polls in 1 s",
            "wrong outcomes",
            "latest after its deadline s",
            "longest wait to begin s",
            MEDIAN,
            PERCENTILE,
        ],
    )
    resource.setrlimit(resource.RLIMIT_NOFILE, (16384, 16384))
    sessions = keep(sandbox, count)
    with _agent(sandbox, sessions) as agent:
        section.add(ALONE, **_figures(sandbox, agent, lambda: time.sleep(seconds)))
    found: dict[str, list[dict[str, float]]] = {WITHOUT: [], BESIDE: []}
    waits: dict[str, list[float]] = {WITHOUT: [], BESIDE: []}
    for _ in range(rounds):
        for name, kept in ((WITHOUT, []), (BESIDE, sessions)):
            with _agent(sandbox, kept) as agent:
                found[name].append(_beside(sandbox, agent, pending, waits[name]))
    for name, figures in found.items():
        worst = {column: max(each[column] for each in figures) for column in figures[0]}
        section.add(name, **worst, **{MEDIAN: median(waits[name]), PERCENTILE: percentile(waits[name], 95)})
    section.remark = (
        f"The last two rows are {rounds} runs in turn of {pending} logins that have 30 s each: times from the"
        " approval or denial on the phone to the result, of all runs together; of the other figures the largest."
    )
    return section


@contextmanager
def _agent(sandbox: Sandbox, sessions: list[KeptSession]) -> Iterator[int]:
    """An agent that keeps these sessions and polls them; its process id."""
    store(sessions)
    began = time.monotonic()
    with RunningAgent() as agent:
        sandbox.auto = "approve"
        play(["alice"], 30.0)  # the imports and the first connection of logins
        if sessions:
            wait_until(lambda: _polls(sandbox, began), "no session was polled", 120.0)
        yield agent.pid()
    forget()


def store(sessions: list[KeptSession]) -> None:
    """Have the next agent keep these sessions."""
    os.seteuid(pwd.getpwnam("_iampass").pw_uid)
    database = Database()
    for kept in sessions:
        SessionStore(database).write(kept)
    database.close()
    os.seteuid(0)


def forget() -> None:
    """Have the next agent know nothing of earlier ones."""
    for file in Path(paths.STATE).parent.glob("state.db*"):
        file.unlink()


def _beside(sandbox: Sandbox, pid: int, pending: int, waits: list[float]) -> dict[str, float]:
    outcomes: dict[str, float] = {}
    starts = len(sandbox.sessions)
    for account in pwd.getpwall():
        if account.pw_uid >= 1000:
            ask("throttle clear", user=account.pw_name)  # who was denied before would not be asked

    def meanwhile() -> None:
        found, more = play_pending(sandbox, pending, 30.0)
        outcomes.update(found)
        waits.extend(more)

    figures = _figures(sandbox, pid, meanwhile)
    assert len(sandbox.sessions) - starts == pending, "not all of them were pending"
    return {**figures, **outcomes}


def keep(sandbox: Sandbox, count: int) -> list[KeptSession]:
    """So many sessions that are active at IAMPASS; all belong to this process."""
    logins = [
        AttachedLogin(os.getpid(), f"kept{number}", 1000, "sshd", 1000 + number) for number in range(count)
    ]
    return kept_sessions(sandbox, paths.SETTINGS, logins, SessionSettings(keep=True))


def _figures(sandbox: Sandbox, pid: int, meanwhile: Callable[[], None]) -> dict[str, float]:
    began, cpu = time.monotonic(), cpu_seconds(pid)
    meanwhile()
    cpu, took = cpu_seconds(pid) - cpu, time.monotonic() - began
    polls = _polls(sandbox, began)
    each_second = Counter(int(at - began) for at in polls)
    return {
        "agent CPU of one core %": 100 * cpu / took,
        "agent memory MiB": peak_mib(pid),
        "polls per s": len(polls) / took,
        "most polls in 1 s": max(each_second.values(), default=0),
    }


def _polls(sandbox: Sandbox, since: float) -> list[float]:
    """When kept sessions were polled."""
    kept = {session.path for session in sandbox.sessions if session.user.startswith("t-kept")}
    polls = (call for call in sandbox.calls if call.kind == "poll" and call.at >= since)
    return [call.at for call in polls if call.path.split("/")[-2] in kept]

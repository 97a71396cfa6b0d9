"""A thousand concurrent logins at one agent: memory, CPU, and whether each gets the right result in time."""

from __future__ import annotations

import ctypes
import os
import time
from pathlib import Path

from bench.doors import Login, play
from bench.measure import Section, median, percentile
from pam_iampass.outcome import PamCode
from tests.support.agent import RunningAgent
from tests.support.sandbox import Sandbox

ANSWERS = ("approve", "deny", "nothing")
RIGHT = {"approve": PamCode.SUCCESS, "deny": PamCode.ABORT, "nothing": PamCode.ABORT}


def measure(sandbox: Sandbox, count: int, timeout: float) -> Section:
    """Log `count` users in concurrently: a third approves, a third denies, a third does not respond."""
    title = f"{count} logins pending at once"
    print(title)
    section = Section(
        title,
        [
            "wrong outcomes",
            "latest after its deadline s",
            "longest wait to begin s",
            "agent memory MiB",
            "agent CPU ms per login",
        ],
    )
    with RunningAgent() as agent:
        play(["bench0"], 5.0)  # warm-up: imports, the first connection
        pid = agent.pid()
        cpu = cpu_seconds(pid)
        outcomes, waits = play_pending(sandbox, count, timeout)
        cpu = cpu_seconds(pid) - cpu
        peak = peak_mib(pid)
    section.add(
        "agent",
        **{
            **outcomes,
            "agent memory MiB": peak,
            "agent CPU ms per login": 1000 * cpu / count,
        },
    )
    section.remark = (
        f"Each login has {timeout:g} s. From approval to result: median {median(waits):.2f} s,"
        f" 95th percentile {percentile(waits, 95):.2f} s: polls slow down so that all get their share."
    )
    return section


def play_pending(sandbox: Sandbox, count: int, timeout: float) -> tuple[dict[str, float], list[float]]:
    """Log so many users in at a running agent; how many outcomes were wrong, how late the latest was, and the
    seconds from each answer on a phone to its result."""
    sandbox.auto = "ask"
    logins, people = _play(sandbox, [f"bench{number}" for number in range(count)], timeout)
    return _outcomes(logins), people.waits(logins)


def _play(sandbox: Sandbox, users: list[str], timeout: float) -> tuple[list[Login], _People]:
    people = _People(sandbox, {f"t-{user}": ANSWERS[number % 3] for number, user in enumerate(users)})
    return play(users, timeout + 30, people), people


def _outcomes(logins: list[Login]) -> dict[str, float]:
    wrong = [login for number, login in enumerate(logins) if login.code != RIGHT[ANSWERS[number % 3]]]
    return {
        "wrong outcomes": len(wrong),
        "latest after its deadline s": max(login.ended - login.deadline for login in logins),
        "longest wait to begin s": max(login.begun - login.began for login in logins),
    }


class _People:
    """A thousand users, who respond between 5 and 15 s after the request or not at all."""

    def __init__(self, sandbox: Sandbox, answers: dict[str, str]) -> None:
        self._sandbox = sandbox
        self._answers = answers
        self._seen: set[int] = {session.number for session in sandbox.sessions}
        self._due: list[tuple[float, str, int]] = []
        self._next_look = 0.0
        self.answered: dict[str, float] = {}

    def __call__(self) -> None:
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + 0.5
            for session in self._sandbox.sessions:
                if session.number not in self._seen:
                    self._seen.add(session.number)
                    self._due.append(
                        (now + 5 + 10 * (session.number % 100) / 100, session.user, session.number)
                    )
            self._due.sort()
        while self._due and self._due[0][0] <= now:
            _, user, number = self._due.pop(0)
            if self._answers[user] == "approve":
                self._sandbox.approve(number)
            elif self._answers[user] == "deny":
                self._sandbox.deny(number)
            else:
                continue
            self.answered[user] = time.monotonic()

    def waits(self, logins: list[Login]) -> list[float]:
        """Seconds from each answer to its result."""
        return [
            login.ended - self.answered[f"t-{login.user}"]
            for login in logins
            if f"t-{login.user}" in self.answered
        ]


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process, by its own clock (clock_getcpuclockid(3)): /proc counts in ticks of 10 ms."""
    clock = ctypes.c_int()
    error = ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock))
    if error:
        raise OSError(error, os.strerror(error))
    return time.clock_gettime(clock.value)


def peak_mib(pid: int) -> float:
    """The most memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024

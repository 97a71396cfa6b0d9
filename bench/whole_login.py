"""The CPU of one approved login in all processes of this machine but the servers: the application and the agent.

pam_duo does a whole push beside it: it asks who the user is, pushes, and waits for the answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.applications import PAM
from bench.measure import Application, Section, median
from bench.pending import cpu_seconds
from bench.stand_in import DuoService
from pam_iampass.sandbox import Sandbox
from tests.support.agent import RunningAgent

OURS, DUO = "pam_iampass, native door and agent", "pam_duo"
#: How long the person takes to answer, in seconds: the first poll sees it; as people do.
AT_ONCE, LATER = 0.0, 5.0


@dataclass(frozen=True)
class _Way:
    service: str
    requests: Callable[[], int]
    """How many the server has seen."""
    agent_seconds: Callable[[], float]


def measure(application: Application, sandbox: Sandbox, duo: DuoService, rounds: int) -> Section:
    """Approved logins by both, one after the other, with a person who answers at once and after a while."""
    section = Section("CPU of one approved login, application and agent together", ["CPU ms", "requests"])
    print(section.title)
    sandbox.auto = "approve"
    for name, line in (("ours", "pam_iampass.so"), ("duo", f"pam_duo.so conf={duo.push}")):
        (PAM / f"bench-whole-{name}").write_text(f"auth required {line}\nauth required pam_permit.so\n")
    with RunningAgent() as agent:
        ways = {
            OURS: _Way("bench-whole-ours", lambda: len(sandbox.calls), lambda: cpu_seconds(agent.pid())),
            DUO: _Way("bench-whole-duo", lambda: duo.requests, lambda: 0.0),
        }
        for delay in (AT_ONCE, LATER):
            sandbox.delay = duo.delay = delay
            for name, found in _rounds(application, ways, rounds).items():
                section.add(f"{name}, answered after {delay:g} s", **found)
    sandbox.auto, sandbox.delay, duo.delay = "ask", 0.0, 0.0
    section.remark = (
        "pam_duo waits in one request until the person has answered; pam_iampass polls, and ends the session."
    )
    return section


def _rounds(application: Application, ways: dict[str, _Way], rounds: int) -> dict[str, dict[str, float]]:
    costs: dict[str, list[float]] = {name: [] for name in ways}
    requests = dict.fromkeys(ways, 0)
    agents = dict.fromkeys(ways, 0.0)
    for number in range(rounds + 1):
        for name, way in ways.items():
            seen, spent = way.requests(), way.agent_seconds() if number else 0.0
            cost = application.call(way.service, "alice", "authenticate")
            assert cost.code == 0, f"{name} gave {cost.code}"
            time.sleep(0.2)  # the agent ends the session after the login
            if number:  # the first round only warms up
                costs[name].append(cost.cpu_ms)
                requests[name] += way.requests() - seen
                agents[name] += way.agent_seconds() - spent
    return {
        name: {
            "CPU ms": median(costs[name]) + 1000 * agents[name] / rounds,
            "requests": requests[name] / rounds,
        }
        for name in ways
    }

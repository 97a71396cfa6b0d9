"""The CPU of one approved login in all processes of this machine but the servers: the application and the agent.

pam_duo does a whole push beside it: it asks who the user is, pushes, and waits for the answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.applications import PAM
from bench.joined import joined
from bench.measure import Application, Section, median
from bench.pending import cpu_seconds
from bench.stand_in import DuoService
from tests.support.agent import RunningAgent
from tests.support.installation import Installation
from tests.support.sandbox import Sandbox

OURS, DUO, FLOOR = "pam_iampass, native door and agent", "pam_duo", "pam_permit"
GATEWAY = f"{OURS}, on a host of a gateway"
#: How long the person takes to answer, in seconds: the first poll sees it; both make four requests; as people do.
DELAYS = (0.0, 1.7, 5.0)


@dataclass(frozen=True)
class _Way:
    service: str
    requests: Callable[[], int] | None
    """How many the server has seen; None if those of a gateway are not counted."""
    agent_seconds: Callable[[], float]


def measure(
    application: Application, sandbox: Sandbox, machine: Installation, duo: DuoService, rounds: int
) -> Section:
    """Approved logins in each way, one after the other, with a person who answers at once and after a while."""
    section = Section(
        "CPU of one approved login, application and agent together",
        ["CPU ms", "above pam_permit ms", "requests"],
    )
    print(section.title)
    sandbox.auto = "approve"
    with joined(sandbox, machine, {"alice": "t-alice"}) as at_gateway, RunningAgent() as agent:
        lines = {"ours": "pam_iampass.so", "gateway": f"pam_iampass.so {at_gateway}"}
        lines |= {"duo": f"pam_duo.so conf={duo.push}", "permit": "pam_permit.so"}
        for name, line in lines.items():
            (PAM / f"bench-whole-{name}").write_text(f"auth required {line}\nauth required pam_permit.so\n")

        def of_agent() -> float:
            return cpu_seconds(agent.pid())

        ways = {
            OURS: _Way("bench-whole-ours", lambda: len(sandbox.calls), of_agent),
            GATEWAY: _Way("bench-whole-gateway", None, of_agent),
            DUO: _Way("bench-whole-duo", lambda: duo.requests, lambda: 0.0),
            FLOOR: _Way("bench-whole-permit", lambda: 0, lambda: 0.0),
        }
        for delay in DELAYS:
            sandbox.delay = duo.delay = delay
            found = _rounds(application, ways, rounds)
            floor, _no_requests = found.pop(FLOOR)
            for name, (cpu, requests) in found.items():
                values = {"CPU ms": cpu, "above pam_permit ms": cpu - floor}
                if ways[name].requests is not None:
                    values["requests"] = requests
                section.add(f"{name}, answered after {delay:g} s", **values)
    sandbox.auto, sandbox.delay, duo.delay = "ask", 0.0, 0.0
    section.remark = (
        "pam_duo waits in one request until the person has answered; pam_iampass polls, and ends the session. On a host"
        " of a gateway it starts, waits in one request, and ends the session: three requests. The gateway is another"
        " machine's: its own CPU does not count."
        " Above pam_permit is what the module costs: door, agent and kernel."
    )
    return section


def _rounds(application: Application, ways: dict[str, _Way], rounds: int) -> dict[str, tuple[float, float]]:
    """For each way the median of the milliseconds, and the requests of one login."""
    costs: dict[str, list[float]] = {name: [] for name in ways}
    requests = dict.fromkeys(ways, 0)
    for number in range(rounds + 1):
        for name, way in ways.items():
            seen, spent = way.requests() if way.requests else 0, way.agent_seconds() if number else 0.0
            cost = application.call(way.service, "alice", "authenticate")
            assert cost.code == 0, f"{name} gave {cost.code}"
            time.sleep(0.2)  # the agent ends the session after the login
            if number:  # the first round only warms up
                costs[name].append(cost.cpu_ms + 1000 * (way.agent_seconds() - spent))
                requests[name] += way.requests() - seen if way.requests else 0
    return {name: (median(costs[name]), requests[name] / rounds) for name in ways}

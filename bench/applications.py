"""What each door costs the application that calls PAM: CPU, time and memory, for authenticate and for setcred.

The application is `application.c`, which measures itself. IAMPASS approves at once, so that work is
measured, not waiting.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measure import Application, Cost, Section, median
from tests.support.agent import RunningAgent

PAM = Path("/etc/pam.d")
DOOR = "/usr/lib/pam-iampass/pam_iampass.py"
EMPTY = """
def pam_sm_authenticate(pamh, flags, argv):
    return pamh.PAM_SUCCESS

def pam_sm_setcred(pamh, flags, argv):
    return pamh.PAM_SUCCESS

pam_sm_acct_mgmt = pam_sm_open_session = pam_sm_close_session = pam_sm_chauthtok = pam_sm_setcred
"""
HEAVY = "import requests\nimport systemd.journal\nimport yaml\n" + EMPTY


def stacks(folder: Path, duo: Path) -> dict[str, str]:
    """The PAM line of each way, by name. The first is the baseline."""
    for name, text in (("empty", EMPTY), ("heavy", HEAVY)):
        (folder / f"{name}.py").write_text(text)
    return {
        "pam_permit": "pam_permit.so",
        "native door": "pam_iampass.so",
        "pam_python door": f"pam_python.so {DOOR}",
        "pam_python, empty module": f"pam_python.so {folder}/empty.py",
        "pam_python, importing requests, yaml, systemd.journal": f"pam_python.so {folder}/heavy.py",
        "pam_duo, one request": f"pam_duo.so conf={duo}",
    }


def measure(application: Application, folder: Path, duo: Path, rounds: int) -> list[Section]:
    """Run all ways in random order in each round, with and without an agent."""
    lines = stacks(folder, duo)
    for number, line in enumerate(lines.values()):
        (PAM / f"bench-{number}").write_text(f"auth required {line}\nauth required pam_permit.so\n")
    services = {name: f"bench-{number}" for number, name in enumerate(lines)}
    ours = ("native door", "pam_python door")
    authenticate, setcred = {}, {}
    with _agent(True):
        ways = {f"{name}, agent" if name in ours else name: service for name, service in services.items()}
        authenticate.update(_rounds(application, ways, "authenticate", rounds))
        setcred.update(_rounds(application, services, "setcred", rounds))
    with _agent(False):
        ways = {f"{name}, helper": services[name] for name in ours}
        authenticate.update(_rounds(application, ways, "authenticate", max(rounds // 2, 3)))
    return [
        _section("Cost of authenticate to the application", authenticate),
        _section("Cost of setcred", setcred),
    ]


@contextmanager
def _agent(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    with RunningAgent():
        yield


def _rounds(application: Application, ways: dict[str, str], phase: str, rounds: int) -> dict[str, list[Cost]]:
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name in random.sample(sorted(ways), len(ways)):
            cost = application.call(ways[name], "alice", phase)
            assert cost.code == 0, f"{name}: {phase} gave {cost.code}"
            if number > 0:  # the first round only warms up
                costs[name].append(cost)
    return costs


def _section(title: str, costs: dict[str, list[Cost]]) -> Section:
    section = Section(title, ["CPU ms", "above pam_permit ms", "wall ms", "memory above pam_permit KiB"])
    print(title)
    floor = {
        key: median([getattr(cost, key) for cost in costs["pam_permit"]]) for key in ("cpu_ms", "peak_kib")
    }
    for name, found in costs.items():
        cpu = median([cost.cpu_ms for cost in found])
        section.add(
            name,
            **{
                "CPU ms": cpu,
                "above pam_permit ms": cpu - floor["cpu_ms"],
                "wall ms": median([cost.wall_ms for cost in found]),
                "memory above pam_permit KiB": median([cost.peak_kib for cost in found]) - floor["peak_kib"],
            },
        )
    return section

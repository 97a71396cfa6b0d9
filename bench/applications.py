"""What each door costs the application that calls PAM: CPU, time and memory, in each phase of PAM.

The application is `application.c`, which measures itself. IAMPASS approves at once, so that work is
measured, not waiting.
"""

from __future__ import annotations

import random
from pathlib import Path

from bench.measure import Application, Cost, Section, median
from tests.support.agent import RunningAgent

#: The phases in which the phone is asked, and those in which the module has nothing to do; with their titles.
ASKING = {
    "authenticate": "Cost of authenticate to the application",
    "acct_mgmt": "Cost of the account phase, where the phone is asked in it",
}
SILENT = {
    "setcred": "Cost of setcred",
    "open_session": "Cost of opening a session that is not kept",
    "close_session": "Cost of closing a session that is not kept",
}
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
    """Run all ways in random order in each round."""
    lines = stacks(folder, duo)
    for number, line in enumerate(lines.values()):
        lines_of_the_service = [
            f"{facility} required {module}\n"
            for facility in ("auth", "account", "session")
            for module in (line, "pam_permit.so")
        ]
        (PAM / f"bench-{number}").write_text("".join(lines_of_the_service))
    services = {name: f"bench-{number}" for number, name in enumerate(lines)}
    costs: dict[str, dict[str, list[Cost]]] = {}
    with RunningAgent():
        for phase in {**ASKING, **SILENT}:
            # The pam_python door serves only sshd, which this is not outside the account phase.
            left_out = {"pam_python door"} if phase == "authenticate" else set()
            ways = {name: service for name, service in services.items() if name not in left_out}
            costs[phase] = _rounds(application, ways, phase, rounds)
    return [_section(title, costs[phase]) for phase, title in {**ASKING, **SILENT}.items()]


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

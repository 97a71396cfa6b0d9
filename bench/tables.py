"""The cost of a large user table for a login: in one file, and in `users.d/`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from bench.doors import play
from bench.measure import Section, median
from tests.support.agent import RunningAgent
from tests.support.installation import ETC, Installation, write

SIZES = (10, 1_000, 100_000)
#: Makes a table of this many users, and returns its path.
Fill = Callable[[int], Path]
COLUMNS = [f"{size:,} users" for size in SIZES]


def measure(machine: Installation, rounds: int) -> Section:
    """Median wall time of a login whose phone approves at once, for each size."""
    title = "A login by the size of the user table, wall ms"
    print(title)
    section = Section(title, [*COLUMNS, "largest above smallest ms"])
    for where, fill in (("users.yaml", _one_file), ("users.d/", _own_files)):
        times = _agent_ms(machine, fill, rounds)
        section.add(where, **dict(zip(COLUMNS, times)), **{"largest above smallest ms": times[-1] - times[0]})
    machine.change()
    return section


def _agent_ms(machine: Installation, fill: Fill, rounds: int) -> list[float]:
    times = []
    for size in SIZES:
        machine.change(users=str(fill(size)))
        with RunningAgent():
            play(["alice"], 10.0)
            time.sleep(0.2)  # a file that has just been written is read twice
            play(["alice"], 10.0)
            times.append(median([_through_agent() for _ in range(rounds)]))
    return times


def _through_agent() -> float:
    (login,) = play(["alice"], 10.0)
    assert login.code == 0
    return 1000 * (login.ended - login.began)


def _folder(kind: str, size: int) -> Path:
    folder = ETC / f"{kind}-{size}"
    folder.mkdir(exist_ok=True)
    return folder


def _one_file(size: int) -> Path:
    table = _folder("one", size) / "users.yaml"
    lines = "".join(f"person{number}: token-{number}\n" for number in range(size - 1))
    write(table, lines + "alice: t-alice\n")
    return table


def _own_files(size: int) -> Path:
    folder = _folder("own", size)
    (folder / "users.d").mkdir(exist_ok=True)
    write(folder / "users.yaml", "{}\n")
    write(folder / "users.d/alice.yaml", "alice: t-alice\n")
    for number in range(size - 1):
        path = folder / f"users.d/person{number}.yaml"
        if not path.exists():
            path.write_text(f"person{number}: token-{number}\n")
    return folder / "users.yaml"

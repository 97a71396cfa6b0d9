"""What the size of the user table costs a login: in one file through the agent, and in `users.d/` through any door."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from bench.doors import play
from bench.measure import Application, Section, median
from tests.support.agent import RunningAgent
from tests.support.installation import ETC, Installation, write

SIZES = (10, 1_000, 100_000)
FOLDER = ETC / "users.d"
COLUMNS = [f"{size:,} users" for size in SIZES]


def measure(machine: Installation, application: Application, rounds: int) -> Section:
    """Median wall time of a login whose phone approves at once, for each size and way."""
    title = "A login by the size of the user table, wall ms"
    print(title)
    section = Section(title, [*COLUMNS, "largest above smallest ms"])
    for where, fill in (("users.yaml", _one_file), ("users.d/", _own_files)):
        for door in ("agent", "helper"):
            times = [_login_ms(machine, application, fill, size, door, rounds) for size in SIZES]
            row = {**dict(zip(COLUMNS, times)), "largest above smallest ms": times[-1] - times[0]}
            section.add(f"{where}, {door}", **row)
    _one_file(machine, 10)
    return section


def _login_ms(
    machine: Installation,
    application: Application,
    fill: Callable[[Installation, int], None],
    size: int,
    door: str,
    rounds: int,
) -> float:
    fill(machine, size)
    if door == "helper":
        return median(
            [application.call("bench-1", "alice", "authenticate").wall_ms for _ in range(max(rounds // 3, 3))]
        )
    with RunningAgent():
        play(["alice"], 10.0)
        time.sleep(0.2)  # a file that was written just now is read twice
        play(["alice"], 10.0)
        return median([_through_agent() for _ in range(rounds)])


def _through_agent() -> float:
    (login,) = play(["alice"], 10.0)
    assert login.code == 0
    return 1000 * (login.ended - login.began)


def _one_file(machine: Installation, size: int) -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    lines = "".join(f"person{number}: token-{number}\n" for number in range(size - 1))
    machine.write_users(lines + "alice: t-alice\n")


def _own_files(machine: Installation, size: int) -> None:
    machine.write_users("{}\n")
    FOLDER.mkdir(exist_ok=True)
    template = Path(FOLDER / "alice.yaml")
    write(template, "alice: t-alice\n")
    for number in range(size - 1):
        path = FOLDER / f"person{number}.yaml"
        if not path.exists():
            path.write_text(f"person{number}: token-{number}\n")

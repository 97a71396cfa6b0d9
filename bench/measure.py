"""The cost of PAM calls, medians, and the sections of results."""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """The cost of one PAM call for the application."""

    code: int
    """The PAM code."""
    cpu_ms: float
    wall_ms: float
    peak_kib: int
    """The peak resident memory."""


class Application:
    """A small PAM application (`application.c`) that measures itself."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "application"
        source = Path(__file__).with_name("application.c")
        subprocess.run(["cc", "-O2", "-Wall", "-o", str(self.program), str(source), "-lpam"], check=True)

    def call(self, service: str, user: str, phase: str) -> Cost:
        """Call PAM once in its own process."""
        command = [str(self.program), service, user, phase]
        return cost_of(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def cost_of(output: str) -> Cost:
    """What the application has printed."""
    code, cpu, wall, peak = (int(word) for word in output.split())
    return Cost(code, cpu / 1000, wall / 1000, peak)


@dataclass
class Row:
    """One line of a table of results."""

    name: str
    values: dict[str, float]
    note: str = ""


@dataclass
class Section:
    """One table of results."""

    title: str
    columns: list[str]
    rows: list[Row] = field(default_factory=list)
    remark: str = ""

    def add(self, name: str, note: str = "", **values: float) -> None:
        """Add a line, and print it as progress."""
        self.rows.append(Row(name, values, note))
        print(f"  {name}: " + ", ".join(f"{key} {value:.3g}" for key, value in values.items()), flush=True)

    def as_json(self) -> dict[str, object]:
        """The section for a JSON file."""
        return asdict(self)


def median(values: Sequence[float]) -> float:
    """The median, or nan of nothing."""
    return statistics.median(values) if values else float("nan")


def percentile(values: Sequence[float], percent: int) -> float:
    """A percentile, or nan of less than two values."""
    return statistics.quantiles(values, n=100)[percent - 1] if len(values) > 1 else float("nan")

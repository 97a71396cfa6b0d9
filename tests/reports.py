"""Writes what the tests show to build/reports: the table of failures, the attacks on sudo and su, the mutants.

`make test` and `make mutants` run it, and CI keeps the folder.
"""

from __future__ import annotations

from pathlib import Path

from tests.faults import report as faults
from tests.mutations import report as mutations
from tests.system.setuid import attacks_report as attacks

FOLDER = Path(__file__).parents[1] / "build/reports"
REPORTS = {"faults.md": faults.text, "attacks.md": attacks.text, "mutations.md": mutations.text}


def write() -> None:
    """Write all reports."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in REPORTS.items():
        (FOLDER / name).write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    write()

"""The report of failures and their effect on a login: build/reports/faults.md."""

from __future__ import annotations

from collections.abc import Sequence

from tests.faults.table import CASES, SUBJECTS
from tests.support.faults.case import CODES, Case, Expected

HEAD = """\
# Failures and their effect on a login

{cases} failures and how the login ends. `tests/faults/` reproduces each of them, and checks the PAM code, the audit
record, the text that the user reads, the number of requests to the server, and the time. A small application calls PAM.

"within" is the time that the login itself may take, in seconds, on an idle machine. PAM_IGNORE is the module's own
result: a stack in which every module returns it fails, and the shipped PAM files end with pam_permit.
"""

COLUMNS = ("case", "outcome, result", "PAM", "the user reads", "requests", "within")


def text() -> str:
    """The whole report."""
    return HEAD.format(cases=len(CASES)) + "".join(
        f"\n## {name}\n\n{_table(rows)}" for name, rows in SUBJECTS.items()
    )


def _table(cases: Sequence[Case]) -> str:
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    for case in cases:
        lines.append((case.name, *_cells(case.expected)))
        for number, other in enumerate(case.others, 2):
            lines.append((f"— login {number}", *_cells(other, requests="")))
    return "".join("| " + " | ".join(map(_escaped, line)) + " |\n" for line in lines)


def _cells(expected: Expected, requests: str | None = None) -> tuple[str, ...]:
    outcome = f"{expected.outcome}, {expected.result}" if expected.outcome else "not reached"
    shown = " ".join(text for text in (expected.also, expected.message) if text)
    counted = expected.requests.at_all if requests is None else requests
    return outcome, CODES[expected.code], shown, counted, f"{expected.within:g} s"


def _escaped(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|")

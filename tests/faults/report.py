"""The report of failures and their effect on a login: build/reports/faults.md."""

from __future__ import annotations

from collections.abc import Sequence

from tests.faults.table import CASES, SUBJECTS, ways
from tests.support.faults.case import CODES, Case, Expected, Way

HEAD = """\
# Failures and their effect on a login

{cases} failures and how the login ends. `tests/faults/` reproduces each of them, and checks the PAM code, the audit
record, the text that the user reads, the number of requests to the server, and the time.

The {by_pam} that are marked with ● run through PAM, called by a small application. They are those about PAM, the door
and applications, and of the others one for each step of a login and each way to end. All cases that need no PAM also
run without it: the test speaks the relay protocol with the agent.

"within" is the time that the login itself may take, in seconds, on an idle machine. PAM_IGNORE is the module's own
result: a stack in which every module returns it fails, and the shipped PAM files end with pam_permit.
"""

COLUMNS = ("case", "outcome, result", "PAM", "the user reads", "requests", "within")


def text() -> str:
    """The whole report."""
    head = HEAD.format(
        cases=len(CASES),
        by_pam=sum(bool(_mark(case)) for case in CASES),
    )
    return head + "".join(f"\n## {name}\n\n{_table(rows)}" for name, rows in SUBJECTS.items())


def _table(cases: Sequence[Case]) -> str:
    lines = [COLUMNS, ("---",) * len(COLUMNS)]
    for case in cases:
        lines.append((case.name + _mark(case), *_cells(case.expected)))
        for number, other in enumerate(case.others, 2):
            lines.append((f"— login {number}", *_cells(other, requests="")))
    return "".join("| " + " | ".join(map(_escaped, line)) + " |\n" for line in lines)


def _mark(case: Case) -> str:
    return " ●" if Way.PAM in ways(case) else ""


def _cells(expected: Expected, requests: str | None = None) -> tuple[str, ...]:
    outcome = f"{expected.outcome}, {expected.result}" if expected.outcome else "not reached"
    unrecorded = "" if expected.recorded or not expected.outcome else " (no record)"
    shown = " ".join(text for text in (expected.also, expected.message) if text)
    counted = expected.requests.at_all if requests is None else requests
    return outcome + unrecorded, CODES[expected.code], shown, counted, f"{expected.within:g} s"


def _escaped(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|")

"""The report of what `make mutants` breaks: build/reports/mutations.md."""

from __future__ import annotations

from tests.mutations.mutants import INVARIANTS, MUTANTS

HEAD = """\
# Mutants

Each mutant disables one guarantee in a copy of the code. The test in its row must then fail, and pass without the
mutant. `make mutants` runs them in about two minutes. `tests/mutations/mutants.py` has the exact changes.
"""


def text() -> str:
    """The whole report."""
    parts = [HEAD]
    for number, invariant in enumerate(INVARIANTS, 1):
        parts.append(
            f"\n## {number}. {invariant}\n\n| mutant | where | the test that fails |\n| --- | --- | --- |\n"
        )
        parts += [
            f"| {mutant.what} | `{mutant.file}` | `{mutant.test}` |\n"
            for mutant in MUTANTS
            if mutant.invariant == number
        ]
    return "".join(parts)

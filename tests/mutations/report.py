"""The report of what `make mutants` breaks: build/reports/mutations.md."""

from __future__ import annotations

from pathlib import Path

from tests.mutations.mutants import MUTANTS

ROOT = Path(__file__).parents[2]
HEAD = """\
# Mutants

Each mutant disables one rule in a copy of the code. The test in its row must then fail, and pass without the
mutant. `make mutants` runs them. `tests/mutations/mutants.py` has the exact changes.
"""


def text() -> str:
    """The whole report."""
    parts = [HEAD]
    for group, mutants in MUTANTS.items():
        parts.append(f"\n## {group}\n\n| mutant | where | the test that fails |\n| --- | --- | --- |\n")
        parts += [f"| {each.what} | `{each.file(ROOT)}` | `{each.node(ROOT)}` |\n" for each in mutants]
    return "".join(parts)

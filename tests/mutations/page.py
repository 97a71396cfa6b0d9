"""Writes docs/mutations.md: `/usr/bin/python3 -m tests.mutations.page > docs/mutations.md`."""

from __future__ import annotations

from tests.mutations.mutants import INVARIANTS, MUTANTS

HEAD = """\
# What must always hold, and the tests that notice when it does not

Each line turns something off that must always hold, in a copy of the code; the test beside it must fail then, and pass
without the change. `make mutants` does it in about two minutes. What is changed to what stands in
`tests/mutations/mutants.py`, from which this page is made:
`/usr/bin/python3 -m tests.mutations.page > docs/mutations.md`.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for number, invariant in enumerate(INVARIANTS, 1):
        parts.append(
            f"\n## {number}. {invariant}\n\n| what is turned off | where | the test that fails |\n| --- | --- | --- |\n"
        )
        parts += [
            f"| {mutant.what} | `{mutant.file}` | `{mutant.test}` |\n"
            for mutant in MUTANTS
            if mutant.invariant == number
        ]
    return "".join(parts)


if __name__ == "__main__":
    print(page(), end="")

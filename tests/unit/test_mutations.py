"""What `make mutants` is to try: that it can be tried, and that docs/mutations.md tells of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.mutations.mutants import INVARIANTS, MUTANTS, Mutant
from tests.mutations.page import page

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs/mutations.md").read_text(encoding="utf-8") == page()


def test_every_invariant_is_turned_off_somewhere() -> None:
    assert {mutant.invariant for mutant in MUTANTS} == set(range(1, len(INVARIANTS) + 1))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what)
def test_what_is_to_be_changed_is_there_and_so_is_the_test(mutant: Mutant) -> None:
    source = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert mutant.applied_to(source) != source
    file, _, test = mutant.test.partition("::")
    name = test.partition("[")[0]
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)

"""What `make mutants` is to try can be tried, and the reports can be made."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.mutations.mutants import INVARIANTS, MUTANTS, Mutant
from tests.reports import REPORTS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_is_a_page_with_tables(name: str) -> None:
    assert re.match(r"# \w.*\n\n\w(.|\n)*\n## \w.*\n(.|\n)*\n\| --- \|", REPORTS[name]())


def test_every_invariant_is_turned_off_somewhere() -> None:
    assert {mutant.invariant for mutant in MUTANTS} == set(range(1, len(INVARIANTS) + 1))


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what)
def test_what_is_to_be_changed_is_there_and_so_is_the_test(mutant: Mutant) -> None:
    source = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert mutant.applied_to(source) != source
    file, _, test = mutant.test.partition("::")
    name = test.partition("[")[0]
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)

"""What `make mutants` is to try can be tried, and the reports can be made."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.mutations.mutants import MUTANTS, Mutant
from tests.reports import REPORTS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_is_a_page_with_tables(name: str) -> None:
    assert re.match(r"# \w.*\n\n\w(.|\n)*\n## \w.*\n(.|\n)*\n\| --- \|", REPORTS[name]())


@pytest.mark.parametrize("invariant", MUTANTS)
def test_each_mutant_of_an_invariant_changes_one_place_and_has_one_test(invariant: str) -> None:
    assert MUTANTS[invariant]
    for mutant in MUTANTS[invariant]:
        assert mutant.node(ROOT)
        assert all(text != replacement for text, replacement in mutant.changes)
        file = ROOT / mutant.file(ROOT)
        if file.suffix == ".py":
            ast.parse(mutant.applied(file.read_text(encoding="utf-8")))


def test_a_mutant_whose_place_or_test_is_gone_is_an_error() -> None:
    gone = Mutant("a change of what is gone", "no source has this text", "", "test_that_no_file_has")
    with pytest.raises(ValueError, match="must occur once"):
        gone.file(ROOT)
    with pytest.raises(ValueError, match="one test must have this name"):
        gone.node(ROOT)

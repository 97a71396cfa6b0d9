"""What `make mutants` is to try can be tried, and the reports can be made."""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
from pathlib import Path

import pytest

from tests.mutations.mutants import MUTANTS, Mutant
from tests.mutations.run import changed_files, chosen, part_of
from tests.reports import REPORTS

ROOT = Path(__file__).parents[2]
EACH = [mutant for mutants in MUTANTS.values() for mutant in mutants]


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_is_a_page_with_tables(name: str) -> None:
    assert re.match(r"# \w.*\n\n\w(.|\n)*\n## \w.*\n(.|\n)*\n\| --- \|", REPORTS[name]())


def test_each_guarantee_has_a_group_of_mutants() -> None:
    guarantees = (ROOT / "SECURITY.md").read_text(encoding="utf-8").partition("\n## Guarantees\n")[2]
    named = re.findall(r"^(\d+)\. \*\*(.+?)\.?\*\*", guarantees.partition("\n## ")[0], re.MULTILINE)
    assert [int(number) for number, _ in named] == list(range(1, len(named) + 1))
    assert list(MUTANTS)[: len(named)] == [f"Guarantee {number}: {name}" for number, name in named]


@pytest.mark.parametrize("group", MUTANTS)
def test_each_mutant_of_a_group_changes_one_place_and_has_one_test(group: str) -> None:
    assert MUTANTS[group]
    for mutant in MUTANTS[group]:
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


def test_a_rule_that_is_held_in_two_files_is_no_one_mutant() -> None:
    first, second = EACH[:2]
    assert first.file(ROOT) != second.file(ROOT)
    both = Mutant("a change of two files", first.text, "", first.test, also=((second.text, ""),))
    with pytest.raises(ValueError, match="must occur once"):
        both.file(ROOT)


def test_all_parts_together_are_all_mutants() -> None:
    parts = [chosen(EACH, part_of(f"{number}/10"), ()) for number in range(1, 11)]
    assert sorted(mutant.what for part in parts for mutant in part) == sorted(mutant.what for mutant in EACH)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_with_a_part_run_the_mutants_of_changed_sources_and_tests() -> None:
    source, test = EACH[1].file(ROOT), EACH[-1].node(ROOT).partition("::")[0]
    found = chosen(EACH, part_of("1/10"), {source, test, "README.md"})
    assert {EACH[1], EACH[-1], *EACH[::10]} <= set(found)
    for mutant in set(found) - set(EACH[::10]):
        assert mutant.file(ROOT) == source or mutant.node(ROOT).startswith(f"{test}::")
    assert chosen(EACH, slice(0), {"README.md"}) == []


def test_a_file_that_was_only_renamed_has_not_changed(tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)

    git("init")
    for name in ("moved", "changed", "moved-and-changed", "same"):
        (tmp_path / name).write_text(f"{name}\n" * 20)
    git("add", ".")
    git("commit", "-m", "begin")
    git("mv", "moved", "elsewhere")
    git("mv", "moved-and-changed", "there")
    for name in ("changed", "there"):
        with (tmp_path / name).open("a") as file:
            file.write("more\n")
    git("add", ".")
    assert changed_files(tmp_path, "HEAD") == {"changed", "moved-and-changed", "there", ""}


@pytest.mark.parametrize("text", ["", "3", "0/10", "11/10", "1/0", "1/", "a/b", "-1/10"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="must be N/M"):
        part_of(text)

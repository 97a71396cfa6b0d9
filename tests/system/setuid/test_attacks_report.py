"""The report tells of every attack that is tested, and of no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.system.setuid.attacks import AROUND, ATTACKS, IN_PROCESS, OTHERS

TOLD = {**OTHERS, **AROUND, "test_in_process": IN_PROCESS}


@pytest.mark.parametrize("file", TOLD)
def test_it_tells_of_each_test_once(file: str) -> None:
    source = Path(__file__).with_name(f"{file}.py").read_text()
    assert sorted(re.findall(r"^def (test_\w+)", source, re.MULTILINE)) == sorted(
        one.test for one in TOLD[file]
    )


def test_it_leaves_no_file_of_attacks_out() -> None:
    files = {path.stem for path in Path(__file__).parent.glob("test_attacks_*.py")}
    assert files - {Path(__file__).stem} == set(OTHERS)


def test_no_two_attacks_have_the_same_name() -> None:
    names = [attack.name for attack in ATTACKS]
    assert len(names) == len(set(names))

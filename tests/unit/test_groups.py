"""Each file of tests is in one of the groups that `make test` runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ELSEWHERE = ("browser", "fleet", "packages", "upgrade", "vm")
"""Folders of tests that all are long, or use machines of their own."""


def test_each_test_is_run_once() -> None:
    runs: Counter[Path] = Counter()
    for pattern in (TESTS / "groups.txt").read_text().split():
        found = list(TESTS.parent.glob(pattern))
        assert found, f"there is nothing at {pattern}"
        for path in found:
            runs.update([path] if path.is_file() else path.rglob("test_*.py"))
    files = {path for path in TESTS.rglob("test_*.py") if path.relative_to(TESTS).parts[0] not in ELSEWHERE}
    assert runs == dict.fromkeys(files, 1)

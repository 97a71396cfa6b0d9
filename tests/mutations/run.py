"""Applies each mutant to a copy of the project, and sees whether its test notices: `make mutants`, as root.

Prints a line for each, and fails where a test does not fail although its invariant is off, or fails without that.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

from tests.mutations.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
AT_A_TIME = 5
PYTEST = ("tests/support/isolated-root.sh", "/usr/bin/python3", "-m", "pytest", "-q", "-rf", "--tb=no")
NOT_COPIED = shutil.ignore_patterns(".git", "build", "__pycache__", "*.pyc", ".mypy_cache")


def main() -> int:
    """Run all of them, or those whose `what` has the word that was given."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    wanted = [mutant for mutant in MUTANTS if word in mutant.what]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies: Queue[Path] = Queue()
        for number in range(AT_A_TIME):
            copies.put(Path(shutil.copytree(ROOT, Path(folder) / str(number), ignore=NOT_COPIED)))
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            untouched = pool.map(lambda tests: _without(copies, tests), _halves(wanted))
            noticed = list(pool.map(lambda mutant: _played(copies, mutant), wanted))
            sound = all(list(untouched))
    print(f"Mutants: {sum(noticed)} of {len(wanted)} noticed, in {time.monotonic() - began:.0f} s.")
    return 0 if sound and all(noticed) else 1


def _halves(mutants: list[Mutant]) -> list[list[str]]:
    tests = sorted({mutant.test for mutant in mutants})
    halves = [tests[half::AT_A_TIME] for half in range(AT_A_TIME)]
    return [half for half in halves if half]  # without a name pytest would run all there are


def _without(copies: Queue[Path], tests: list[str]) -> bool:
    """The tests pass as long as nothing is changed."""
    copy = copies.get()
    try:
        done = _pytest(copy, *tests)
    finally:
        copies.put(copy)
    if done.returncode:
        print(done.stdout, flush=True)
    return done.returncode == 0


def _played(copies: Queue[Path], mutant: Mutant) -> bool:
    """The test fails with the mutant: it is not enough that it cannot be run."""
    copy = copies.get()
    file = copy / mutant.file
    source = file.read_text(encoding="utf-8")
    try:
        file.write_text(mutant.applied_to(source), encoding="utf-8")
        done = _pytest(copy, "--exitfirst", mutant.test)
    finally:
        file.write_text(source, encoding="utf-8")
        copies.put(copy)
    noticed = done.returncode == 1 and f"FAILED {mutant.test}" in done.stdout
    print(f"{'noticed' if noticed else 'NOT NOTICED'}: {mutant.invariant}. {mutant.what}", flush=True)
    if not noticed:
        print(done.stdout, flush=True)
    return noticed


def _pytest(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PYTEST, *arguments],
        cwd=copy,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


if __name__ == "__main__":
    sys.exit(main())

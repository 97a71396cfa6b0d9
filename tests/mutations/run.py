"""Applies each mutant to a copy of the project, and sees whether its test notices: `make mutants`, as root.

Prints a line for each, and fails where a test does not fail although its invariant is off, or fails without that.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

from tests import reports
from tests.mutations.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
AT_A_TIME = 6  # they mostly wait
PYTEST = ("/usr/bin/python3", "-m", "pytest", "-q", "-rf", "--tb=no")
TIME_LIMIT = ("timeout", "--kill-after=10", "900")  # for a mutant that hangs: it counts as not noticed
PACKAGES = "usr/lib/python3/dist-packages"
_TIMES = itertools.count(1)
NOT_COPIED = shutil.ignore_patterns(".git", "build", "__pycache__", "*.pyc", ".mypy_cache")


def main() -> int:
    """Run all of them, or those whose `what` has the word that was given."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    wanted = [mutant for mutants in MUTANTS.values() for mutant in mutants if word in mutant.what]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copies: Queue[Path] = Queue()
        first = _installed(Path(shutil.copytree(ROOT, Path(folder) / "0", ignore=NOT_COPIED)))
        for number in range(1, AT_A_TIME):
            copies.put(Path(shutil.copytree(first, Path(folder) / str(number), symlinks=True)))
        copies.put(first)
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            untouched = pool.map(lambda tests: _without(copies, tests), _parts(wanted))
            noticed = list(pool.map(lambda mutant: _played(copies, mutant), wanted))
            sound = all(list(untouched))
    reports.write()
    print(f"Mutants: {sum(noticed)} of {len(wanted)} noticed, in {time.monotonic() - began:.0f} s.")
    return 0 if sound and all(noticed) else 1


def _installed(copy: Path) -> Path:
    """Stage the installation there, once for all tests."""
    make = ["make", "-s", "install", f"DESTDIR={copy}/build/staged", f"BUILD={copy}/build/made"]
    subprocess.run(make, cwd=copy, check=True, stdout=subprocess.DEVNULL)
    return copy


def _parts(mutants: list[Mutant]) -> list[list[str]]:
    tests = sorted({mutant.node(ROOT) for mutant in mutants})
    parts = [tests[part::AT_A_TIME] for part in range(AT_A_TIME)]
    return [part for part in parts if part]  # without a name pytest would run all there are


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
    file, test = mutant.file(ROOT), mutant.node(ROOT)
    copy = copies.get()
    staged = copy / "build/staged" / PACKAGES / file
    files = [copy / file, *([staged] if staged.exists() else [])]
    source = files[0].read_text(encoding="utf-8")
    try:
        _write(files, source.replace(mutant.text, mutant.replacement))
        # What is not Python is installed anew.
        done = _pytest(copy, "--exitfirst", test, staged=staged.exists())
    finally:
        _write(files, source)
        copies.put(copy)
    noticed = done.returncode == 1 and f"FAILED {test}" in done.stdout
    print(f"{'noticed' if noticed else 'NOT NOTICED'}: {mutant.what}", flush=True)
    if not noticed:
        print(done.stdout, flush=True)
    return noticed


def _write(files: list[Path], source: str) -> None:
    for file in files:
        file.write_text(source, encoding="utf-8")
        # A change of the same length in the same second must not be taken for no change.
        os.utime(file, (0, next(_TIMES)))


def _pytest(copy: Path, *arguments: str, staged: bool = True) -> subprocess.CompletedProcess[str]:
    environment = [f"PYTHONPYCACHEPREFIX={copy}/build/bytecode"]  # only what has changed is compiled again
    environment += [f"PAM_IAMPASS_STAGED={copy}/build/staged"] if staged else []
    return subprocess.run(
        [*TIME_LIMIT, "tests/support/isolated-root.sh", "env", *environment, *PYTEST, *arguments],
        cwd=copy,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


if __name__ == "__main__":
    sys.exit(main())

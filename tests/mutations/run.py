"""Applies each mutant to a copy of the project, and sees whether its test notices: `make mutants`, as root.

Prints a line for each, and fails where a test does not fail although its rule is off, or fails without that.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

from tests import reports
from tests.mutations.mutants import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
AT_A_TIME = 6  # they mostly wait
PYTEST = ("/usr/bin/python3", "-m", "pytest", "-q", "-rf")
TIME_LIMIT = ("timeout", "--kill-after=10", "900")  # for a mutant that hangs: it counts as not noticed
PACKAGES = "usr/lib/python3/dist-packages"
_TIMES = itertools.count(1)
NOT_COPIED = shutil.ignore_patterns(".git", "build", "__pycache__", "*.pyc", ".mypy_cache")


def main() -> int:
    """Run all mutants, or those that the arguments choose."""
    parser = argparse.ArgumentParser(prog="tests.mutations.run", description=__doc__)
    parser.add_argument("word", nargs="?", default="", help="a text that `what` or the group must have")
    parser.add_argument(
        "--part",
        metavar="N/M",
        type=part_of,
        help="every Mth mutant, from the Nth on; with --changed also those",
    )
    parser.add_argument(
        "--changed", metavar="BASE", help="those whose source or test file differs from this git revision"
    )
    arguments = parser.parse_args()
    wanted = [
        mutant
        for group, mutants in MUTANTS.items()
        for mutant in mutants
        if arguments.word in f"{group}: {mutant.what}"
    ]
    if arguments.part is not None or arguments.changed is not None:
        changed = set() if arguments.changed is None else changed_files(ROOT, arguments.changed)
        wanted = chosen(wanted, arguments.part or slice(0), changed)
    if not wanted:
        print("No mutant is chosen.")
        return 1 if arguments.word else 0
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
    for mutant, was_noticed in zip(wanted, noticed):
        if not was_noticed:
            print(f"Not noticed: {mutant.what}")
    print(f"Mutants: {sum(noticed)} of {len(wanted)} noticed, in {time.monotonic() - began:.0f} s.")
    return 0 if sound and all(noticed) else 1


def part_of(text: str) -> slice:
    """The mutants of a part that is written as N/M."""
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise argparse.ArgumentTypeError(f"must be N/M, with N from 1 to M: {text}")
    return slice(int(number) - 1, None, int(of))


def chosen(mutants: list[Mutant], part: slice, changed: Container[str]) -> list[Mutant]:
    """The mutants of the part, and those whose source or test is one of the changed files."""
    in_part = set(mutants[part])
    return [
        mutant
        for mutant in mutants
        if mutant in in_part
        or mutant.file(ROOT) in changed
        or mutant.node(ROOT).partition("::")[0] in changed
    ]


def changed_files(root: Path, base: str) -> set[str]:
    """The files of the project that differ from a git revision, without those that were only renamed. Raises
    CalledProcessError if there is no such revision."""
    options = ("-M100%", "--diff-filter=r", "--name-only", "--relative", "-z")
    git = ["git", "-C", str(root), "diff", *options, base, "--"]
    return set(subprocess.run(git, stdout=subprocess.PIPE, text=True, check=True).stdout.split("\0"))


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
        print("FAILS WITHOUT A MUTANT:", done.stdout, sep="\n", flush=True)
    return done.returncode == 0


def _played(copies: Queue[Path], mutant: Mutant) -> bool:
    """The test fails with the mutant: it is not enough that it cannot be run."""
    file, test = mutant.file(ROOT), mutant.node(ROOT)
    copy = copies.get()
    staged = copy / "build/staged" / PACKAGES / file
    files = [copy / file, *([staged] if staged.exists() else [])]
    source = files[0].read_text(encoding="utf-8")
    try:
        _write(files, mutant.applied(source))
        # What is not Python is installed anew.
        done = _pytest(copy, "--tb=no", "--exitfirst", test, staged=staged.exists())
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
    # So that PostgreSQL's data are made once, and copied for each mutant.
    environment += [f"PAM_IAMPASS_SHARED={copy}/build"]
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

"""The tests that the source package brings for Debian's autopkgtest, as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packages.administrator import Administrator
from tests.packages.booted import Booted

TESTS = Path(__file__).parents[2] / "packaging/debian/tests"
CONTROL = (TESTS / "control").read_text()
NAMES = [line.split(": ", 1)[1] for line in CONTROL.splitlines() if line.startswith("Tests: ")]


@pytest.fixture(scope="module")
def installed(machine: Booted) -> Booted:
    """A machine on which nothing but the packages was installed."""
    Administrator(machine).install()
    for file in TESTS.iterdir():
        machine.copy_in(file, "/root/tests")
    machine.run("apt-get", "install", "-y", "pamtester")
    return machine


@pytest.mark.parametrize("name", NAMES)
def test_it_passes(installed: Booted, name: str) -> None:
    done = installed.run("/root/tests/" + name, check=False)
    print(done.stdout, done.stderr)
    assert done.returncode == 0

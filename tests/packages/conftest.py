"""Booted machines for the tests of the packages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages.administrator import Administrator
from tests.packages.booted import Booted
from tests.packages.people import People
from tests.support.needs import declare
from tests.support.terminal import Terminal

# Its machine has a desktop besides, which is made for one release only.
collect_ignore = ["test_desktop.py"] if os.environ.get("PACKAGES_RELEASE") == "bookworm" else []


@pytest.fixture(scope="module")
def root() -> Path:
    """What the machine is a copy of."""
    assert os.environ.get("PACKAGES_ROOT"), "run this through `make test-system`"
    return Path(os.environ["PACKAGES_ROOT"])


@pytest.fixture(scope="module")
def machine(root: Path) -> Iterator[Booted]:
    """A fresh machine, booted."""
    booted = Booted(root)
    try:
        booted.boot()
        yield booted
    finally:
        booted.close()


@pytest.fixture(scope="module")
def administrator(machine: Booted) -> Administrator:
    """Its administrator, who has only created accounts and installed the packages."""
    found = Administrator(machine)
    found.make_people()
    found.install()
    return found


@pytest.fixture(scope="module")
def people(machine: Booted) -> People:
    """The users who log in."""
    return People(machine)


@pytest.fixture(autouse=True)
def nobody_stays() -> Iterator[None]:
    """Close the terminals that a test left open."""
    yield
    Terminal.kill_all()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    declare(items, __file__, "needs_root", "needs_booted_machine")

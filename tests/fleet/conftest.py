"""The fleet, for all tests."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.fleet import Fleet, running, set_up
from tests.support.needs import declare
from tests.support.terminal import Terminal


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """Six machines, set up."""
    with running(Path(os.environ["PACKAGES_ROOT"])) as fleet:
        set_up(fleet)
        yield fleet


@pytest.fixture(autouse=True)
def nobody_stays(fleet: Fleet) -> Iterator[None]:
    """Log out who is still logged in, and forget what a test has counted."""
    fleet.forget()
    yield
    left = list(Terminal.open)
    Terminal.kill_all()
    for terminal in left:
        print(terminal)
    fleet.gateway("session", "end", "--all")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Of a failure, the report has the last records of each machine's journal."""
    outcome = yield
    report = outcome.get_result()
    fleet = getattr(item, "funcargs", {}).get("fleet")
    if report.failed and fleet is not None:
        for name, machine in fleet.machines.items():
            shown = machine.run("journalctl", "-n", "40", "--no-pager", check=False)
            report.sections.append((f"Journal of {name}", shown.stdout + shown.stderr))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    declare(items, __file__, "needs_root", "needs_booted_machine")
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(900))  # the first one has the machines made

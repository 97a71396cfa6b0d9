"""Booted machines for the tests of the packages."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.packages.administrator import Administrator
from tests.packages.booted import Booted
from tests.packages.clients import IN_TIME
from tests.packages.people import People
from tests.support.needs import declare
from tests.support.terminal import Terminal

_FILES = sorted(file.name for file in Path(__file__).parent.glob("test_*.py"))
# A machine with a desktop besides is made for Debian 13 only.
_ONLY_ON_TRIXIE = ("test_desktop.py",)
_OF_GATEWAY = [
    f"test_{name}.py"
    for name in ("from_lone_hosts", "gateway", "gateway_page", "gateway_role", "portal", "presence")
]
_OF_HOSTS = [file for file in _FILES if file not in _OF_GATEWAY]
_PARTS = {
    "gateway": _OF_GATEWAY,
    "hosts": [file for file in _OF_HOSTS if file not in _ONLY_ON_TRIXIE],
    # The same at the same time, on machines of their own.
    "hosts-1": _OF_HOSTS[::2],
    "hosts-2": _OF_HOSTS[1::2],
    # Installation, a login's life, and an upgrade.
    "brief": ("test_installation.py", "test_life.py", "test_one_agent.py", "test_text_in_time.py"),
}
collect_ignore = [
    file for file in _FILES if file not in _PARTS.get(os.environ.get("PACKAGES_PART", ""), _FILES)
]
if not IN_TIME:
    collect_ignore.append("test_text_in_time.py")


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
    """Close the terminals that a test left open, and show what they showed: that of a test that failed is printed."""
    yield
    left = list(Terminal.open)
    Terminal.kill_all()
    for terminal in left:
        print(terminal)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """Of a failure, the summary says in which line, and the report has the last records of the machine's journal."""
    outcome = yield
    report = outcome.get_result()
    if not report.failed or call.excinfo is None:
        return
    lines = [entry.lineno + 1 for entry in call.excinfo.traceback if entry.path == item.path]
    if lines and hasattr(report.longrepr, "reprcrash"):
        crash = report.longrepr.reprcrash
        crash.message = f"line {lines[-1]}: {crash.message}"
    machine = getattr(item, "funcargs", {}).get("machine")
    if machine is not None:
        try:
            journal = machine.run("journalctl", "-n", "80", "--no-pager", check=False, timeout=30)
        except subprocess.TimeoutExpired as error:
            report.sections.append(("Journal of the machine", str(error)))
        else:
            report.sections.append(("Journal of the machine", journal.stdout + journal.stderr))
    # At once, too: a run that is stopped comes to no summary.
    writer = item.config.get_terminal_writer()
    writer.line()
    report.toterminal(writer)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    declare(items, __file__, "needs_root", "needs_booted_machine")

"""The machine that the system tests share: set up once, and reset before each test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import RunningAgent
from tests.support.installation import Installation
from tests.support.journald import Journald
from tests.support.needs import declare
from tests.support.pam_files import write_sshd_file
from tests.support.sandbox import Sandbox
from tests.support.sshd import DROP_INS, Sshd
from tests.support.terminal import Terminal
from tests.support.world import PASSWORD, PEOPLE, World


@pytest.fixture(scope="session")
def machine() -> Installation:
    """The installation, with user accounts."""
    installation = Installation()
    for user in PEOPLE:
        installation.add_user(user, PASSWORD)
    return installation


@pytest.fixture(scope="session")
def journald() -> Iterator[Journald]:
    """The journal."""
    with Journald() as running:
        yield running


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """IAMPASS."""
    with Sandbox(application_id="demo") as running:
        yield running


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A folder for keys and logs."""
    made = Path(tempfile.mkdtemp(dir="/var/lib"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def agent(machine: Installation, journald: Journald) -> Iterator[RunningAgent]:
    """The agent."""
    for choice in ("key", "password", "quiet", "codes"):
        write_sshd_file(choice)
    with RunningAgent() as running:
        running.wake()
        yield running


@pytest.fixture(scope="session")
def sshd(machine: Installation, journald: Journald, folder: Path) -> Iterator[Sshd]:
    """sshd with a key and the phone, as setup does it."""
    shutil.copy(DROP_INS / "10-iampass.conf", "/etc/ssh/sshd_config.d/")
    write_sshd_file("key")
    with Sshd(folder / "key-and-phone") as running:
        for user in ("root", *PEOPLE):
            running.admit(user)
        yield running


@pytest.fixture(autouse=True)
def nobody_stays() -> Iterator[None]:
    """Close the terminals that a (usually failed) test left open."""
    yield
    for terminal in list(Terminal.open):
        terminal.kill()


@pytest.fixture
def world(
    machine: Installation, sandbox: Sandbox, journald: Journald, sshd: Sshd, agent: RunningAgent
) -> World:
    """Everything, reset for each test; logins go to the sshd with a key and the phone."""
    return World(machine, sandbox, journald, sshd, agent=agent)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    declare(items, __file__, "needs_root", "needs_isolated_root")

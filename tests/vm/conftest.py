"""Virtual machines, and the users' phones at a sandbox outside of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_iampass.sandbox import Sandbox
from tests.support.needs import declare
from tests.support.terminal import Terminal
from tests.vm.machine import SELINUX, Machine
from tests.vm.site import PORT, Site


@pytest.fixture(scope="module")
def vm(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A fresh machine, switched on; KERNEL of the module says with which policy."""
    assert os.environ.get("VM_IMAGE"), "run this through `make test-vm`"
    machine = Machine(Path(os.environ["VM_IMAGE"]))
    try:
        machine.boot(getattr(request.module, "KERNEL", SELINUX))
        yield machine
    finally:
        machine.close()


@pytest.fixture(scope="session")
def iampass() -> Iterator[Sandbox]:
    """IAMPASS, in the machine's network."""
    listen = ("127.0.0.1", PORT)
    with Sandbox(application_id="demo", listen=listen, names=("iampass.test", "10.0.2.2")) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def site(vm: Machine, iampass: Sandbox) -> Site:
    """The machine with settings; nothing asks the phone yet."""
    site = Site(vm, iampass)
    site.configure()
    return site


@pytest.fixture(autouse=True)
def nobody_stays() -> Iterator[None]:
    """Close the terminals that a test left open."""
    yield
    for terminal in list(Terminal.open):
        terminal.kill()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    declare(items, __file__, "needs_root", "needs_virtual_machine")

"""Virtual machines, and the users' phones at a sandbox outside of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.needs import declare
from tests.support.sandbox import Sandbox
from tests.support.terminal import Terminal
from tests.vm.machine import Machine, Policy, switched_on
from tests.vm.qemu import PATIENCE
from tests.vm.site import AGENT, PORT, Site


@pytest.fixture(scope="module")
def vm() -> Iterator[Machine]:
    """A fresh machine, switched on, with AppArmor as Debian enables it."""
    yield from switched_on(Policy.APPARMOR)


@pytest.fixture(scope="session")
def iampass() -> Iterator[Sandbox]:
    """IAMPASS, in the machine's network."""
    listen = ("127.0.0.1", PORT)
    with Sandbox(application_id="demo", listen=listen, names=("iampass.test", "10.0.2.2")) as sandbox:
        sandbox.request_timeout = PATIENCE
        yield sandbox


@pytest.fixture(scope="module")
def site(vm: Machine, iampass: Sandbox) -> Site:
    """The machine with settings; nothing asks the phone yet."""
    site = Site(vm, iampass)
    site.configure()
    vm.run("systemctl", "start", AGENT)  # which takes longer here than a login waits for it
    return site


@pytest.fixture(autouse=True)
def nobody_stays() -> Iterator[None]:
    """Close the terminals that a test left open."""
    yield
    Terminal.kill_all()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    declare(items, __file__, "needs_root", "needs_virtual_machine")

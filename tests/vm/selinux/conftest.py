"""One machine for all tests of SELinux, and what it denies anyway."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.packages.administrator import PASSWORD
from tests.packages.people import got_in
from tests.support.sandbox import Sandbox
from tests.vm.denials import Denial, denials
from tests.vm.machine import Machine, Policy, switched_on
from tests.vm.selinux.console import at_the_console
from tests.vm.site import AGENT, Site

#: The domain of sshd's sessions in newer policies.
SESSIONS = "sshd_session_t"


@pytest.fixture(scope="package")
def vm() -> Iterator[Machine]:
    """A fresh machine, switched on, with SELinux enforcing."""
    yield from switched_on(Policy.SELINUX)


@pytest.fixture(scope="package")
def site(vm: Machine, iampass: Sandbox) -> Site:
    """The machine with settings; nothing asks the phone yet."""
    site = Site(vm, iampass)
    site.configure()
    return site


@pytest.fixture(scope="package")
def usual(site: Site) -> set[Denial]:
    """What the same logins are denied where nothing asks the phone: the machine's own shortcomings."""
    assert got_in(site.ssh("alice"), "alice")
    assert got_in(site.ssh("bob"), "bob")
    assert got_in(site.sudo("alice"), "root")
    assert got_in(site.sudo_over_ssh("bob"), "root")
    assert got_in(site.su("alice", "dave", PASSWORD), "dave")
    assert at_the_console(site, asked=False)
    # From now on, the use of our rules is recorded.
    site.machine.shell("cp /root/auditing-policy /etc/selinux/default/policy/policy.*; load_policy")
    site.machine.run("systemctl", "start", AGENT)  # which takes long here
    return denials(site.machine)


@pytest.fixture(autouse=True)
def nothing_new_is_denied(site: Site, usual: set[Denial], request: pytest.FixtureRequest) -> Iterator[None]:
    """No test is denied more than the logins without the phone, except for what it expects (`denied`)."""
    before = denials(site.machine)
    yield
    # What sshd is denied anyway, its sessions are denied in a domain of their own.
    as_sshd = {replace(each, source=SESSIONS) for each in usual if each.source == "sshd_t"}
    new = denials(site.machine) - usual - before - as_sshd
    expected = request.node.get_closest_marker("denied")
    assert {each.source for each in new} == (set(expected.args) if expected else set()), sorted(new)


@pytest.fixture
def cursor(site: Site, usual: set[Denial]) -> str:
    """Where the journal ended when the test began."""
    return site.machine.cursor()

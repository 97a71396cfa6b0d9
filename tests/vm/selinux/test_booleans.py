"""What the booleans of our policy allow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.packages.people import got_in, outcomes
from tests.support.sandbox import Sandbox
from tests.vm.selinux.console import at_the_console
from tests.vm.site import Site, token_of


@pytest.fixture
def boolean(site: Site, request: pytest.FixtureRequest) -> Iterator[str]:
    """A boolean, set to the opposite of what it is at first."""
    name, value = request.param
    site.machine.run("setsebool", name, value)
    yield name
    site.machine.run("setsebool", name, "off" if value == "on" else "on")


@pytest.mark.parametrize("boolean", [("pam_iampass_sshd", "off")], indirect=True)
@pytest.mark.denied("sshd_t")
def test_without_pam_iampass_sshd_no_ssh_login_reaches_the_agent(site: Site, boolean: str) -> None:
    site.set_up("sshd", "--no-prompt")
    assert not got_in(site.ssh("alice"), "alice")
    check = site.machine.run("pam-iampass", "check", check=False).stdout
    assert "pam_iampass_sshd is off [selinux-denies]" in check


@pytest.mark.parametrize("boolean", [("pam_iampass_local", "off")], indirect=True)
@pytest.mark.denied("local_login_t", "staff_sudo_t")
def test_without_pam_iampass_local_neither_login_nor_a_confined_sudo_reaches_it(
    site: Site, boolean: str
) -> None:
    site.machine.run("pam-iampass", "setup", "undo", "sshd")
    site.set_up("login", "sudo")
    assert not at_the_console(site, asked=False)
    assert not got_in(site.sudo_over_ssh("bob"), "root")
    site.machine.run("pam-iampass", "setup", "undo", "login", "sudo")


@pytest.fixture
def other_port(site: Site) -> Iterator[Sandbox]:
    """IAMPASS on a port that is not for the web."""
    with Sandbox(application_id="demo", listen=("127.0.0.1", 9876), names=("iampass.test",)) as sandbox:
        sandbox.add_user(token_of("alice"))
        sandbox.auto = "approve"
        site.configure(sandbox)
        site.set_up("sshd", "--no-prompt")
        yield sandbox
    site.configure()


@pytest.mark.denied("pam_iampass_t")
def test_the_agent_connects_to_web_ports_only(site: Site, other_port: Sandbox, cursor: str) -> None:
    assert not got_in(site.ssh("alice"), "alice")
    assert [each[0] for each in outcomes(site.machine.journal(cursor))] == ["misconfigured"]


@pytest.mark.parametrize("boolean", [("pam_iampass_any_port", "on")], indirect=True)
def test_with_pam_iampass_any_port_it_connects_to_others(
    site: Site, other_port: Sandbox, boolean: str
) -> None:
    assert got_in(site.ssh("alice"), "alice")

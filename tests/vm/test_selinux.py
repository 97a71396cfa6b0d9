"""With SELinux enforcing and the policy of pam-iampass-selinux, everything works, and nothing is denied to it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from pam_iampass.sandbox import Sandbox
from tests.packages.administrator import PASSWORD
from tests.packages.people import PROMPT, WHO, got_in, outcomes, press_enter, type_password
from tests.vm.auditing import rules, used
from tests.vm.denials import Denial, denials
from tests.vm.machine import Machine
from tests.vm.site import Site, token_of

AGENT = "pam-iampass-agent"


def at_the_console(site: Site, *, asked: bool = True) -> bool:
    """A login of alice at the serial console, which the phone approves; whether she got in."""
    console = site.machine.console()
    console.sendline("")
    console.expect("login: ")
    console.sendline("alice")
    type_password(console)
    if asked:
        site.approve("alice")
    inside: bool = console.expect([r"\$ ", "login: "]) == 0
    if inside:
        console.sendline(WHO + "; exit")
        console.expect("In as alice.")
        console.expect("login: ")
    console.close()
    return inside


@pytest.fixture(scope="module")
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
    new = denials(site.machine) - usual - before
    expected = request.node.get_closest_marker("denied")
    assert {each.source for each in new} == (set(expected.args) if expected else set()), sorted(new)


@pytest.fixture
def cursor(site: Site, usual: set[Denial]) -> str:
    """Where the journal ended when the test began."""
    return site.machine.cursor()


def test_the_policy_is_enforced_and_names_everything_of_ours(vm: Machine, site: Site) -> None:
    assert vm.run("getenforce").stdout == "Enforcing\n"
    assert vm.run("semodule", "-l").stdout.split().count("pam_iampass") == 1
    shown = vm.run(
        "matchpathcon", "-V", "/etc/iampass/users.yaml", "/run/iampass/pam.sock", "/var/lib/iampass"
    )
    assert all(line.endswith("verified.") for line in shown.stdout.splitlines()), shown.stdout


def test_sshd_asks_in_the_account_phase(site: Site, cursor: str) -> None:
    site.set_up("sshd")
    for user in ("alice", "bob"):  # bob is confined
        login = site.ssh(user)
        site.approve(user)
        assert got_in(login, user)
    login = site.ssh("alice")
    site.deny("alice")
    assert not got_in(login, "alice")
    service = "iampass-sshd-quiet"
    assert outcomes(site.machine.journal(cursor)) == [
        ("approved", "success", "alice", service),
        ("approved", "success", "bob", service),
        ("denied", "denied", "alice", service),
    ]
    site.machine.run("pam-iampass", "throttle", "clear", "alice")


def test_the_agent_runs_in_its_domain(vm: Machine, site: Site) -> None:
    [process] = vm.run("systemctl", "show", "-P", "MainPID", AGENT).stdout.split()
    context = vm.read(f"/proc/{process}/attr/current").rstrip("\0\n")
    assert context == "system_u:system_r:pam_iampass_t:s0"


def test_sshd_asks_with_a_prompt_and_takes_a_recovery_code(site: Site, cursor: str) -> None:
    site.set_up("sshd", "--prompt")
    login = site.ssh("alice")
    press_enter(login)
    site.approve("alice")
    assert got_in(login, "alice")
    made = site.machine.run("pam-iampass", "recovery", "new", "alice", "--yes", "--json").stdout
    for expected in (True, False):  # the second time it has been redeemed
        login = site.ssh("alice")
        login.expect(PROMPT)
        login.sendline(json.loads(made)["codes"][0])
        assert got_in(login, "alice") == expected
    site.machine.run("pam-iampass", "recovery", "revoke", "alice")
    found = [outcome for outcome, *_ in outcomes(site.machine.journal(cursor))]
    assert found[:2] == ["approved", "recovered"]
    site.machine.run("pam-iampass", "throttle", "clear", "alice")


def test_sudo_of_unconfined_and_of_confined_users(site: Site, cursor: str) -> None:
    site.set_up("sudo")
    login = site.sudo("alice")
    site.approve("alice")
    assert got_in(login, "root")
    site.machine.run("pam-iampass", "setup", "undo", "sshd")
    login = site.sudo_over_ssh("bob")  # runs in staff_sudo_t
    site.approve("bob")
    assert got_in(login, "root")
    assert [each[2:] for each in outcomes(site.machine.journal(cursor))] == [
        ("alice", "iampass-sudo"),
        ("bob", "iampass-sudo"),
    ]


def test_su_and_login_at_the_console(site: Site, cursor: str) -> None:
    site.set_up("su", "login")
    login = site.su("alice", "dave", PASSWORD)
    site.approve("dave")
    assert got_in(login, "dave")
    assert at_the_console(site)
    assert [each[2:] for each in outcomes(site.machine.journal(cursor))] == [
        ("dave", "su"),
        ("alice", "login"),
    ]


def test_check_and_doctor_find_the_machine_in_order(site: Site) -> None:
    for verb in ("check", "doctor"):
        done = site.machine.run("pam-iampass", verb, check=False)
        assert not re.search(r"selinux|unreadable", done.stdout, re.IGNORECASE), done.stdout
        assert "Traceback" not in done.stderr


def test_a_trial_of_setup_that_nobody_confirms_is_undone(site: Site) -> None:
    site.machine.run("pam-iampass", "setup", "undo")
    site.set_up("sshd", "--try", "1")
    login = site.ssh("alice")
    site.approve("alice")
    assert got_in(login, "alice")
    site.machine.wait("! test -e /etc/ssh/sshd_config.d/10-iampass.conf", "the trial is over")
    site.machine.wait("! systemctl list-units --no-legend 'pam-iampass*' | grep -q try", "its unit has ended")
    assert got_in(site.ssh("alice"), "alice")


@pytest.mark.denied("pam_iampass_t")
def test_doctor_finds_a_file_that_was_moved(site: Site) -> None:
    vm = site.machine
    site.set_up("sshd")
    users = "/etc/iampass/users.yaml"
    vm.shell(f"cp {users} /root; mv /root/users.yaml {users}; chgrp iampass {users}")
    assert not got_in(site.ssh("alice"), "alice")
    assert "/etc/iampass/users.yaml has context" in vm.run("pam-iampass", "doctor", check=False).stdout
    vm.run("restorecon", "-R", "/etc/iampass")
    login = site.ssh("alice")
    site.approve("alice")
    assert got_in(login, "alice")


# What the booleans do


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
    assert not got_in(site.ssh("alice"), "alice")
    doctor = site.machine.run("pam-iampass", "doctor", check=False).stdout
    assert "SELinux keeps logins from the agent: pam_iampass_sshd is off" in doctor


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
def no_agent(site: Site) -> Iterator[None]:
    """A machine on which the agent does not run."""
    site.set_up("sshd")
    site.machine.run("systemctl", "stop", f"{AGENT}.socket", f"{AGENT}.service")
    yield
    site.machine.run("systemctl", "start", f"{AGENT}.socket")


@pytest.mark.denied("sshd_t")
def test_without_agent_sshd_must_not_do_its_work(site: Site, no_agent: None) -> None:
    assert not got_in(site.ssh("alice"), "alice")


@pytest.mark.parametrize("boolean", [("pam_iampass_without_agent", "on")], indirect=True)
def test_with_pam_iampass_without_agent_it_does(
    site: Site, cursor: str, no_agent: None, boolean: str
) -> None:
    login = site.ssh("alice")
    site.approve("alice")
    assert got_in(login, "alice")
    assert [each[0] for each in outcomes(site.machine.journal(cursor))] == ["approved"]


@pytest.fixture
def other_port(site: Site) -> Iterator[Sandbox]:
    """IAMPASS on a port that is not for the web."""
    with Sandbox(application_id="demo", listen=("127.0.0.1", 9876), names=("iampass.test",)) as sandbox:
        sandbox.add_user(token_of("alice"))
        sandbox.auto = "approve"
        site.configure(sandbox)
        yield sandbox
    site.configure()


@pytest.mark.denied("pam_iampass_t")
def test_the_agent_connects_to_web_ports_only(site: Site, other_port: Sandbox, cursor: str) -> None:
    assert not got_in(site.ssh("alice"), "alice")
    assert [each[0] for each in outcomes(site.machine.journal(cursor))] == ["unavailable"]


@pytest.mark.parametrize("boolean", [("pam_iampass_any_port", "on")], indirect=True)
def test_with_pam_iampass_any_port_it_connects_to_others(
    site: Site, other_port: Sandbox, boolean: str
) -> None:
    assert got_in(site.ssh("alice"), "alice")


def test_every_rule_is_used(vm: Machine, site: Site) -> None:
    log = vm.shell("cat /var/log/audit/audit.log*")
    cil = vm.read("/root/pam_iampass.cil")
    unused = set(rules(cil)) - used(log)
    for each in sorted(used(log)):
        print("used", each)
    assert not unused, "\n".join(map(str, sorted(unused)))


# The package


@pytest.mark.denied("sshd_t")
def test_doctor_finds_that_the_policy_is_missing_and_the_package_mends_it(site: Site) -> None:
    vm = site.machine
    vm.run("dpkg", "-r", "pam-iampass-selinux", timeout=600)
    doctor = vm.run("pam-iampass", "doctor", check=False).stdout
    assert "SELinux is enforcing, and has no policy for pam-iampass" in doctor
    assert not got_in(site.ssh("alice"), "alice")
    vm.shell("dpkg -i /root/packages/pam-iampass-selinux_*.deb 2>&1")
    doctor = vm.run("pam-iampass", "doctor", check=False).stdout
    assert "SELinux" not in doctor
    login = site.ssh("alice")
    site.approve("alice")
    assert got_in(login, "alice")

"""Logins, the commands of the administrator, and kept sessions."""

from __future__ import annotations

import json
import re

import pytest

from pam_iampass.system.database import RESERVE
from pam_iampass.system.paths import STATE
from tests.client.connect_proxy import connect_proxy
from tests.packages.administrator import PASSWORD
from tests.packages.people import KEY, PROMPT, WHO, got_in, outcomes, press_enter, type_password
from tests.vm.machine import Machine
from tests.vm.selinux.console import at_the_console
from tests.vm.site import AGENT, PORT, Site

#: Asks the kernel to which sockets the domains of these contexts may write, which is to connect to them.
MAY_CONNECT = """
import selinux, sys
kind = selinux.string_to_security_class("sock_file")
write = selinux.string_to_av_perm(kind, "write")
for source in sys.argv[1:]:
    for name in ("runtime", "control"):
        found = selinux.av_decision()
        selinux.security_compute_av(source, f"system_u:object_r:pam_iampass_{name}_t:s0", kind, write, found)
        print(f"{name}: {bool(found.allowed & write)}")
"""


def test_the_policy_is_enforced_and_names_everything_of_ours(vm: Machine, site: Site) -> None:
    assert vm.run("getenforce").stdout == "Enforcing\n"
    assert vm.run("semodule", "-l").stdout.split().count("pam_iampass") == 1
    shown = vm.run(
        "matchpathcon",
        "-V",
        "/etc/iampass/users.yaml",
        "/run/iampass/pam.sock",
        "/run/iampass/control.sock",
        "/run/iampass/metrics",
        "/run/iampass/metrics/agent.prom",
        "/var/lib/iampass",
    )
    assert all(line.endswith("verified.") for line in shown.stdout.splitlines()), shown.stdout


def test_those_who_ask_for_a_login_may_not_ask_as_an_administrator(vm: Machine, site: Site) -> None:
    assert (
        vm.run("stat", "-c", "%C", "/run/iampass/control.sock").stdout.split(":")[2]
        == "pam_iampass_control_t"
    )
    system = (f"system_u:system_r:{domain}:s0" for domain in ("sshd_t", "local_login_t"))
    staff = (f"staff_u:staff_r:{domain}:s0" for domain in ("staff_sudo_t", "staff_su_t"))
    answers = vm.run("python3", "-c", MAY_CONNECT, *system, *staff).stdout.splitlines()
    assert answers == ["runtime: True", "control: False"] * 4


def test_sshd_asks_in_the_account_phase(site: Site, cursor: str) -> None:
    site.set_up("sshd", "--no-prompt")
    site.machine.run("modprobe", "-r", "tcp_diag")  # which the kernel loads for the agent
    for user in ("alice", "bob"):  # bob is confined
        login = site.ssh(user)
        site.approve(user)
        assert got_in(login, user)
    login = site.ssh("alice")
    site.deny("alice")
    assert not got_in(login, "alice")
    service = "sshd"
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
    assert int(vm.run("stat", "-c", "%s", STATE).stdout) > RESERVE  # it has seen that the disk has room
    figures = "/run/iampass/metrics/agent.prom"
    vm.wait(f"[ -s {figures} ]", "the agent has written its figures")
    assert ":pam_iampass_metrics_t:" in vm.shell(f"ls -Z {figures}")


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
        ("alice", "sudo"),
        ("bob", "sudo"),
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


def test_su_of_a_confined_user(site: Site, cursor: str) -> None:
    login = site.ssh("bob", f"su dave -c '{WHO}'", options=(*KEY, "-tt"))  # runs in staff_su_t
    type_password(login)
    site.approve("dave")
    assert got_in(login, "dave")
    assert [each[2:] for each in outcomes(site.machine.journal(cursor))] == [("dave", "su")]


def test_through_a_proxy_and_with_a_name_to_look_up(site: Site, cursor: str) -> None:
    site.set_up("sshd", "--no-prompt")
    with connect_proxy(("127.0.0.1", PORT), port=3128):
        site.configure(proxy="http://10.0.2.2:3128")
        login = site.ssh("alice")
        site.approve("alice")
        assert got_in(login, "alice")
    site.machine.write("/etc/resolv.conf", "nameserver 10.0.2.2\n")
    site.configure(server="https://no-such-name.example.com")
    assert not got_in(site.ssh("alice"), "alice")
    site.configure()
    found = [outcome for outcome, *_ in outcomes(site.machine.journal(cursor))]
    assert found == ["approved", "unavailable"]


def test_check_finds_the_machine_in_order(site: Site) -> None:
    for options in ((), ("--settings",)):
        done = site.machine.run("pam-iampass", "check", *options, check=False)
        assert not re.search(r"selinux|unreadable", done.stdout, re.IGNORECASE), done.stdout
        assert "Traceback" not in done.stderr


def test_a_trial_of_setup_that_nobody_confirms_is_undone(site: Site) -> None:
    site.machine.run("pam-iampass", "setup", "undo")
    site.set_up("sshd", "--no-prompt", "--try", "1h")
    login = site.ssh("alice")
    site.approve("alice")
    assert got_in(login, "alice")
    site.machine.run("date", "-s", "+1 hour")
    site.machine.wait("! grep -q iampass /etc/pam.d/sshd", "the trial is over")
    site.machine.run("date", "-s", "-1 hour")
    assert got_in(site.ssh("alice"), "alice")


def test_a_kept_session_that_is_closed_on_the_phone_ends_the_login(site: Site) -> None:
    site.configure(session="{keep: true, check: 5s}")
    site.set_up("sshd", "login", "--no-prompt")
    assert at_the_console(site)
    login = site.ssh("alice", "echo In; exec sleep 1000", options=(*KEY, "-tt"))
    site.approve("alice")
    login.expect("In\\r\\n")
    vm = site.machine
    vm.wait("ls /run/iampass/logins | grep -q .", "the door has registered the login")
    assert ":pam_iampass_logins_t:" in vm.shell("ls -Z /run/iampass/logins")
    vm.run("systemctl", "restart", AGENT)  # which finds the login again
    site.iampass.close(site.last)
    assert login.finish() != 0
    vm.wait("! ls /run/iampass/logins | grep -q .", "the login is over")
    site.configure()


@pytest.mark.denied("pam_iampass_t")
def test_check_finds_a_file_that_was_moved(site: Site) -> None:
    vm = site.machine
    site.set_up("sshd", "--no-prompt")
    users = "/etc/iampass/users.yaml"
    vm.shell(f"cp {users} /root; mv /root/users.yaml {users}; chgrp _iampass {users}")
    assert not got_in(site.ssh("alice"), "alice")
    check = vm.run("pam-iampass", "check", check=False).stdout
    assert "/etc/iampass/users.yaml has context" in check
    assert "[selinux-denies]" in check
    vm.run("restorecon", "-R", "/etc/iampass")
    login = site.ssh("alice")
    site.approve("alice")
    assert got_in(login, "alice")

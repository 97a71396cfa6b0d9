"""Logins through the system's own sshd, sudo and su, with the agent started by its socket."""

from __future__ import annotations

import json
import re
import time

import pytest

from tests.packages.administrator import PASSWORD, Administrator
from tests.packages.booted import Booted
from tests.packages.people import KEY, PROMPT, SSH, People, got_in, outcomes, press_enter, type_password
from tests.packages.phone import PORT


@pytest.fixture(scope="module")
def sshd(administrator: Administrator) -> str:
    """sshd asks for the key and the phone, sudo for the password and the phone; the service's name for sshd."""
    administrator.start_iampass()
    administrator.configure()
    administrator.set_up("sshd", "sudo", "--key")
    return "sshd"


@pytest.fixture
def cursor(machine: Booted, administrator: Administrator, sshd: str) -> str:
    """Where the journal was when the test began, with the usual settings, and nobody's phone in a cool-off."""
    administrator.configure()
    machine.run("pam-iampass", "throttle", "clear", "alice")
    return machine.cursor()


def test_a_login_that_the_phone_approves(machine: Booted, people: People, sshd: str, cursor: str) -> None:
    login = people.ssh("alice")
    press_enter(login)
    people.phone.approve("alice")
    assert got_in(login, "alice")
    [record] = machine.journal(cursor, SYSLOG_IDENTIFIER="pam_iampass")
    assert outcomes([record]) == [("approved", "success", "alice", sshd)]
    assert record["IAMPASS_RHOST"] == "127.0.0.1"
    assert record["SYSLOG_FACILITY"] == "10"
    assert int(record["IAMPASS_ELAPSED_MS"]) > 0
    assert record["_SYSTEMD_UNIT"] == "pam-iampass-agent.service"
    assert "A login of alice through" in machine.explained(cursor)


def test_a_login_that_the_phone_denies(machine: Booted, people: People, sshd: str, cursor: str) -> None:
    login = people.ssh("alice")
    press_enter(login)
    people.phone.deny("alice")
    assert not got_in(login, "alice")
    assert outcomes(machine.journal(cursor)) == [("denied", "denied", "alice", sshd)]


def test_a_login_that_nobody_answers(
    machine: Booted, administrator: Administrator, people: People, sshd: str, cursor: str
) -> None:
    administrator.configure(timeout="8s")
    login = people.ssh("alice")
    press_enter(login)
    assert not got_in(login, "alice")
    assert outcomes(machine.journal(cursor)) == [("timed_out", "denied", "alice", sshd)]


def test_enrollment_makes_a_user_who_can_log_in(
    machine: Booted, administrator: Administrator, people: People, sshd: str, cursor: str
) -> None:
    login = people.ssh("carol")
    press_enter(login)
    assert not got_in(login, "carol")
    enrollment = machine.terminal("pam-iampass", "enroll", "carol", "--timeout", "60s")
    enrollment.expect(re.escape(f"https://127.0.0.1:{PORT}") + r"(/register/[A-Za-z0-9_-]+)")
    people.phone.register(enrollment.match.group(1))
    assert enrollment.finish() == 0, enrollment.shown
    token = json.loads(machine.run("pam-iampass", "user", "show", "carol", "--json").stdout)["token"]
    login = people.ssh("carol")
    press_enter(login)
    people.phone.approve(token=token)
    assert got_in(login, "carol")
    machine.run("pam-iampass", "user", "remove", "carol")
    assert outcomes(machine.journal(cursor)) == [
        ("unlisted", "denied", "carol", sshd),
        ("approved", "success", "carol", sshd),
    ]


def test_a_user_without_a_token(machine: Booted, people: People, sshd: str, cursor: str) -> None:
    login = people.ssh("carol")
    press_enter(login)
    assert not got_in(login, "carol")
    assert outcomes(machine.journal(cursor)) == [("unlisted", "denied", "carol", sshd)]


def test_a_user_without_a_phone(machine: Booted, people: People, sshd: str, cursor: str) -> None:
    login = people.ssh("dave")
    press_enter(login)
    assert not got_in(login, "dave")
    assert outcomes(machine.journal(cursor)) == [("no_device", "denied", "dave", sshd)]


@pytest.mark.parametrize(("policy", "result"), [("deny", "denied"), ("ignore", "ignored")])
def test_iampass_is_down(
    machine: Booted,
    administrator: Administrator,
    people: People,
    sshd: str,
    cursor: str,
    policy: str,
    result: str,
) -> None:
    administrator.configure(unavailable=policy)
    administrator.stop_iampass()
    login = people.ssh("alice")
    press_enter(login)
    entered = got_in(login, "alice")
    administrator.start_iampass()
    assert entered == (policy == "ignore")
    assert outcomes(machine.journal(cursor)) == [("unavailable", result, "alice", sshd)]


def test_a_recovery_code_instead_of_the_phone(
    machine: Booted, people: People, sshd: str, cursor: str
) -> None:
    codes = json.loads(machine.run("pam-iampass", "recovery", "new", "alice", "--yes", "--json").stdout)[
        "codes"
    ]
    for expected in (True, False):  # the second time it is spent
        login = people.ssh("alice")
        login.expect(PROMPT)
        login.sendline(codes[0])
        assert got_in(login, "alice") == expected
    machine.run("pam-iampass", "recovery", "revoke", "alice")
    [first, second] = outcomes(machine.journal(cursor))
    assert first == ("recovered", "success", "alice", sshd)
    assert second[1:] == ("denied", "alice", sshd)


def test_sudo_in_a_shell_over_ssh(machine: Booted, people: People, sshd: str, cursor: str) -> None:
    login = people.ssh("alice", "sudo -k sh -c 'echo In as $(id -un).'", options=(*KEY, "-tt"))
    press_enter(login)
    people.phone.approve("alice")
    type_password(login)
    people.phone.approve("alice")
    assert got_in(login, "root")
    assert outcomes(machine.journal(cursor)) == [
        ("approved", "success", "alice", sshd),
        ("approved", "success", "alice", "sudo"),
    ]


def test_su_asks_who_calls_for_root_and_the_target_otherwise(
    machine: Booted, administrator: Administrator, people: People, cursor: str
) -> None:
    administrator.configure(services="{su: {approver: caller}}")
    administrator.set_up("su")
    for target, password, approver in (("root", "root's own", "alice"), ("bob", PASSWORD, "bob")):
        login = people.su("alice", target, password)
        people.phone.approve(approver)
        assert got_in(login, target)
    administrator.undo("su")
    records = machine.journal(cursor)
    assert outcomes(records) == [("approved", "success", name, "su") for name in ("root", "bob")]
    people_of = [
        (each["IAMPASS_CALLER"], each["IAMPASS_APPROVER"]) for each in records if "IAMPASS_CALLER" in each
    ]
    assert people_of[-2:] == [("alice", "alice"), ("alice", "bob")]


def test_scp_sftp_and_a_second_connection_through_the_first(
    machine: Booted, people: People, sshd: str, cursor: str
) -> None:
    machine.shell("echo precious > /root/file; chmod 644 /root/file")
    options = [*SSH, *KEY]
    copying = machine.terminal("scp", "-q", *options, "/root/file", "alice@127.0.0.1:by-scp")
    press_enter(copying)
    people.phone.approve("alice")
    assert copying.finish() == 0, copying.shown
    machine.write("/root/batch", "put /root/file by-sftp\n")
    # With a batch sftp asks nothing: ssh below it has the terminal all the same.
    putting = machine.terminal("sftp", "-q", *options, "alice@127.0.0.1")
    press_enter(putting)
    people.phone.approve("alice")
    putting.expect("sftp> ")
    putting.sendline("put /root/file by-sftp")
    putting.expect("sftp> ")
    putting.sendline("bye")
    assert putting.finish() == 0, putting.shown
    assert machine.shell("cat /home/alice/by-scp /home/alice/by-sftp") == "precious\nprecious\n"
    control = ("-o", "ControlPath=/root/control")
    first = people.ssh("alice", "echo Ready; cat", options=(*KEY, "-o", "ControlMaster=yes", *control))
    press_enter(first)
    people.phone.approve("alice")
    first.expect("Ready")
    assert got_in(people.ssh("alice", options=(*KEY, *control)), "alice")
    first.kill()
    assert outcomes(machine.journal(cursor)) == [("approved", "success", "alice", sshd)] * 3


def test_without_the_key_nobody_gets_to_the_phone(
    machine: Booted, people: People, sshd: str, cursor: str
) -> None:
    login = people.ssh("alice", options=("-o", "PubkeyAuthentication=no"))
    assert not got_in(login, "alice")
    assert outcomes(machine.journal(cursor)) == []


def test_the_watchdog_is_content_with_an_idle_agent(
    machine: Booted, people: People, sshd: str, cursor: str
) -> None:
    before = machine.run("systemctl", "show", "-P", "MainPID", "pam-iampass-agent.service").stdout
    period = int(
        machine.run("systemctl", "show", "-P", "WatchdogUSec", "pam-iampass-agent.service").stdout.strip()[
            :-2
        ]
    )
    time.sleep(period + 3)
    after = machine.run("systemctl", "show", "-P", "MainPID", "pam-iampass-agent.service").stdout
    assert (before, machine.journal(cursor, _SYSTEMD_UNIT="pam-iampass-agent.service")) == (after, [])

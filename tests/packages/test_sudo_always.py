"""`setup sudo --always` on a booted machine: programs that sudo starts without a password ask the phone each time."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.packages.administrator import Administrator
from tests.packages.booted import Booted
from tests.packages.kept_logins import SETTINGS, Login, all_log_out, ended, wait_for
from tests.packages.people import People, outcomes, type_password
from tests.support.deadline import DENIED
from tests.support.terminal import Terminal

PROGRAMS = ["sudo"] if os.environ.get("PACKAGES_RELEASE") == "bookworm" else ["sudo", "sudo-rs"]
WHO = "sh -c 'echo as-root-$(id -u)'"
AS_ROOT = "as-root-0"
REFUSED = {"sudo": DENIED, "sudo-rs": "Permission denied"}
"""What a denied command without a terminal shows: sudo-rs then passes on no text of a module."""


@pytest.fixture(scope="module")
def ready(machine: Booted, administrator: Administrator) -> Administrator:
    """sshd and sudo ask the phone, and alice needs no password for sudo."""
    administrator.start_iampass()
    administrator.configure(session=SETTINGS)
    more = [program for program in PROGRAMS if program != "sudo"]
    machine.shell(
        f"""
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ansible-core {" ".join(more)}
        echo 'alice ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/alice
        chmod 440 /etc/sudoers.d/alice
        """
    )
    administrator.set_up("sshd", "--no-prompt")
    said = administrator.set_up("sudo", "--always")
    assert "for each command" in machine.run("pam-iampass", "setup", "status").stdout, said
    return administrator


@pytest.fixture
def cursor(machine: Booted, ready: Administrator, people: People) -> Iterator[str]:
    """Where the journal was when the test began, with nobody logged in and no phone in backoff."""
    machine.run("pam-iampass", "throttle", "clear", "alice")
    yield machine.cursor()
    all_log_out(machine)


def by_alice(machine: Booted, command: str) -> Terminal:
    """A command of alice's, in no login."""
    return machine.terminal("runuser", "-u", "alice", "--", "sh", "-c", command)


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_command_asks_and_a_pipe_has_no_byte_of_ours(
    machine: Booted, people: People, cursor: str, program: str
) -> None:
    for _ in range(2):
        sudo = by_alice(machine, f"setsid --wait {program} -n {WHO} < /dev/null 2> /tmp/told | cat")
        people.phone.approve("alice")
        assert (sudo.finish(), sudo.shown.split()) == (0, [AS_ROOT])
    sudo = by_alice(machine, f"setsid --wait {program} -n {WHO} < /dev/null; echo status $?")
    people.phone.deny("alice")
    sudo.expect_exact(REFUSED[program])
    sudo.expect_exact("status 1")
    sudo.finish()
    assert AS_ROOT not in sudo.shown
    assert [found[0] for found in outcomes(machine.journal_now(cursor))] == ["approved", "approved", "denied"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_within_a_login_that_is_kept_it_is_covered_until_the_login_ends(
    machine: Booted, people: People, cursor: str, program: str
) -> None:
    login = Login(machine, people)
    login.terminal.sendline(f"{program} -n {WHO}")
    login.terminal.expect_exact(AS_ROOT)
    assert people.phone.requests() == []
    login.terminal.sendline("exit")
    wait_for(lambda: ended(machine, people, login), "the login ends")
    sudo = by_alice(machine, f"{program} -n {WHO}")
    people.phone.deny("alice")
    sudo.expect_exact(DENIED)
    assert sudo.finish() == 1
    found = [(outcome, service) for outcome, _, _, service in outcomes(machine.journal_now(cursor))]
    assert found[:2] == [("approved", "sshd"), ("covered", "sudo")]
    assert found[-1] == ("denied", "sudo")


@pytest.mark.parametrize("program", PROGRAMS)
def test_without_the_agent_nobody_but_root_runs_a_command_whatever_the_line_rescues(
    machine: Booted, cursor: str, program: str
) -> None:
    machine.shell(
        """
        sed -i 's/pam_iampass.so always/& rescue=alice/' /etc/pam.d/sudo
        grep -q rescue= /etc/pam.d/sudo
        systemctl stop pam-iampass-agent.socket pam-iampass-agent.service
        """
    )
    try:
        sudo = by_alice(machine, f"{program} -n {WHO}")
        assert sudo.finish() != 0
        assert AS_ROOT not in sudo.shown
        assert machine.run(program, "-n", "-u", "alice", "id", "-un").stdout == "alice\n"
    finally:
        machine.shell(
            """
            sed -i 's/ rescue=alice//' /etc/pam.d/sudo
            systemctl start pam-iampass-agent.socket pam-iampass-agent.service
            """
        )


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_way_to_run_a_command_asks_and_what_runs_none_does_not(
    machine: Booted, people: People, cursor: str, program: str
) -> None:
    for words, statuses in (("-n -l", {0}), ("-n -v", {1}), ("-k", {0})):  # she is in the group sudo, too
        assert by_alice(machine, f"{program} {words}").finish() in statuses
    assert machine.run(program, "-n", "-u", "alice", "id", "-un").stdout == "alice\n"
    assert (people.phone.requests(), outcomes(machine.journal_now(cursor))) == ([], [])
    ways = [f"{program} -n -k {WHO}", f"{program} -n -i id -u", f"{program} -n -u bob id -un"]
    if program == "sudo":  # that of Debian 13's sudo-rs is too old: setup would refuse it
        ways.append("EDITOR=cat sudoedit -n /etc/hostname")
    for way in ways:
        run = by_alice(machine, way)
        people.phone.approve("alice")
        assert run.finish() == 0, run.shown
    assert [found[0] for found in outcomes(machine.journal_now(cursor))] == ["approved"] * len(ways)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_password_that_is_remembered_spares_no_request_and_ctrl_c_ends_one(
    machine: Booted, people: People, cursor: str, program: str
) -> None:
    machine.shell("mv /etc/sudoers.d/alice /root/alice; echo 'alice ALL=(ALL) ALL' > /etc/sudoers.d/alice")
    try:
        shell = machine.terminal("runuser", "-u", "alice", "--", "sh", "-i")
        shell.sendline(f"{program} {WHO}")
        type_password(shell)
        for _ in range(2):
            people.phone.approve("alice")
            shell.expect_exact(AS_ROOT)
            shell.expect_exact("$ ")  # as sudo-rs ends, it discards what was typed
            shell.sendline(f"{program} -n {WHO}")
        people.phone.request("alice")
        shell.send("\x03")
        wait_for(lambda: not people.phone.requests(), "the request ends")
        shell.sendline("exit")
        shell.finish()
    finally:
        machine.shell("mv /root/alice /etc/sudoers.d/alice")
    found = [outcome for outcome, _, _, service in outcomes(machine.journal_now(cursor)) if service == "sudo"]
    assert found == ["approved", "approved", "cancelled"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_bypass_lets_run_commands_and_an_exempt_account_is_not_asked(
    machine: Booted, people: People, ready: Administrator, cursor: str, program: str
) -> None:
    machine.run("pam-iampass", "bypass", "alice", "--for", "10m", "--reason", "test")
    try:
        assert by_alice(machine, f"{program} -n {WHO}").finish() == 0
    finally:
        machine.run("pam-iampass", "bypass", "end", "alice")
    ready.configure(session=SETTINGS, exempt="{users: [alice]}")
    try:
        assert by_alice(machine, f"{program} -n {WHO}").finish() == 0
    finally:
        ready.configure(session=SETTINGS)
    assert people.phone.requests() == []
    assert [found[0] for found in outcomes(machine.journal_now(cursor))] == ["bypassed", "exempt"]


def test_ansible_with_become_asks_for_each_task_and_a_denial_fails_the_task(
    machine: Booted, people: People, cursor: str
) -> None:
    task = "cd; LC_ALL=C.UTF-8 ansible localhost -i localhost, -c local --become -T 60 -m raw -a id"
    run = by_alice(machine, task)
    people.phone.approve("alice")
    assert run.finish() == 0, run.shown
    assert "uid=0(root)" in run.shown
    run = by_alice(machine, task)
    people.phone.deny("alice")
    assert run.finish() == 2, run.shown
    assert "uid=0" not in run.shown
    commands = [each.get("IAMPASS_COMMAND", "") for each in machine.journal_now(cursor)]
    assert sum("sudo -H -S -n -u root" in command for command in commands) == 2

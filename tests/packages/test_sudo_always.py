"""`setup sudo --always` on a booted machine: programs that sudo starts without a password ask the phone each time."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.packages.administrator import Administrator
from tests.packages.booted import Booted
from tests.packages.kept_logins import SETTINGS, Login, all_log_out, ended, wait_for
from tests.packages.people import People, outcomes
from tests.support.terminal import Terminal

PROGRAMS = ["sudo"] if os.environ.get("PACKAGES_RELEASE") == "bookworm" else ["sudo", "sudo-rs"]
WHO = "sh -c 'echo as-root-$(id -u)'"
AS_ROOT = "as-root-0"
DENIED = {"sudo": "Denied on your phone.", "sudo-rs": "Permission denied"}
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
    sudo.expect_exact(DENIED[program])
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
    sudo.expect_exact("Denied on your phone.")
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
            "sed -i 's/ rescue=alice//' /etc/pam.d/sudo; systemctl start pam-iampass-agent.socket pam-iampass-agent.service"
        )


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

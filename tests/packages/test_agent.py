"""What a login makes of an agent that is killed, restarted or upgraded, and of a disk that is full."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from tests.packages.administrator import Administrator, built, newer
from tests.packages.booted import Booted
from tests.packages.people import KEY, People, got_in, outcomes, press_enter, type_password

AGENT = "pam-iampass-agent.service"


@pytest.fixture(scope="module")
def ready(administrator: Administrator) -> Administrator:
    """sshd and sudo ask the phone."""
    administrator.start_iampass()
    administrator.configure()
    administrator.set_up("sshd", "sudo", "--key")
    return administrator


@pytest.fixture
def cursor(machine: Booted, ready: Administrator) -> str:
    """Where the journal was when the test began."""
    for user in ("alice", "bob"):
        machine.run("pam-iampass", "throttle", "clear", user)
    return machine.cursor()


def log_in(people: People, user: str) -> bool:
    """A login that the phone approves."""
    login = people.ssh(user)
    press_enter(login)
    people.phone.approve(user)
    return got_in(login, user)


def main_pid(machine: Booted) -> str:
    """The agent's process."""
    return machine.run("systemctl", "show", "-P", "MainPID", AGENT).stdout.strip()


@pytest.mark.parametrize("how", ["killed", "restarted"])
def test_an_agent_that_ends_in_the_middle_of_a_login(
    machine: Booted, people: People, cursor: str, how: str
) -> None:
    login = people.ssh("alice")
    press_enter(login)
    people.phone.request("alice")
    before = main_pid(machine)
    if how == "killed":
        machine.run("kill", "-KILL", before)
    else:
        machine.run("systemctl", "restart", AGENT)
    asked = time.monotonic()
    assert not got_in(login, "alice")
    assert time.monotonic() - asked < 40  # the login has 60 seconds
    # The next one is as ever. It is bob's: alice's cannot tell that her request was given up, if the agent was killed.
    assert log_in(people, "bob")
    assert main_pid(machine) not in ("0", before)
    # Where the agent could not leave a record any more, the door does, in one line of text.
    said = [str(record["MESSAGE"]) for record in machine.journal(cursor)]
    assert len([line for line in said if "outcome=unavailable result=denied user=alice" in line]) == 1, said


def test_an_upgrade_in_the_middle_of_a_login(
    machine: Booted, ready: Administrator, people: People, cursor: str, tmp_path: Path
) -> None:
    machine.shell("echo '# edited' >> /etc/iampass/iampass.yaml; echo '# edited' >> /etc/iampass/users.yaml")
    settings = machine.shell("cd /etc; sha256sum iampass/* pam.d/* ssh/sshd_config.d/* sudoers.d/*")
    socket = machine.run(
        "systemctl", "show", "-P", "ActiveEnterTimestampMonotonic", "pam-iampass-agent.socket"
    ).stdout
    login = people.ssh("alice")
    press_enter(login)
    people.phone.request("alice")
    before = main_pid(machine)
    ready.install(*(newer(package, tmp_path, "9") for package in built()))
    assert not got_in(login, "alice")
    assert "The phone check is restarting. Please try again." in login.shown
    machine.run("pam-iampass", "throttle", "clear", "alice")
    assert log_in(people, "alice")
    assert main_pid(machine) not in ("0", before)
    assert machine.run("dpkg-query", "-W", "-f", "${Version}", "libpam-iampass").stdout == "9"
    assert machine.shell("cd /etc; sha256sum iampass/* pam.d/* ssh/sshd_config.d/* sudoers.d/*") == settings
    assert machine.run("stat", "-c", "%U:%G %a", "/etc/iampass/iampass.yaml").stdout == "root:iampass 640\n"
    shown = machine.run(
        "systemctl", "show", "-P", "ActiveEnterTimestampMonotonic", "pam-iampass-agent.socket"
    ).stdout
    assert shown == socket  # it was open all the while


def test_with_a_full_run_logins_go_on(machine: Booted, people: People, cursor: str) -> None:
    machine.shell("mount -o remount,size=16M /run; cat /dev/zero > /run/full 2> /dev/null || :")
    assert log_in(people, "alice")
    machine.run("rm", "/run/full")
    [outcome] = outcomes(machine.journal(cursor))
    assert outcome[:3] == ("approved", "success", "alice")


def test_a_user_who_floods_the_journal_from_their_session_loses_no_record_of_their_sudo(
    machine: Booted, people: People, cursor: str
) -> None:
    machine.write(
        "/etc/systemd/journald.conf.d/flood.conf", "[Journal]\nRateLimitBurst=100\nRateLimitIntervalSec=1h\n"
    )
    machine.run("systemctl", "restart", "systemd-journald")
    flood = "for severity in crit err warning notice; do yes flood | head -n 5000 | logger -p user.$severity; done"
    # journald knows the session only of a process that still runs when it reads the record.
    later = "systemd-cat -t later -p notice sh -c 'echo later; exec sleep 1000' & sudo -k true; kill $!"
    login = people.ssh("alice", f"{flood}; {later}", options=(*KEY, "-tt"))
    press_enter(login)
    people.phone.approve("alice")
    type_password(login)
    people.phone.deny("alice")
    login.finish()
    records = machine.journal(cursor)
    machine.shell("rm /etc/systemd/journald.conf.d/flood.conf; systemctl restart systemd-journald")
    assert 0 < sum(each["MESSAGE"] == "flood" for each in records) < 20000, "the rest was dropped"
    assert not any(each.get("SYSLOG_IDENTIFIER") == "later" for each in records)
    assert [each[:2] for each in outcomes(records)] == [("approved", "success"), ("denied", "denied")]


def test_the_agent_is_small_and_well_afterwards(machine: Booted, people: People, cursor: str) -> None:
    assert log_in(people, "bob")
    assert machine.run("systemctl", "is-active", AGENT).stdout == "active\n"
    [resident] = re.findall(r"VmRSS:\s+(\d+) kB", machine.read(f"/proc/{main_pid(machine)}/status"))
    assert int(resident) < 100 * 1024

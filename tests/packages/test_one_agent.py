"""The agent is all there is: killed, upgraded, or unable to start, it is back at once, or one account gets in."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.packages.administrator import Administrator, built, newer
from tests.packages.booted import Booted
from tests.packages.people import People, got_in
from tests.support.world import wait_until

AGENT = "pam-iampass-agent.service"
#: What an upgrade leaves alone: the files, and the socket, which is open all the while.
KEPT = """
cd /etc; sha256sum iampass/*.yaml pam.d/* ssh/sshd_config.d/*; stat -c '%U:%G %a' iampass/iampass.yaml
systemctl show -P ActiveEnterTimestampMonotonic pam-iampass-agent.socket
"""


@pytest.fixture(scope="module")
def ready(administrator: Administrator) -> Administrator:
    """sshd asks the phone in the account phase, all but one account; sudo asks it too."""
    administrator.start_iampass()
    administrator.configure(exempt="{users: [exempt]}")
    administrator.set_up("sshd", "sudo")
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
    people.phone.approve(user)
    return got_in(login, user)


def exempt_gets_in(people: People) -> bool:
    """A login of the account that the settings exempt: the agent decides it."""
    return got_in(people.ssh("exempt"), "exempt")


def main_pid(machine: Booted) -> str:
    """The agent's process."""
    return machine.run("systemctl", "show", "-P", "MainPID", AGENT).stdout.strip()


def test_an_agent_that_is_killed_twenty_times_in_a_row_keeps_nobody_out(
    machine: Booted, people: People, cursor: str
) -> None:
    assert exempt_gets_in(people)  # it runs
    for _ in range(20):
        machine.run("kill", "-KILL", main_pid(machine))
        assert exempt_gets_in(people)
    assert log_in(people, "bob")
    assert machine.run("systemctl", "is-active", "pam-iampass-agent.socket").stdout == "active\n"
    records = machine.journal(cursor, SYSLOG_IDENTIFIER="pam_iampass")
    assert [one["IAMPASS_OUTCOME"] for one in records] == ["exempt"] * 21 + ["approved"]


def test_an_upgrade_while_logins_run_keeps_nobody_out_and_changes_no_settings(
    machine: Booted, ready: Administrator, people: People, cursor: str, tmp_path: Path
) -> None:
    machine.shell("echo '# edited' | tee -a /etc/iampass/iampass.yaml >> /etc/iampass/users.yaml")
    packages = [newer(package, tmp_path, "8") for package in built()]
    # Long enough for the login that has begun before the upgrade to be approved after it.
    machine.shell("sed -i 's/^timeout: .*/timeout: 280s/' /etc/iampass/iampass.yaml")
    machine.shell("echo LoginGraceTime 6m > /etc/ssh/sshd_config.d/05-grace.conf; systemctl restart ssh")
    before = machine.shell(KEPT)
    waiting = people.ssh("alice")
    request = people.phone.request("alice")
    first = main_pid(machine)
    over = threading.Event()

    def log_in_all_the_time() -> list[bool]:
        found: list[bool] = []
        while not over.is_set() or not found:
            found.append(exempt_gets_in(people))
            over.wait(0.5)  # the upgrade needs the processor, too, and must end before that login does
        return found

    with ThreadPoolExecutor(3) as pool:
        logins = [pool.submit(log_in_all_the_time) for _ in range(3)]
        try:
            ready.install(*packages)
        finally:
            over.set()
        results = [got for login in logins for got in login.result()]
    assert len(results) > 6
    assert all(results), results
    people.phone.answer(request, "approve")
    assert got_in(waiting, "alice")
    wait_until(lambda: main_pid(machine) not in ("0", first), "the next agent takes over")
    assert machine.shell(KEPT) == before
    assert machine.run("dpkg-query", "-W", "-f", "${Version}", "libpam-iampass").stdout == "8"
    assert log_in(people, "bob")


def test_in_its_unit_it_notices_that_a_client_hangs_up(machine: Booted, people: People, cursor: str) -> None:
    people.ssh("alice")
    people.phone.request("alice")
    machine.run("pkill", "-KILL", "-x", "ssh")
    [record] = wait_until(
        lambda: [one for one in machine.journal_now(cursor) if "IAMPASS_OUTCOME" in one], "it is recorded"
    )
    assert (record["IAMPASS_OUTCOME"], record["IAMPASS_REASON"]) == ("cancelled", "the ssh client hung up")


def test_with_a_full_run_logins_go_on(machine: Booted, people: People, cursor: str) -> None:
    machine.shell("mount -o remount,size=16M /run; cat /dev/zero > /run/full 2> /dev/null || :")
    assert log_in(people, "alice")
    machine.run("rm", "/run/full")


def test_the_watchdog_is_content_with_an_idle_agent(machine: Booted, people: People, cursor: str) -> None:
    assert log_in(people, "bob")
    cursor, before = machine.cursor(), main_pid(machine)
    period = machine.run("systemctl", "show", "-P", "WatchdogUSec", AGENT).stdout.strip()
    time.sleep(int(period.removesuffix("s")) + 3)
    assert (main_pid(machine), machine.journal(cursor, _SYSTEMD_UNIT=AGENT)) == (before, [])


def test_while_python_is_half_gone_a_running_agent_decides_and_afterwards_only_the_rescued_account_gets_in(
    machine: Booted, people: People, cursor: str
) -> None:
    """As in the middle of an upgrade of the release: the modules of Python cannot be imported."""
    assert log_in(people, "alice")
    machine.shell(
        "sed -i 's/pam_iampass.so/& rescue=exempt/' /etc/pam.d/sshd; grep -q rescue= /etc/pam.d/sshd"
    )
    machine.run("mv", "/usr/lib/python3/dist-packages/yaml", "/root/yaml")
    try:
        assert log_in(people, "bob")
        assert exempt_gets_in(people)
        machine.run("kill", "-KILL", main_pid(machine))
        assert exempt_gets_in(people)
        denied = people.ssh("alice")
        assert not got_in(denied, "alice")
        assert "The IAMPASS agent" in denied.shown
        sudo = people.sudo("bob")
        assert not got_in(sudo, "root")
    finally:
        machine.run("mv", "/root/yaml", "/usr/lib/python3/dist-packages/yaml")
        machine.shell("sed -i 's/ rescue=exempt//' /etc/pam.d/sshd")
    ours = [one for one in machine.journal_now(cursor) if one.get("SYSLOG_IDENTIFIER") == "pam_iampass"]
    alerts = [one for one in ours if one["PRIORITY"] == "1"]
    assert [one["MESSAGE"].partition(" rhost")[0] for one in alerts] == [
        "outcome=unavailable result=ignored user=exempt service=sshd"
    ]
    assert log_in(people, "alice")

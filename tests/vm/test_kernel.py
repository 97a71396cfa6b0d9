"""On a kernel and a disk of its own, with AppArmor as Debian enables it: a full disk, a clock that stops or jumps.

And control groups (cgroups(7)) of a user, who can freeze and kill a set-uid program there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.packages.people import KEY, PROMPT, WHO, got_in, outcomes, press_enter, type_password
from tests.support.terminal import Terminal
from tests.vm.machine import Machine
from tests.vm.qemu import PATIENCE
from tests.vm.site import AGENT, TIMEOUT, Site


@pytest.fixture
def cursor(site: Site) -> str:
    """Where the journal ended when the test began; sshd and sudo ask the phone."""
    site.set_up("sshd", "sudo", "--prompt")
    site.machine.run("pam-iampass", "throttle", "clear", "alice")
    return site.machine.cursor()


def test_apparmor_is_on_and_confines_neither_the_doors_nor_the_agent(site: Site, cursor: str) -> None:
    login = site.ssh("alice", "cat /proc/self/attr/current")
    press_enter(login)
    site.approve("alice")
    login.expect("unconfined")
    login.finish()
    login = site.sudo("alice")
    site.approve("alice")
    assert got_in(login, "root")
    vm = site.machine
    assert vm.read("/sys/module/apparmor/parameters/enabled") == "Y\n"
    agent = vm.run("systemctl", "show", "-P", "MainPID", "pam-iampass-agent").stdout.strip()
    assert vm.read(f"/proc/{agent}/attr/current").strip() == "unconfined"
    denied = vm.run("journalctl", "-q", "--no-pager", "-k", "-g", 'apparmor="DENIED"', check=False).stdout
    assert denied == ""


def test_what_an_administrator_does_is_recorded_with_their_login(site: Site, cursor: str) -> None:
    """Here the kernel has an audit session, and logind the address from which it was begun."""
    site.machine.run("pam-iampass", "setup", "undo", "sshd", "sudo")
    login = site.ssh("alice", "sudo -k pam-iampass throttle clear bob", options=(*KEY, "-tt"))
    type_password(login)
    assert login.finish() == 0, login.shown
    [record] = [one for one in site.machine.journal(cursor) if one.get("IAMPASS_EVENT") == "throttle_clear"]
    assert (record["IAMPASS_USER"], record["IAMPASS_CALLER"]) == ("bob", "alice")
    assert record["IAMPASS_RHOST"] == "127.0.0.1"


@pytest.fixture
def codes(site: Site, cursor: str) -> Iterator[list[str]]:
    """Recovery codes of alice."""
    made = site.machine.run("pam-iampass", "recovery", "new", "alice", "--yes", "--json").stdout
    yield json.loads(made)["codes"]
    site.machine.run("pam-iampass", "recovery", "revoke", "alice")


@pytest.fixture
def full_disk(vm: Machine, codes: list[str]) -> Iterator[None]:
    """No block of the disk is free, not even for root."""
    vm.shell(
        """
        fallocate -l $(df -B 1 --output=avail / | tail -n 1) /full
        for round in 1 2; do cat /dev/zero >> /full 2> /dev/null || :; sync; done
        """
    )
    assert vm.run("df", "--output=avail", "/").stdout.split()[-1] == "0"
    yield
    vm.run("rm", "-f", "/full")


def test_with_a_full_disk_the_phone_lets_in_and_a_code_is_good_once(
    vm: Machine, site: Site, codes: list[str], full_disk: None
) -> None:
    login = site.ssh("alice")
    press_enter(login)
    site.approve("alice")
    assert got_in(login, "alice")
    for expected in (True, False):
        login = site.ssh("alice")
        login.expect(PROMPT)
        login.sendline(codes[0])
        assert got_in(login, "alice") == expected


def test_a_clock_that_jumps_neither_ends_a_request_nor_makes_one_last(
    vm: Machine, site: Site, cursor: str
) -> None:
    login = site.ssh("alice")
    press_enter(login)
    site.request("alice")
    for jump in ("+2 hours", "-4 hours"):
        vm.run("date", "-s", jump)
    site.iampass.approve(site.last)
    assert got_in(login, "alice")
    vm.run("date", "-s", "+2 hours")


def test_the_time_for_an_answer_stands_still_while_the_machine_sleeps(
    vm: Machine, site: Site, cursor: str
) -> None:
    clocks = "import time; print(round(time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()))"
    before = int(vm.run("python3", "-c", clocks).stdout)
    # Otherwise IAMPASS, which does not sleep, would end the session 30 s after the time for an answer.
    site.configure(session="{keep: true}")
    login = site.ssh("alice")
    press_enter(login)
    site.request("alice")
    vm.run("rtcwake", "-m", "mem", "-s", f"{TIMEOUT + 3}")
    site.iampass.approve(site.last)
    assert got_in(login, "alice")
    assert int(vm.run("python3", "-c", clocks).stdout) - before >= TIMEOUT
    assert [each[0] for each in outcomes(vm.journal(cursor))] == ["approved"]
    site.configure()


#: Takes all the memory there is, page by page.
HOG = "held = []\nwhile True: held.append(b'x' * (1 << 24))"


def test_when_memory_runs_out_the_agent_is_not_killed(vm: Machine, site: Site, cursor: str) -> None:
    def agent() -> str:
        return vm.run("systemctl", "show", "-P", "MainPID", AGENT).stdout.strip()

    before = agent()
    assert vm.read(f"/proc/{before}/oom_score") == "0\n"
    vm.run("sysctl", "vm.overcommit_memory=1")
    assert vm.run("runuser", "-u", "bob", "--", "python3", "-c", HOG, check=False).returncode != 0
    killed = vm.run("journalctl", "-q", "--no-pager", "-k", "-g", "Out of memory: Killed process").stdout
    assert "(python3)" in killed
    assert f"Killed process {before} " not in killed
    assert agent() == before
    login = site.ssh("alice")
    press_enter(login)
    site.approve("alice")
    assert got_in(login, "alice")


class UserScope:
    """A control group that a user made, with a sudo of the user in it."""

    def __init__(self, vm: Machine, user: str) -> None:
        self._vm = vm
        runtime = vm.shell(f"echo /run/user/$(id -u {user})").strip()
        self._as_user = ("runuser", "-u", user, "--", "env", f"XDG_RUNTIME_DIR={runtime}")
        run = ("systemd-run", "--user", "--quiet", "--scope", "--unit=mine", "sudo", "-k", "sh", "-c", WHO)
        self.sudo: Terminal = vm.terminal(*self._as_user, *run)
        type_password(self.sudo)

    def write(self, file: str, value: str) -> None:
        """Write to a file of the control group, as the user."""
        folder = "/sys/fs/cgroup$(systemctl --user show -P ControlGroup mine.scope)"
        self._vm.run(*self._as_user, "sh", "-euc", f"echo {value} > {folder}/{file}")


@pytest.fixture
def group(vm: Machine, site: Site, cursor: str) -> UserScope:
    """A control group of alice."""
    vm.run("loginctl", "enable-linger", "alice")  # starts the manager of her services
    vm.wait("systemctl is-active -q user@$(id -u alice)", "her manager of services runs")
    return UserScope(vm, "alice")


def next_login(site: Site) -> bool:
    """A login of alice by ssh, which is asked for and approved; whether she got in."""
    login = site.ssh("alice")
    press_enter(login)
    site.approve("alice")
    return got_in(login, "alice")


def test_a_sudo_that_its_user_freezes_keeps_no_login_waiting_and_lets_nobody_in_late(
    vm: Machine, site: Site, cursor: str, group: UserScope
) -> None:
    site.request("alice")
    group.write("cgroup.freeze", "1")
    site.iampass.wait_for_end(site.last, PATIENCE)
    assert next_login(site)
    assert [each[0] for each in outcomes(vm.journal(cursor))] == ["timed_out", "approved"]
    group.write("cgroup.freeze", "0")
    assert not got_in(group.sudo, "root")


def test_the_request_of_a_sudo_that_its_user_kills_is_ended_and_the_next_login_has_its_turn(
    vm: Machine, site: Site, cursor: str, group: UserScope
) -> None:
    site.request("alice")
    group.write("cgroup.kill", "1")
    site.iampass.wait_for_end(site.last, PATIENCE)
    assert not got_in(group.sudo, "root")
    assert next_login(site)
    assert [each[0] for each in outcomes(vm.journal(cursor))] == ["cancelled", "approved"]

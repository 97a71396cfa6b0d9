"""The power fails in the middle of a login with a recovery code, of `setup`, and of a trial."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.packages.people import PROMPT, got_in
from tests.support.terminal import Terminal
from tests.vm.machine import Machine
from tests.vm.site import AGENT, Site

#: When the power fails: strace holds the process before or after it writes to the log of its file, or asks for that to
#: be on the disk. With it, how many of the ten codes may be left.
REDEEMED = {
    "before anything is written": ("delay_enter", "pwrite64", {10}),
    "before that is on the disk": ("delay_enter", "fdatasync", {9, 10}),
    "before the user is let in": ("delay_exit", "fdatasync", {9}),
}
PROGRAM = "/usr/bin/python3 -I -S /usr/lib/pam-iampass/agent"
SETUP = ("pam-iampass", "setup", "sshd", "sudo", "--prompt", "--force")
FILES = "cd /etc; find pam.d ssh/sshd_config.d sudoers.d -type f | sort | xargs sha256sum"
STOPPED = """
process=$(pgrep -oxf "$1")
for round in 1 2 3; do
    grep -q '^State:.t' /proc/$process/task/*/status
    sleep 0.3
done
"""
FAST = "--seccomp-bpf"  # strace is not asked about other system calls: emulated, setup would take minutes
FOR_EVER = 3_000_000_000  # microseconds; less than 2**32


def inject(when: str, number: int, call: str = "fsync") -> list[str]:
    """The options of strace that hold a process at a moment: the Nth time that it makes a system call."""
    return [
        "-f",
        "-o",
        "/run/strace",
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:{when}={FOR_EVER}:when={number}",
    ]


def wait_until_held(vm: Machine, command: str) -> None:
    """Wait until strace holds the process with this command line."""
    vm.wait(STOPPED, f"{command} has come to the moment", command)


def lose_power(vm: Machine, off: float = 0.0) -> None:
    """The power fails, and comes back; by the machine's clock, after so many seconds."""
    vm.lose_power()
    Terminal.kill_all()
    vm.boot(ahead=off)
    vm.run("systemctl", "start", AGENT)


@pytest.fixture(scope="module")
def before(site: Site) -> str:
    """The files of /etc before any `setup`."""
    return site.machine.shell(f"sync; {FILES}")


@pytest.fixture
def undone(site: Site, before: str) -> Iterator[None]:
    """Afterwards, everything can be undone, and a user logs in."""
    yield
    site.machine.run("pam-iampass", "setup", "undo")
    assert site.machine.shell(FILES) == before
    assert got_in(site.ssh("alice"), "alice")
    site.machine.run("sync")


def log_in(site: Site) -> bool:
    """A login of alice by ssh, approved if it asks the phone; whether it asked."""
    login = site.ssh("alice")
    asked: bool = login.expect([PROMPT, "In as alice"]) == 0
    if asked:
        login.sendline("")
        site.approve("alice")
    assert got_in(login, "alice")
    return asked


@pytest.mark.parametrize("moment", REDEEMED)
def test_a_recovery_code_is_redeemed_on_the_disk_before_it_lets_anybody_in(
    vm: Machine, site: Site, undone: None, moment: str
) -> None:
    when, call, left = REDEEMED[moment]
    vm.run(*SETUP)
    codes = json.loads(vm.run("pam-iampass", "recovery", "new", "alice", "--yes", "--json").stdout)["codes"]
    assert log_in(site)  # the agent runs
    vm.run("sync")
    agent = vm.run("pgrep", "-oxf", PROGRAM).stdout.strip()
    vm.run("systemd-run", "-q", "strace", "-p", agent, *inject(when, 1, call))
    vm.wait('grep -q "^TracerPid:.[1-9]" /proc/$1/status', "strace traces the agent", agent)
    login = site.ssh("alice")
    login.expect(PROMPT)
    login.sendline(codes[0])
    wait_until_held(vm, PROGRAM)
    lose_power(vm)
    found = json.loads(vm.run("pam-iampass", "recovery", "list", "alice", "--json").stdout)
    assert found["left"] in left
    login = site.ssh("alice")
    login.expect(PROMPT)
    login.sendline(codes[0])
    assert got_in(login, "alice") == (found["left"] == 10)


@pytest.fixture(scope="module")
def writes(vm: Machine, before: str) -> int:
    """How often `setup` waits until what it has written is on the disk."""
    vm.run("strace", "-f", FAST, "-o", "/run/strace", "-e", "trace=fsync", *SETUP)
    times = vm.shell("grep -c 'fsync(.*) *= 0' /run/strace")
    vm.run("pam-iampass", "setup", "undo")
    vm.run("sync")
    return int(times)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_whatever_setup_had_done_logins_work_and_it_can_be_undone(
    vm: Machine, site: Site, undone: None, writes: int, share: float
) -> None:
    number = max(1, round(writes * share))
    vm.terminal("strace", FAST, *inject("delay_enter", number), *SETUP)
    wait_until_held(vm, f"/usr/bin/python3 -IS /usr/bin/{' '.join(SETUP)}")
    lose_power(vm)
    log_in(site)
    vm.run("pam-iampass", "setup", "status")


def test_a_trial_ends_although_the_machine_was_off(vm: Machine, site: Site, before: str) -> None:
    vm.run(*SETUP, "--try", "1h")
    assert log_in(site)
    lose_power(vm, off=3600.0)
    vm.wait("! test -e /etc/ssh/sshd_config.d/10-iampass.conf", "the trial is over")
    vm.wait(
        f"{FILES} | sha256sum | grep -q $(printf '%s' \"$1\" | sha256sum | cut -d ' ' -f 1)",
        "its files are gone",
        before,
    )
    assert not log_in(site)

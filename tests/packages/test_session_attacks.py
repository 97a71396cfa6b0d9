"""What an attacker with a process of the user can make of a kept session that covers sudo, on a booted machine."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packages.administrator import PASSWORD, Administrator
from tests.packages.booted import Booted
from tests.packages.kept_logins import SETTINGS, Login, all_log_out, listed, records, wait_for
from tests.packages.people import People, outcomes

#: The attacker knows the password, and what a kept session can be recognised by. `{}` is its id.
ATTACK = f"""\
#!/bin/sh
export PAM_IAMPASS_SESSION={{}} XDG_SESSION_ID=1 SSH_CONNECTION='127.0.0.1 1 127.0.0.1 22' SSH_AUTH_INFO_0=''
cd /home/alice
exec > attack.new 2>&1
echo "session $(cat /proc/self/sessionid)"
echo '{PASSWORD}' | sudo -k -S -p '' sh -c 'echo In as $(id -un).'
echo "status $?"
mv attack.new attack.out
"""
CONNECT = "import socket; socket.socket(socket.AF_UNIX).connect('/run/iampass/pam.sock')\n"
NO_SESSION = "4294967295"
#: How the attacker has it run: as alice in her login session, or what an administrator has made for her.
ELSEWHERE = {
    "cron": (
        "root",
        "echo '@reboot sh /home/alice/attack' | crontab -u alice -"
        " && rm -f /run/crond.reboot && systemctl restart cron",
    ),
    "systemd --user": ("alice", "systemd-run --user --quiet sh /home/alice/attack"),
    "a service of the machine": ("root", "systemd-run --quiet --uid=alice sh /home/alice/attack"),
}


@pytest.fixture(scope="module")
def ready(machine: Booted, administrator: Administrator) -> Administrator:
    """sshd and sudo ask the phone; what it approves for sshd is kept, and covers sudo."""
    administrator.start_iampass()
    administrator.configure(session=SETTINGS.replace("when_away: end", "when_away: revoke"))
    administrator.set_up("sshd", "sudo", "--no-prompt")
    machine.shell("DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends cron")
    machine.copy_in(Path(__file__).with_name("take_over.py"), "/usr/local/lib")
    return administrator


@pytest.fixture
def cursor(machine: Booted, ready: Administrator) -> Iterator[str]:
    """Where the journal was when the test began, with nobody logged in and no phone in backoff."""
    machine.run("pam-iampass", "throttle", "clear", "alice")
    machine.shell("rm -f /home/alice/attack.*")
    yield machine.cursor()
    all_log_out(machine)


@pytest.fixture
def victim(machine: Booted, people: People, cursor: str) -> Login:
    """A login of alice's that covers sudo."""
    login = Login(machine, people)
    machine.write("/home/alice/attack", ATTACK.format(login.id), 0o755)
    login.terminal.sendline("stty -echo")
    return login


def result(machine: Booted) -> str:
    """What the attacker saw, once sudo has ended."""
    return wait_for(lambda: machine.shell("cat /home/alice/attack.out 2> /dev/null || :"), "sudo ends")


def audit_session(machine: Booted, login: Login) -> str:
    """The kernel's audit session of a login."""
    return machine.read(f"/proc/{login.pid}/sessionid")


def is_still_covered(login: Login, people: People) -> bool:
    """Whether a sudo within the login asks no phone."""
    login.sudo()
    login.terminal.expect("In as root.")
    return people.phone.requests() == []


@pytest.mark.parametrize("where", ELSEWHERE)
def test_a_process_of_the_user_outside_of_the_login_session_is_not_covered(
    machine: Booted, people: People, victim: Login, cursor: str, where: str
) -> None:
    user, command = ELSEWHERE[where]
    if user == "root":
        machine.shell(command)
    else:
        victim.terminal.sendline(command)
    people.phone.deny("alice")
    seen = result(machine)
    assert "status 1" in seen
    assert "In as root." not in seen
    (session,) = re.findall("^session ([0-9]+)$", seen, re.M)
    assert session != audit_session(machine, victim)
    assert (session == NO_SESSION) is (where == "a service of the machine")
    assert listed(machine, victim.id)["covered"] == 0
    assert is_still_covered(victim, people)
    found = outcomes(machine.journal_now(cursor))
    assert [(each[0], each[3]) for each in found[1:]] == [
        ("denied", "sudo"),
        ("covered", "sudo"),
    ]


def test_another_login_of_the_user_is_not_covered_by_the_session_of_the_first(
    machine: Booted, people: People, victim: Login, cursor: str
) -> None:
    other = Login(machine, people)
    people.phone.move(other.number, "away")
    wait_for(lambda: listed(machine, other.id)["status"] == "away", "the session is away")
    other.terminal.sendline("sh /home/alice/attack")
    people.phone.deny("alice")
    assert "status 1" in result(machine)
    assert is_still_covered(victim, people)
    assert (listed(machine, victim.id)["covered"], listed(machine, other.id)["covered"]) == (1, 0)
    # Back is not enough: what was revoked stays revoked.
    people.phone.move(other.number, "back")
    wait_for(lambda: listed(machine, other.id)["status"] == "revoked", "the phone is back")
    machine.shell("rm /home/alice/attack.out; pam-iampass throttle clear alice")
    other.terminal.sendline("sh /home/alice/attack")
    people.phone.deny("alice")
    assert "status 1" in result(machine)
    assert listed(machine, other.id)["covered"] == 0


def test_a_container_made_within_the_login_session_is_neither_covered_nor_heard(
    machine: Booted, people: People, victim: Login, cursor: str
) -> None:
    """The audit session is that of the login, but set-uid programs do not become root there."""
    machine.write("/home/alice/connect", CONNECT, 0o755)
    container = "unshare --user --map-root-user --pid --mount --fork"
    victim.terminal.sendline(f"{container} sh -c 'echo uid=$(id -u); sh attack; python3 connect'")
    victim.terminal.expect("uid=0\\s")
    victim.terminal.expect_exact("[Errno 13] Permission denied")
    seen = result(machine)
    assert f"session {audit_session(machine, victim)}\n" in seen
    assert "status 1" in seen
    assert "In as root." not in seen
    assert people.phone.requests() == []
    assert listed(machine, victim.id)["covered"] == 0
    assert records(machine, cursor, victim.id) == ["approved", "session_opened"]


def test_a_process_that_is_taken_over_by_ptrace_is_covered_and_recorded_until_the_phone_is_away(
    machine: Booted, people: People, victim: Login, cursor: str
) -> None:
    """A limitation: what acts in the login session as its user is its user."""
    take_over = "systemd-run --user --quiet python3 -I /usr/local/lib/take_over.py"

    def attack() -> None:
        victim.terminal.sendline("sleep 1000 & echo pid=$!")
        victim.terminal.expect("pid=([0-9]+)\\s")
        match = victim.terminal.match
        victim.terminal.sendline(f"{take_over} {match[1]} /bin/sh /home/alice/attack")

    attack()
    seen = result(machine)
    assert f"session {audit_session(machine, victim)}\n" in seen
    assert "In as root." in seen
    assert people.phone.requests() == []
    assert records(machine, cursor, victim.id) == ["approved", "session_opened", "covered"]
    people.phone.move(victim.number, "away")
    wait_for(lambda: listed(machine, victim.id)["status"] == "away", "the session is away")
    machine.shell("rm /home/alice/attack.out")
    attack()
    people.phone.deny("alice")
    assert "status 1" in result(machine)


#: Heeds no signal, and forks all the time, each time in a session of its own, and ends.
RUNAWAY = """\
import os, signal
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
    signal.signal(number, signal.SIG_IGN)
while True:
    if os.fork():
        os._exit(0)
    os.setsid()
"""
STUBBORN = "trap '' TERM HUP; while :; do sleep 1; done\n"


@pytest.mark.parametrize("logs_out", [False, True], ids=["stays", "logs out after the notice"])
def test_what_ignores_signals_and_forks_all_the_time_is_ended_with_its_login(
    machine: Booted, people: People, victim: Login, logs_out: bool
) -> None:
    machine.write("/home/alice/runaway.py", RUNAWAY, 0o755)
    machine.write("/home/alice/stubborn", STUBBORN, 0o755)
    (group,) = re.findall("^0::(/.*[.]scope)$", machine.read(f"/proc/{victim.pid}/cgroup"), re.M)
    victim.terminal.sendline("(setsid sh stubborn &); (setsid python3 runaway.py &)")
    wait_for(lambda: "stubborn" in machine.shell("ps -eo args"), "it runs")
    began = time.monotonic()
    end = machine.terminal("pam-iampass", "session", "end", "alice")
    if logs_out:
        victim.terminal.expect("The login ends in 5 seconds")
        victim.terminal.sendline("exit")
    assert end.finish() == 0
    assert "1 session ended." in end.shown
    assert time.monotonic() - began < 30, "systemd itself waits for 90 s"
    assert "stubborn" not in machine.shell("ps -eo args")
    assert machine.shell(f"cat /sys/fs/cgroup{group}/cgroup.procs 2> /dev/null || :") == ""

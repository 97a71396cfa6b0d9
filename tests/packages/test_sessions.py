"""Logins that keep their IAMPASS session: real sshd, sudo and logind, the agent, and the enforcer in its unit."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from tests.packages.administrator import Administrator
from tests.packages.booted import Booted
from tests.packages.desktop import Desktop, make_display_manager, signals, watch_signals
from tests.packages.kept_logins import (
    SETTINGS,
    Login,
    NewSession,
    all_log_out,
    ended,
    listed,
    records,
    sessions,
    wait_for,
)
from tests.packages.people import WHO, People, type_password

AGENT = "pam-iampass-agent.service"
#: Returns once no enforcer works any more.
IDLE = """
for round in $(seq 100); do
    systemctl list-units --plain --no-legend 'pam-iampass-enforcer@*.service' | grep -q . || exit 0
    sleep 0.1
done
exit 1
"""
#: `check` a few times.
SEVERAL_CHECKS = 8.0


@pytest.fixture(scope="module")
def ready(machine: Booted, administrator: Administrator) -> Administrator:
    """sshd and sudo ask the phone, and keep what it approves."""
    administrator.start_iampass()
    administrator.configure(session=SETTINGS)
    administrator.set_up("sshd", "sudo", "--quiet")
    return administrator


@pytest.fixture
def cursor(machine: Booted, ready: Administrator, people: People) -> Iterator[str]:
    """Where the journal was when the test began, with nobody logged in and no phone in backoff."""
    machine.run("pam-iampass", "throttle", "clear", "alice")
    yield machine.cursor()
    all_log_out(machine)


def test_one_approval_for_ssh_and_sudo_and_the_login_ends_when_the_person_walks_away(
    machine: Booted, people: People, cursor: str
) -> None:
    login, other = Login(machine, people), Login(machine, people)
    login.sudo()
    login.terminal.expect("In as root.")
    assert people.phone.requests() == []
    found = listed(machine, login.id)
    assert (found["user"], found["approver"], found["status"]) == ("alice", "alice", "active")
    assert (found["from"], found["covered"]) == ("127.0.0.1", 1)
    people.phone.move(login.number, "away")
    login.terminal.expect_exact(
        "The phone that approved this login is no longer near. The login ends in 5 seconds."
    )
    login.terminal.finish()
    wait_for(lambda: ended(machine, people, login), "the session ends")
    assert records(machine, cursor, login.id) == ["approved", "session_opened", "covered", "session_ended"]
    assert other.lives()
    assert "no longer near" not in other.terminal.shown
    assert [each["id"] for each in sessions(machine)] == [other.id]
    assert "the phone is no longer near" in machine.explained(cursor)


def test_a_login_ends_when_its_session_is_ended_on_the_phone(
    machine: Booted, people: People, cursor: str
) -> None:
    login = Login(machine, people)
    login.terminal.sendline("nohup sleep 12345 & sleep 54321")
    people.phone.move(login.number, "end")
    login.terminal.expect_exact("The IAMPASS session of this login was ended on the phone.")
    login.terminal.finish()
    wait_for(lambda: ended(machine, people, login), "the session ends")
    # What was started in the login session ends with it, as docs/sessions.md says.
    wait_for(lambda: not machine.shell("pgrep -f 'sleep (12345|54321)' || :"), "the jobs end")
    assert machine.shell("ls /run/iampass/logins") == ""


def test_without_the_network_nothing_happens_to_anybody(
    machine: Booted, ready: Administrator, people: People, cursor: str
) -> None:
    login = Login(machine, people)
    machine.run("systemctl", "kill", "--kill-whom=main", "-s", "STOP", "sandbox")  # packets get no answer
    time.sleep(SEVERAL_CHECKS)
    assert login.lives()
    machine.run("systemctl", "kill", "--kill-whom=main", "-s", "CONT", "sandbox")
    ready.stop_iampass()  # connections are refused
    time.sleep(SEVERAL_CHECKS)
    assert login.lives()
    ready.start_iampass()  # it does not know the session: 404
    time.sleep(SEVERAL_CHECKS)
    assert login.lives()
    assert [each["status"] for each in sessions(machine)] == ["active"]
    login.sudo()  # not covered: an ordinary request
    people.phone.approve("alice")
    login.terminal.expect("In as root.")
    assert records(machine, cursor, login.id) == ["approved", "session_opened"]


def test_away_can_revoke_instead_and_sudo_asks_the_phone_again(
    machine: Booted, ready: Administrator, people: People, cursor: str
) -> None:
    ready.configure(session=SETTINGS.replace("when_away: end", "when_away: revoke"))
    login = Login(machine, people)
    ready.configure(session=SETTINGS)
    login.terminal.sendline(f"sudo sh -c '{WHO}'")
    type_password(login.terminal)
    login.terminal.expect("In as root.")
    assert machine.shell("ls /run/sudo/ts").split() != []
    people.phone.move(login.number, "away")
    wait_for(lambda: [each["status"] for each in sessions(machine)] == ["away"], "the session is away")
    wait_for(lambda: machine.shell("ls /run/sudo/ts").split() == [], "sudo forgets the password")
    assert login.lives()
    login.terminal.sendline(f"sudo sh -c '{WHO}'")
    type_password(login.terminal)
    people.phone.approve("alice")
    login.terminal.expect("In as root.")


def test_a_root_shell_that_keeps_a_session_of_its_own_goes_on_when_away_revokes(
    machine: Booted, ready: Administrator, people: People, cursor: str
) -> None:
    ready.configure(session="{keep: true, check: 2s, when_away: revoke}")
    login = Login(machine, people)
    begun = NewSession(machine, people)
    login.terminal.sendline("sudo -i sh -i")
    type_password(login.terminal)
    people.phone.approve("alice")
    login.terminal.expect("# ")
    shell, number = begun.wait()
    ready.configure(session=SETTINGS)
    assert (shell["service"], shell["user"]) == ("sudo-i", "alice")
    assert machine.shell("ls /run/sudo/ts").split() != []
    people.phone.move(number, "away")
    wait_for(lambda: machine.shell("ls /run/sudo/ts").split() == [], "sudo forgets the password")
    login.terminal.sendline("id -u; exit")
    login.terminal.expect(r"\s0\s")
    wait_for(lambda: shell["id"] not in {each["id"] for each in sessions(machine)}, "the session ends")
    assert listed(machine, login.id)["status"] == "active"
    assert login.lives()


def test_a_screen_is_locked_while_the_phone_is_away_and_unlocked_only_if_the_person_had_not_locked_it(
    machine: Booted, ready: Administrator, people: People, cursor: str
) -> None:
    ready.configure(session=SETTINGS.replace("when_away: end", "when_away: lock, unlock_on_return: true"))
    make_display_manager(ready)
    watch_signals(machine)
    desktop, other, shell = Desktop(machine, people), Desktop(machine, people), Login(machine, people)
    ready.configure(session=SETTINGS)
    assert [(each.shows("Type"), each.shows("Seat")) for each in (desktop, other)] == [("x11", "seat0")] * 2

    def move(moved: Desktop, verb: str, event: str) -> list[tuple[str, str]]:
        """The phone leaves or returns; what logind said until the enforcer was done, only about that session."""
        before = signals(machine)
        people.phone.move(moved.number, verb)
        wait_for(lambda: records(machine, cursor, moved.id)[-1] == event, f"{event} is recorded")
        machine.shell(IDLE)
        found = signals(machine)
        assert found[: len(before)] == before
        return found[len(before) :]

    assert move(desktop, "away", "session_away") == [(desktop.path, "Lock")]
    desktop.say_locked(True)  # as a desktop does on that signal
    assert move(desktop, "back", "session_back") == [(desktop.path, "Unlock")]
    # A screen that the user has locked stays locked.
    assert move(desktop, "away", "session_away") == [(desktop.path, "Lock")]
    assert move(desktop, "back", "session_back") == []
    # Where the desktop has said nothing, the screen was not locked.
    assert move(other, "away", "session_away") == [(other.path, "Lock")]
    assert move(other, "back", "session_back") == [(other.path, "Unlock")]
    assert shell.lives()
    people.phone.move(shell.number, "away")  # its session has no screen: it covers nothing any more
    wait_for(lambda: listed(machine, shell.id)["status"] == "away", "the session is away")
    assert shell.lives()
    for each in (desktop, other):
        each.log_out()
    wait_for(lambda: [each["id"] for each in sessions(machine)] == [shell.id], "the sessions end")
    assert records(machine, cursor, desktop.id)[-1] == "session_ended"
    assert signals(machine)[-1] == (other.path, "Unlock")


def test_the_enforcer_is_confined(machine: Booted, ready: Administrator) -> None:
    shown = machine.run("systemd-analyze", "security", "--no-pager", "pam-iampass-enforcer@1.service").stdout
    [level] = re.findall(r"Overall exposure level for pam-iampass-enforcer@1.service: ([0-9.]+)", shown)
    assert float(level) < 2.5, shown
    assert machine.run("systemctl", "is-enabled", "pam-iampass-enforcer.socket").stdout == "enabled\n"
    assert machine.run("stat", "-c", "%U %a", "/run/iampass/enforcer.sock").stdout == "iampass 600\n"
    assert (
        machine.run("systemctl", "list-units", "--failed", "--plain", "--no-legend", "pam-iampass*").stdout
        == ""
    )

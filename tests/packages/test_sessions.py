"""Logins that keep their IAMPASS session: real sshd, sudo and logind, the agent, and the enforcer in its unit."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.packages.administrator import Administrator
from tests.packages.booted import Booted
from tests.packages.kept_logins import (
    SETTINGS,
    Login,
    NewSession,
    all_log_out,
    ended,
    listed,
    sessions,
    wait_for,
)
from tests.packages.people import KEY, People, got_in, outcomes, press_enter, type_password

#: Packages with programs that make root of a user, and have no session of logind.
OTHERS = {"opendoas": "doas", "sudo-rs": "sudo-rs"}
if os.environ.get("PACKAGES_RELEASE") == "bookworm":
    del OTHERS["sudo-rs"]


@pytest.fixture(scope="module")
def ready(machine: Booted, administrator: Administrator) -> Administrator:
    """sshd and sudo ask the phone, and keep what it approves."""
    administrator.start_iampass()
    administrator.configure(session=SETTINGS)
    machine.shell(
        f"""
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {" ".join(OTHERS)}
        echo 'permit persist :sudo' > /etc/doas.conf
        chmod 600 /etc/doas.conf
        """
    )
    administrator.set_up("sshd", "sudo", "doas", "--no-prompt")
    return administrator


@pytest.fixture
def cursor(machine: Booted, ready: Administrator, people: People) -> Iterator[str]:
    """Where the journal was when the test began, with nobody logged in and no phone in backoff."""
    machine.run("pam-iampass", "throttle", "clear", "alice")
    yield machine.cursor()
    all_log_out(machine)


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


@pytest.mark.parametrize("program", OTHERS.values())
def test_a_root_shell_of_a_program_without_a_session_of_logind_ends_on_the_phone(
    machine: Booted, people: People, cursor: str, program: str
) -> None:
    begun = NewSession(machine, people)
    shell = machine.terminal("runuser", "-u", "alice", "--", program, "sh", "-i")
    type_password(shell)
    people.phone.approve("alice")
    shell.expect("# ")
    session, number = begun.wait()
    people.phone.move(number, "end")
    shell.expect_exact("The IAMPASS session of this login was ended on the phone.")
    shell.finish()
    wait_for(lambda: session["id"] not in {each["id"] for each in sessions(machine)}, "the session ends")
    assert machine.shell("pgrep -x -f 'sh -i' || :") == ""


@pytest.mark.parametrize("program", ["sudo", *OTHERS.values()])
def test_a_root_shell_that_a_program_starts_without_asking_ends_with_the_login(
    machine: Booted, people: People, cursor: str, program: str
) -> None:
    """The program remembers that it has asked, and the shell keeps no session of its own."""
    login = Login(machine, people)
    login.terminal.sendline(f"{program} sh -c 'echo as-root-$((40 + 2))'")
    type_password(login.terminal)
    if program == "doas":  # nothing covers it
        people.phone.approve("alice")
    login.terminal.expect("as-root-42")
    login.terminal.expect_exact("$ ")  # what is typed while sudo still runs would go to its own terminal
    login.terminal.sendline(f"{program} sh -c 'setsid sleep 12321 & exec sh -i'")
    login.terminal.expect("# ")
    assert [each["id"] for each in sessions(machine)] == [login.id]
    assert machine.shell("pgrep -u root -x -f 'sleep 12321'").split()
    people.phone.move(login.number, "end")
    wait_for(lambda: ended(machine, people, login), "the session ends")
    wait_for(lambda: not machine.shell("pgrep -x -f '(sleep 12321|sh -i)' || :"), "the root shell ends")


def test_at_a_prompt_the_same_key_from_the_same_address_is_covered_and_nothing_else(
    machine: Booted, ready: Administrator, people: People, cursor: str
) -> None:
    ready.configure(session="{keep: true, check: 2s, when_away: end, covers_connections: true}")
    ready.set_up("sshd", "--prompt")
    machine.shell(
        "ssh-keygen -q -t ed25519 -N '' -f /root/other; cat /root/other.pub >> /home/alice/.ssh/authorized_keys"
    )
    known = people.phone.sessions("alice")
    first = people.ssh("alice", "exec sh -i", options=(*KEY, "-tt"))
    press_enter(first)
    people.phone.approve("alice")
    first.expect(r"\$ ")
    wait_for(lambda: [len(each["logins"]) for each in sessions(machine)] == [1], "the session opens")
    [number] = set(people.phone.sessions("alice")) - set(known)

    covered = people.ssh("alice", "exec sh -i", options=(*KEY, "-tt"))
    covered.expect(r"\$ ")
    assert "IAMPASS" not in covered.shown, "no prompt"
    for options in (("-i", "/root/other"), (*KEY, "-b", "127.0.0.2")):
        asked = people.ssh("alice", options=options)
        press_enter(asked)
        people.phone.deny("alice")
        assert not got_in(asked, "alice")
    wait_for(lambda: [len(each["logins"]) for each in sessions(machine)] == [2], "both are one session")
    assert people.phone.requests() == []
    people.phone.move(number, "end")
    for terminal in (first, covered):
        terminal.expect_exact("The IAMPASS session of this login was ended on the phone.")
        terminal.finish()
    wait_for(lambda: sessions(machine) == [], "the session ends")
    found = [each[0] for each in outcomes(machine.journal_now(cursor))]
    assert found == ["approved", "covered", "denied", "denied"]

"""Kept sessions with real sshd, sudo and audit sessions: what is covered, and what an attacker cannot make of it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pam_iampass.agent.control import ask
from tests.support.agent import listeners
from tests.support.black_hole import all_ports_taken
from tests.support.command import run_command
from tests.support.installation import Installation
from tests.support.pam_files import asking
from tests.support.sshd import Login, Sshd
from tests.support.world import PASSWORD, PATIENCE, World, token_of, uid_of, wait_until

ENFORCER_SOCKET = Path("/run/iampass/enforcer.sock")
SUDO = f"echo '{PASSWORD}' | sudo -k -S -p '' sh -c 'echo As $(id -un).'; echo status=$?"


@pytest.fixture(scope="module", autouse=True)
def sudo(machine: Installation) -> Iterator[None]:
    """sudo asks the phone of alice and bob."""
    sudoers = Path("/etc/sudoers.d/people")
    sudoers.write_text("alice ALL=(ALL) ALL\nbob ALL=(ALL) ALL\nDefaults !lecture\n")
    sudoers.chmod(0o440)
    with asking("sudo"):
        yield
    sudoers.unlink()


@pytest.fixture
def kept(world: World, machine: Installation) -> World:
    """sshd keeps sessions, which cover sudo."""
    session = "{keep: true, check: 2s, covers: {services: [sudo]}}"
    machine.change(services=f"{{sshd: {{session: {session}}}}}")
    return world


class Shell:
    """A shell of a user who has logged in by ssh, approved on the phone."""

    def __init__(self, world: World, user: str = "alice") -> None:
        self.world, self.user = world, user
        self.login: Login = world.login(user, "RequestTTY=force", remote="sh")
        self.login.enter()
        self.request = world.approve(user)
        self.run("stty -echo; echo Re''ady.", "Ready\\.")
        (self.kept,) = stored(user)
        self.id: str = self.kept["id"]

    def run(self, command: str, expected: str) -> None:
        self.login.sendline(command)
        self.login.expect(expected)

    def end(self) -> None:
        """Log out, and wait until the session is over at IAMPASS."""
        self.login.sendline("exit")
        self.login.finish()
        self.world.sandbox.wait_for_end(self.request, PATIENCE)
        wait_until(lambda: not stored(self.user), "the session is still kept")


def stored(user: str) -> list[dict[str, Any]]:
    """The kept sessions of a user whose login session is open."""
    return [each for each in ask("session list") if each["user"] == user and each["status"] != "ending"]


ELSEWHERE = """
import os, sys
user, audit, *command = sys.argv[1:]
if audit != "none":
    with open("/proc/self/loginuid", "w") as file:
        file.write(audit)
os.execvp("runuser", ["runuser", "-u", user, "--", *command])
"""


def sudo_elsewhere(user: str, audit: str, **environment: str) -> subprocess.Popen[str]:
    """sudo of the user in another login session: one of its own (`audit` is the user id), or none."""
    command = [sys.executable, "-c", ELSEWHERE, user, audit, "sh", "-c", SUDO]
    return subprocess.Popen(
        *(command,),
        env={"PATH": os.environ["PATH"], **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def is_asked(world: World, user: str, program: subprocess.Popen[str]) -> bool:
    """Whether the phone is asked, and only then sudo goes on."""
    world.approve(user)
    return "As root." in program.communicate(timeout=PATIENCE)[0]


def test_sudo_within_the_login_needs_no_second_approval_and_every_process_ends(kept: World) -> None:
    shell = Shell(kept)
    shell.run(SUDO, "As root\\.\\s+status=0")
    assert kept.starts("alice") == 1
    (session,) = stored("alice")
    assert (session["covered"], session["logins"][0]["user"]) == (1, "alice")
    shell.end()
    told = [record for record in kept.records() if record.get("IAMPASS_SESSION") == shell.id]
    events = [record.get("IAMPASS_OUTCOME") or record["IAMPASS_EVENT"] for record in told]
    assert events == ["approved", "session_opened", "covered", "session_ended"]
    assert (told[2]["IAMPASS_RESULT"], told[2]["IAMPASS_CALLER"]) == ("ignored", "alice")
    assert re.fullmatch(
        "within the session that alice approved [0-9]+ s ago through sshd", told[2]["IAMPASS_REASON"]
    )
    assert "Subject: Login covered by a kept session" in kept.explained()
    shown = run_command("log", "--session", shell.id[:8], "--json").stdout
    story = [json.loads(line) for line in shown.splitlines()]
    assert [each["event"] or each["outcome"] for each in story] == events
    assert {each["session"] for each in story} == {shell.id}
    assert "session opened" in run_command("log", "--session", shell.id).stdout


def test_a_sudo_that_asks_for_every_command_is_covered_within_the_login_and_asks_elsewhere(
    kept: World,
) -> None:
    free = Path("/etc/sudoers.d/zz-free")
    free.write_text("alice ALL=(ALL) NOPASSWD: ALL\n")
    free.chmod(0o440)
    try:
        with asking("sudo", choice="always"):
            shell = Shell(kept)
            for _ in range(2):
                shell.run("sudo -n sh -c 'echo As $(id -un).'; echo status=$?", "As root\\.\\s+status=0")
            assert kept.starts("alice") == 1
            assert is_asked(kept, "alice", sudo_elsewhere("alice", str(uid_of("alice"))))
            shell.end()
    finally:
        free.unlink()


# Further connections


@pytest.mark.parametrize("further", ["the same key", "a password"])
def test_in_the_quiet_way_the_first_factor_is_not_known_and_no_connection_is_covered(
    kept: World, machine: Installation, folder: Path, further: str
) -> None:
    machine.change(services="{sshd: {session: {keep: true, covers_connections: true}}}")
    ways = ("PasswordAuthentication=yes", "KbdInteractiveAuthentication=yes")
    with Sshd(folder / "quiet-covers", *ways, way="quiet", keys=folder / "key-and-phone") as sshd:
        first = sshd.login("alice", "echo Ready.; sleep 60")
        request = kept.approve("alice")
        first.expect("Ready")
        options = ("PubkeyAuthentication=no", "PreferredAuthentications=password")
        second = sshd.login("alice", "true", options=() if further == "the same key" else options)
        if further == "a password":
            second.expect("assword: ")
            second.sendline(PASSWORD)
        kept.sandbox.approve(kept.sandbox.wait_for_request(token_of("alice"), PATIENCE, after=request))
        assert second.finish() == 0
        first.kill()


# What an attacker with a process of the same user cannot do


def test_a_user_who_takes_all_ports_does_not_keep_the_phone_from_ending_their_login(kept: World) -> None:
    shell = Shell(kept)
    with all_ports_taken(uid_of("alice"), "SOCK_STREAM"):
        with pytest.raises(OSError, match="Cannot assign requested address"):
            socket.create_connection(("127.0.0.1", kept.sandbox.port))
        polls = len([call for call in kept.sandbox.calls if call.kind == "poll"])
        kept.sandbox.wait_for_calls("poll", polls + 3)  # over more than one connection
        kept.sandbox.close(shell.request)
        wait_until(lambda: not stored("alice"), "the session is still kept")
    shell.login.kill()


def test_nothing_outside_of_the_login_session_is_covered(kept: World) -> None:
    shell = Shell(kept)
    uid = str(uid_of("alice"))
    # Another login session has an audit session of its own, and so have cron's jobs and `systemd --user`.
    assert is_asked(kept, "alice", sudo_elsewhere("alice", uid))
    # A container or a service of the machine has none.
    assert is_asked(kept, "alice", sudo_elsewhere("alice", "none"))
    # The environment is no witness.
    own = Path(f"/proc/{shell.kept['logins'][0]['pid']}/sessionid").read_text()
    forged = {
        "PAM_IAMPASS_SESSION": shell.id,
        "XDG_SESSION_ID": own,
        "SSH_CONNECTION": "127.0.0.1 1 127.0.0.1 22",
    }
    assert is_asked(kept, "alice", sudo_elsewhere("alice", uid, **forged))
    assert kept.starts("alice") == 4
    assert stored("alice")[0]["covered"] == 0
    shell.end()


def test_another_user_in_the_login_session_is_not_covered(kept: World) -> None:
    shell = Shell(kept)
    shell.login.sendline(f"echo '{PASSWORD}' | su bob -c \"{SUDO.replace(chr(36), chr(92) + chr(36))}\"")
    kept.deny("bob")
    shell.login.expect("status=1")
    assert stored("alice")[0]["covered"] == 0
    shell.end()


@pytest.fixture
def enforcer() -> Iterator[None]:
    """The service that ends logins."""
    with subprocess.Popen(["/usr/sbin/pam-iampass-enforcer", "--socket"]) as process:
        wait_until(lambda: listeners(ENFORCER_SOCKET), "the enforcer listens")
        yield
        process.terminate()
    ENFORCER_SOCKET.unlink()


def running(command: str) -> list[int]:
    """The ids of bob's processes with this command line."""
    done = subprocess.run(
        *(["pgrep", "-u", "bob", "-x", "-f", command],), stdout=subprocess.PIPE, text=True, check=False
    )
    return [int(word) for word in done.stdout.split()]


@pytest.mark.usefixtures("enforcer")
def test_what_su_has_started_is_ended_although_its_caller_kills_su(
    kept: World, machine: Installation
) -> None:
    """Also what its caller has adopted. What another sudo of the login has started, and what is older, goes on."""
    keep = "{session: {keep: true, check: 2s, covers: {services: [sudo]}}}"
    machine.change(services=f"{{sshd: {keep}, su: {keep}}}")
    older = "sleep 1001"
    shell = Shell(kept)
    as_bob = f"echo '{PASSWORD}' | sudo -k -S -p '' -u bob"
    shell.login.sendline(f"({as_bob} {older}) &")
    wait_until(lambda: running(older), "sudo has not begun")
    with asking("su"):
        leaves = "setsid sleep 1002 & sleep 1003; echo"
        shell.login.sendline(f"(printf '{PASSWORD}\\n\\n' | su bob -c '{leaves}') &")
        kept.approve("bob")
        wait_until(lambda: running("sleep 1002") and running("sleep 1003"), "su has not begun")
        (of_su,) = [each for each in stored("bob") if each["service"] == "su"]
        shell.login.sendline(f"({as_bob} sh -c 'sleep 1004; echo') &")
        wait_until(lambda: running("sleep 1004"), "sudo has not begun")
        (pid,) = (login["pid"] for login in of_su["logins"])
        subprocess.run(["runuser", "-u", "alice", "--", "kill", "-KILL", str(pid)], check=True)
        wait_until(lambda: not running("sleep 100[23]"), "what su has started goes on")
    assert running(older)
    assert running("sleep 1004")
    (ended,) = kept.journald.records(kept._cursor, IAMPASS_EVENT="session_ended", IAMPASS_SESSION=of_su["id"])
    assert "ended without closing it" in ended["IAMPASS_REASON"]
    assert [each["id"] for each in stored("alice")] == [shell.id]
    subprocess.run(["pkill", "-KILL", "-u", "bob", "-x", "sleep"], check=True)
    shell.end()

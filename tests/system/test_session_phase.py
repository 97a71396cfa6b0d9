"""The session phase in real programs: the id of a kept session reaches it, and nothing else does.

A script is the agent: it keeps the session of every login.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import SOCKET
from tests.support.installation import Installation
from tests.support.journald import Journald
from tests.support.pam_files import asking, sshd_file, write_sshd_file
from tests.support.scripted_module import DoorConnection, ScriptedModule, keep, result
from tests.support.sshd import Sshd, without_terminal
from tests.support.terminal import Terminal
from tests.support.world import PASSWORD, PATIENCE

NATIVE, PAM_PYTHON = "pam_iampass.so", "pam_python.so /usr/lib/pam-iampass/pam_iampass.py"
SESSION, FORGED = "0123456789abcdef0123456789abcdef", "f" * 32
VARIABLE = "PAM_IAMPASS_SESSION"
LOGINS = Path("/run/iampass/logins")
#: What the user of a login sees: the environment, and the audit session.
SHOW = "env; echo audit=$(cat /proc/self/sessionid); ls /run/iampass/logins | sed s/^/registered=/"
PAM = Path("/etc/pam.d")
ASKPASS = Path("/var/lib/iampass-askpass")
WAYS = {
    "prompt": "key",
    "password": "password",
    "quiet": "quiet",
}


@pytest.fixture(scope="module")
def sshds(machine: Installation, journald: Journald, folder: Path) -> Iterator[dict[str, Sshd]]:
    """One sshd for each way, which accepts every variable of the client; alice may change her PAM environment."""
    (Path("/home/alice") / ".pam_environment").write_text(f"{VARIABLE} DEFAULT={FORGED}\n")
    ASKPASS.write_text(f"#!/bin/sh\necho {PASSWORD}\n")
    ASKPASS.chmod(0o755)
    keys = folder / "key-and-phone"  # that of the other tests: alice's account keeps it
    keys.mkdir(exist_ok=True)
    running = {}
    options = ("AcceptEnv=*", "PasswordAuthentication=yes", "KbdInteractiveAuthentication=yes", "UsePAM=yes")
    for way, choice in WAYS.items():
        running[way] = Sshd(folder / f"session-{way}", *options, way=choice, keys=keys)
        running[way].__enter__()
    for user in ("alice", "root"):
        running["prompt"].admit(user)
    yield running
    for sshd in running.values():
        sshd.__exit__()
    (Path("/home/alice") / ".pam_environment").unlink()
    ASKPASS.unlink()


@pytest.fixture(autouse=True)
def files(machine: Installation) -> Iterator[None]:
    """The PAM files of setup and no agent; afterwards no registration is left."""
    SOCKET.unlink(missing_ok=True)
    for choice in WAYS.values():
        use(choice)
    with asking("su"):
        yield
    os.chown(LOGINS, 0, 0)
    assert list(LOGINS.iterdir()) == []


def use(choice: str, door: str = NATIVE) -> None:
    """Let sshd ask in one of its ways with a door. Users may set variables of the PAM environment."""
    text = write_sshd_file(choice, door)
    sshd_file(choice).write_text(
        re.sub(r"(session +required +pam_env.so)( #.*)?\n", r"\1 user_readenv=1\n", text)
    )


def keeps(door: DoorConnection) -> None:
    door.hello()
    if door.version_and_phase[1] <= 2:
        door.send(keep(SESSION), result(0))
    else:
        door.registered = [file.read_text() for file in LOGINS.iterdir()]  # type: ignore[attr-defined]
        door.send(result(25))


def passes(door: DoorConnection) -> None:
    """Keep no session."""
    door.hello()
    door.send(result(0))


def phases(played: ScriptedModule) -> list[int]:
    return [connection.version_and_phase[1] for connection in played.connections]


def wait_for(played: ScriptedModule, count: int) -> None:
    """The session phase may end after the client has gone."""
    until = time.monotonic() + PATIENCE
    while len(played.connections) < count and time.monotonic() < until:
        time.sleep(0.02)
    while list(LOGINS.iterdir()) and time.monotonic() < until:
        time.sleep(0.02)
    assert len(played.connections) == count


def ssh(sshd: Sshd, way: str, command: str = SHOW, *options: str) -> subprocess.CompletedProcess[str]:
    """Log in as alice."""
    methods = {
        "prompt": "publickey,keyboard-interactive",
        "password": "keyboard-interactive",
        "quiet": "publickey",
    }
    given = (f"PreferredAuthentications={methods[way]}", *options)
    arguments = sshd.command("alice", command, options=given)
    return without_terminal(arguments, SSH_ASKPASS=str(ASKPASS), SSH_ASKPASS_REQUIRE="force")


def shown(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    assert done.returncode == 0, done.stderr
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


@pytest.mark.parametrize("door", [NATIVE, PAM_PYTHON], ids=["native", "pam_python"])
@pytest.mark.parametrize("way", WAYS)
def test_in_sshd_the_id_reaches_the_session_and_not_the_user(
    sshds: dict[str, Sshd], way: str, door: str
) -> None:
    use(WAYS[way], door)
    with ScriptedModule.as_agent(SOCKET, keeps) as played:
        seen = shown(ssh(sshds[way], way))
        wait_for(played, 3)
    _decided, opened, closed = played.connections
    assert phases(played) == [2 if way == "quiet" else 1, 3, 4]
    assert [one.items["session"] for one in (opened, closed)] == [SESSION.encode()] * 2
    assert seen.get(VARIABLE) in (None, FORGED)  # what ~/.pam_environment sets later is the user's own
    fields = dict(line.split("=", 1) for line in opened.registered[0].splitlines())  # type: ignore[attr-defined]
    assert seen["registered"] == f"{SESSION}.{fields['pid']}"
    assert (fields["user"], fields["service"]) == ("alice", "sshd")
    assert seen["audit"] == opened.items["audit_session"].decode()
    if way != "password":
        assert b"publickey ssh-ed25519 " in opened.items["ssh_auth_info"]


@pytest.mark.parametrize("way", WAYS)
def test_no_environment_of_the_user_opens_a_session(sshds: dict[str, Sshd], way: str) -> None:
    with ScriptedModule.as_agent(SOCKET, passes) as played:
        seen = shown(ssh(sshds[way], way, SHOW, f"SetEnv={VARIABLE}={FORGED}"))
    assert phases(played) == [2 if way == "quiet" else 1]
    assert "registered" not in seen


# Other programs


def in_a_terminal(command: list[str], typed: list[str]) -> str:
    """What is shown until the program ends."""
    terminal = Terminal(command)
    for text in typed:
        terminal.expect("assword")
        terminal.expect(": ")
        terminal.sendline(text)
    terminal.finish()
    return terminal.shown


AS_ALICE = ["setpriv", "--reuid=alice", "--regid=alice", "--init-groups", "env", f"{VARIABLE}={FORGED}"]


@pytest.mark.parametrize("limit", ["-S -f 0", "-f 0", "-n 8", "-d 8000"])
def test_a_limit_of_the_caller_of_su_leaves_no_login_that_is_not_registered(
    machine: Installation, limit: str
) -> None:
    """Root lifts it or, where it lacks CAP_SYS_RESOURCE, nobody gets in."""
    command = [*AS_ALICE, "sh", "-c", f"ulimit {limit}; exec su - bob -c '{SHOW}'"]
    with ScriptedModule.as_agent(SOCKET, keeps) as played:
        text = in_a_terminal(command, [PASSWORD])
        if "leave no room for a login session" in text:
            assert "audit=" not in text
            assert limit != "-S -f 0"
        else:
            wait_for(played, 3)
            assert f"registered={SESSION}.{played.connections[1].pid}" in text

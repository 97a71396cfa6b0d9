"""Root's command and the running agent: what is recorded of an act, and that logins keep nobody out."""

from __future__ import annotations

import json
import pwd
import resource
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from pam_iampass import __version__
from pam_iampass.agent.control import ask
from pam_iampass.agent.wire import FrameType, Hello, receive
from pam_iampass.outcome import Phase
from tests.support.agent import SOCKET
from tests.support.command import COMMAND, run_command
from tests.support.frames import encode_items
from tests.support.installation import ETC
from tests.support.terminal import Terminal
from tests.support.world import World, uid_of, wait_until

WAITING = 1000


def test_the_record_of_an_act_says_who_did_what_to_whom_from_which_terminal(world: World) -> None:
    uid = uid_of("bob")
    as_bob = f"echo {uid} > /proc/self/loginuid; exec {COMMAND} throttle clear alice"
    terminal = Terminal(["sh", "-c", as_bob])
    assert terminal.finish() == 0
    [record] = wait_until(world.acts, "the record")
    assert record["IAMPASS_EVENT"] == "throttle_clear"
    assert (record["IAMPASS_RESULT"], record["IAMPASS_USER"]) == ("success", "alice")
    assert record["IAMPASS_CALLER"] == "bob"
    assert record["IAMPASS_TTY"].startswith("/dev/pts/")
    assert int(record["_UID"]) == pwd.getpwnam("_iampass").pw_uid
    shown = json.loads(run_command("log", "alice", "--json").stdout.splitlines()[-1])
    assert (shown["event"], shown["caller"]) == ("throttle_clear", "bob")
    assert " throttle clear " in run_command("log", "bob").stdout


def test_without_a_login_the_record_names_the_caller_of_sudo_or_root(world: World) -> None:
    for environment in ({"SUDO_USER": "carol"}, {}):
        done = run_command("recovery", "revoke", "alice", environment=environment)
        assert done.returncode == 0, done.stderr
    records = wait_until(lambda: found if len(found := world.acts()) == 2 else None, "the records")
    assert [record["IAMPASS_CALLER"] for record in records] == ["carol", "root"]
    assert records[0]["IAMPASS_REASON"] == "there were none"


def test_what_the_command_does_without_the_agent_is_recorded_too(world: World) -> None:
    file = ETC / "users.d/newcomer.yaml"
    added = run_command("user", "add", "newcomer", "--token", "secret-token", "--no-account")
    invited = run_command("enroll", "bob", "--no-wait", "--new-device", environment={"SUDO_USER": "carol"})
    file.unlink()
    assert (added.returncode, invited.returncode) == (0, 0), added.stderr + invited.stderr
    records = wait_until(lambda: found if len(found := world.acts()) == 2 else None, "the records")
    names = ("EVENT", "USER", "CALLER", "REASON")
    assert [tuple(record[f"IAMPASS_{name}"] for name in names) for record in records] == [
        ("user_add", "newcomer", "root", f"a token, in {file}"),
        ("enroll", "bob", "carol", "a link was shown"),
    ]


@pytest.fixture
def waiting(world: World) -> Iterator[None]:
    """As many logins as the agent serves, all at their prompts, and some more in the queue."""
    world.machine.change(throttle=f"{{logins_at_once: {WAITING}}}", timeout="240s")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    items = encode_items(
        {"user": b"alice", "service": b"test", "ssh_auth_info": b"publickey x\n", "uid": b"0"}
    )
    greeting = Hello(Phase.AUTHENTICATE, 0, ()).encode().encode() + items.encode()
    with ExitStack() as stack:
        connections = []
        for _ in range(WAITING):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.settimeout(60)
            connection.connect(str(SOCKET))
            connection.sendall(greeting)
            connections.append(connection)
        for connection in connections:
            while receive(connection, 60).type is not FrameType.ASK:
                pass
        yield
    wait_until(lambda: ask("agent status")["pending"] == 0, "the logins end")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_administrator_is_answered_while_a_thousand_logins_wait(world: World, waiting: None) -> None:
    status = ask("agent status")
    assert (status["version"], status["pending"]) == (__version__, WAITING)
    for verb in (
        ("throttle", "show", "alice"),
        ("throttle", "clear", "alice"),
        ("session", "list"),
        ("session", "end", "alice"),
        ("recovery", "list", "alice"),
    ):
        done = run_command(*verb)
        assert done.returncode == 0, done.stderr
    assert ask("agent status")["pending"] == WAITING
    beyond = subprocess.run(["pam-iampass", "throttle", "show", "alice"], check=False, capture_output=True)
    assert beyond.returncode == 0

"""The pam_python door in a real sshd, with the agent and with what plays one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import RunningAgent
from tests.support.pam_files import SSHD, write_sshd_file
from tests.support.scripted_module import (
    DoorConnection,
    Frame,
    ScriptedModule,
    deadline,
    greeting,
    result,
)
from tests.support.world import World

SOCKET = Path("/run/iampass/pam.sock")
PROGRAM = Path("/usr/lib/openssh/sshd-session")
PAM_PYTHON = "pam_python.so /usr/lib/pam-iampass/pam_iampass.py"


@pytest.fixture(autouse=True)
def door(world: World) -> Iterator[None]:
    """sshd's PAM file names this door."""
    text = write_sshd_file("key", PAM_PYTHON)
    yield
    SSHD.write_text(text.replace(PAM_PYTHON, "pam_iampass.so"))


def in_the_account_phase() -> None:
    """Only there: the auth line is put out of force."""
    lines = [line for line in SSHD.read_text().splitlines() if "pam_python" not in line]
    SSHD.write_text("\n".join([f"account required {PAM_PYTHON}", *lines, ""]))


@pytest.mark.parametrize("kind", ["auth", "account"])
def test_an_approval_lets_in_and_a_refusal_is_one_request(world: World, kind: str) -> None:
    if kind == "account":
        in_the_account_phase()
    for answer, status in (("approve", 0), ("deny", 255)):
        world.mark()
        login = world.login("alice")
        if kind == "auth":
            login.enter()
        (world.approve if answer == "approve" else world.deny)("alice")
        assert login.finish() == status, login.shown
        assert world.starts() == 1
        assert world.outcome("alice")[1] == ("success" if answer == "approve" else "denied")
        assert world.left_open() == []


def test_a_user_who_is_exempt_gets_in_without_a_request(world: World) -> None:
    world.machine.change(exempt="{users: [alice]}")
    login = world.login("alice")
    assert login.finish() == 0
    assert world.calls() == []


def test_an_application_that_dies_ends_the_request(world: World) -> None:
    login = world.login("alice")
    login.enter()
    session = world.request("alice")
    login.kill()
    world.sandbox.wait_for_end(session)
    assert world.outcome("alice") == ("cancelled", "denied")


@pytest.fixture
def no_agent(agent: RunningAgent) -> Iterator[None]:
    agent.stop()
    yield
    agent.__enter__()
    agent.wake()


def denied(world: World) -> str:
    """What the door says in its record when it denies."""
    login = world.login("alice", "NumberOfPasswordPrompts=1")
    assert login.finish() == 255
    assert "In as" not in login.shown
    (record,) = [line for line in world.everything_logged().split("outcome=")[1:] if "result=denied" in line]
    return record


def test_without_an_agent_the_login_is_denied_and_the_text_says_so(world: World, no_agent: None) -> None:
    login = world.login("alice")
    assert login.finish() == 255
    assert "The IAMPASS agent is not running. Please ask your administrator." in login.shown
    assert "systemctl" not in login.shown
    logged = world.everything_logged()
    assert "outcome=unavailable result=denied user=alice service=sshd rhost=127.0.0.1" in logged
    assert "As root: systemctl start pam-iampass-agent.socket" in logged


@pytest.mark.parametrize("kind", ["auth", "account"])
def test_the_program_of_sshd_is_named_where_it_may_show_text(world: World, no_agent: None, kind: str) -> None:
    if kind == "account":
        in_the_account_phase()
    named = []

    def look(connection: DoorConnection) -> None:
        connection.hello()
        named.append(connection.items.get("executable"))
        connection.send(result(11 if kind == "auth" else 6))

    with ScriptedModule.as_agent(SOCKET, look):
        assert world.login("alice", "NumberOfPasswordPrompts=1").finish() == 255
    status = PROGRAM.stat()
    installed = f"{status.st_dev}:{status.st_ino}:{status.st_ctime_ns}".encode()
    assert named == [installed if kind == "auth" else None]


UNEXPECTED = {
    "another version": (greeting(2), result(0)),
    "an unknown result": (greeting(), result(7)),
    "a deadline that passes": (greeting(), deadline(100)),
    "an id with a slash": (greeting(), Frame(b"K", b"../../etc/passwd"), result(0)),
    "a prompt of an unknown style": (greeting(), Frame(b"Q", b"\2x"), result(0)),
    "a frame over 64 KiB": (greeting(), Frame(b"S", b"x" * 65537), result(0)),
}


@pytest.mark.parametrize("frames", UNEXPECTED.values(), ids=list(UNEXPECTED))
def test_anything_unexpected_denies(world: World, no_agent: None, frames: tuple[Frame, ...]) -> None:
    def plays(connection: DoorConnection) -> None:
        connection.send_bytes(frames[0].wire)
        connection.hello()
        connection.send(*frames[1:])
        assert connection.door_closes()

    def begins(connection: DoorConnection) -> None:
        try:
            plays(connection)
        except ConnectionError:
            assert connection.door_closes()

    with ScriptedModule.as_agent(SOCKET, begins, greets=False):
        assert "unavailable result=denied user=alice " in denied(world)

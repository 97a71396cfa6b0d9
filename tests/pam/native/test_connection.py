"""A door speaks to the agent, or to nobody."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pam.native.conftest import (
    ERROR_MSG,
    PAM_ABORT,
    PAM_MAXTRIES,
    PAM_PERM_DENIED,
    PAM_SUCCESS,
    Application,
    Door,
    Playing,
)
from tests.support.in_time import BUSY_ONCE, in_time
from tests.support.scripted_module import DoorConnection, Frame, ScriptedModule, greeting, result, say

NOBODY = 65534
NOT_DECIDED = (
    b"The IAMPASS agent has not decided this login. Try again; "
    b"if that does not help, as root: pam-iampass check"
)
NOT_ANSWERING = b"The IAMPASS agent does not answer. As root: systemctl restart pam-iampass-agent.service"


def approves(door: DoorConnection) -> None:
    door.hello()
    door.send(result(0))


@contextlib.contextmanager
def changed(path: Path, mode: int, owner: int = 0, group: int = 0) -> Iterator[None]:
    """A file or folder with another mode and owner for a while."""
    before = path.stat()
    os.chown(path, owner, group)
    path.chmod(mode)
    try:
        yield
    finally:
        os.chown(path, before.st_uid, before.st_gid)
        path.chmod(stat.S_IMODE(before.st_mode))


def test_an_agent_that_is_there_is_asked(application: Application, agent: Playing) -> None:
    with agent(approves):
        assert application.run().result == PAM_SUCCESS


@pytest.mark.parametrize("phase", ["authenticate", "acct_mgmt"])
@pytest.mark.parametrize("left_behind", [False, True], ids=["no socket", "nobody listens"])
@pytest.mark.parametrize("real_uid", [0, 1234])
def test_without_an_agent_a_login_is_denied_and_the_log_says_how_to_start_it(
    application: Application, door: Door, left_behind: bool, real_uid: int, phase: str
) -> None:
    with contextlib.ExitStack() as after:
        if left_behind:
            after.enter_context(socket.socket(socket.AF_UNIX)).bind(str(door.agent_socket))
            door.agent_socket.chmod(0o600)
            after.callback(door.agent_socket.unlink)
        run = in_time(
            lambda: application.run(phase, env="SSH_AUTH_INFO_0=", real_uid=real_uid),
            door.greeting + BUSY_ONCE,
            least=door.greeting - 0.1,
        )
    assert run.result == (PAM_MAXTRIES if phase == "authenticate" else PAM_PERM_DENIED)
    told = b"The IAMPASS agent is not running. Please ask your administrator."
    assert run.messages == [(ERROR_MSG, told)], "nobody at ssh can act as root"
    assert "systemctl start pam-iampass-agent.socket" in run.reason
    assert "pam-iampass-agent --socket" in run.reason


@contextlib.contextmanager
def starting_after(seconds: float, path: Path) -> Iterator[None]:
    """A listener that was left behind, and an agent that takes its place after a while."""
    with socket.socket(socket.AF_UNIX) as left_behind, contextlib.ExitStack() as agent:
        left_behind.bind(str(path))
        path.chmod(0o600)

        def start() -> None:
            path.unlink()
            agent.enter_context(ScriptedModule.as_agent(path, approves))

        timer = threading.Timer(seconds, start)
        timer.start()
        yield
        timer.join()


def test_an_agent_that_starts_meanwhile_is_asked(application: Application, door: Door) -> None:
    with starting_after(door.greeting / 2, door.agent_socket):
        assert application.run().result == PAM_SUCCESS


def test_an_agent_that_ends_before_it_greets_is_asked_again(application: Application, door: Door) -> None:
    met = []

    def is_killed_once(connection: DoorConnection) -> None:
        met.append(connection)
        if len(met) > 1:
            connection.send(greeting())
            approves(connection)

    with ScriptedModule.as_agent(door.agent_socket, is_killed_once, greets=False):
        assert application.run().result == PAM_SUCCESS
    assert len(met) == 2


def never_greets(connection: DoorConnection) -> None:
    assert connection.door_closes()


def test_an_agent_that_says_nothing_counts_as_no_agent(application: Application, door: Door) -> None:
    with ScriptedModule.as_agent(door.agent_socket, never_greets, greets=False):
        run = in_time(application.run, door.greeting + BUSY_ONCE, least=door.greeting - 0.1)
    assert run.result == PAM_ABORT
    assert [text for _style, text in run.messages] == [NOT_ANSWERING]
    assert run.reason.startswith(NOT_ANSWERING.decode())


def test_a_greeting_that_drips_does_not_move_the_deadline(application: Application, door: Door) -> None:
    with ScriptedModule.as_agent(
        door.agent_socket, lambda one: one.drip(greeting().wire, pause=0.3), greets=False
    ):
        run = in_time(application.run, door.greeting + BUSY_ONCE, least=door.greeting - 0.1)
    assert run.result == PAM_ABORT


@pytest.mark.parametrize(
    "first",
    [greeting(2), result(0), say("Hello."), Frame(b"G", b"\1"), Frame(b"X")],
    ids=lambda one: repr(one.wire),
)
def test_denied_at_once_where_anything_but_our_greeting_comes_first(
    application: Application, door: Door, first: Frame
) -> None:
    def begins(connection: DoorConnection) -> None:
        connection.send(first, result(0))
        assert connection.door_closes()

    with ScriptedModule.as_agent(door.agent_socket, begins, greets=False) as played:
        run = application.run()
    assert run.result == PAM_ABORT
    assert len(played.connections) == 1
    assert [text for _style, text in run.messages] == [NOT_DECIDED]


def test_denied_where_the_agent_greets_twice(application: Application, agent: Playing) -> None:
    def greets_again(connection: DoorConnection) -> None:
        connection.hello()
        connection.send(greeting(), result(0))

    with agent(greets_again):
        run = application.run()
    assert run.result == PAM_ABORT
    assert "out of turn" in run.reason


def test_a_signal_ends_the_wait_for_a_greeting_and_the_door_leaves_the_record(
    application: Application, door: Door
) -> None:
    def is_interrupted(connection: DoorConnection) -> None:
        os.kill(connection.pid, signal.SIGINT)
        assert connection.door_closes()

    with ScriptedModule.as_agent(door.agent_socket, is_interrupted, greets=False):
        run = application.run(block_signals=True)
    assert run.result == PAM_ABORT
    assert run.reason.startswith("the login was interrupted")
    assert run.messages == []


@pytest.mark.parametrize("mode", [0o601, 0o602, 0o604, 0o610, 0o620, 0o640, 0o666], ids=oct)
def test_denied_where_the_socket_is_open_to_others(application: Application, door: Door, mode: int) -> None:
    with ScriptedModule.as_agent(door.agent_socket, approves, mode=mode) as played:
        run = application.run()
    assert run.result == PAM_ABORT
    assert played.connections == []
    assert "not accessible to root alone" in run.reason


def test_denied_where_the_socket_belongs_to_another_user(application: Application, door: Door) -> None:
    with ScriptedModule.as_agent(door.agent_socket, approves, owner=NOBODY) as played:
        run = application.run()
    assert run.result == PAM_ABORT
    assert played.connections == []


def test_denied_where_another_user_listens(application: Application, door: Door) -> None:
    def never(connection: DoorConnection) -> None:
        assert connection.door_closes()
        with pytest.raises(ConnectionError):
            connection.receive()

    with ScriptedModule.as_agent(door.agent_socket, never, listener_uid=NOBODY):
        run = application.run()
    assert run.result == PAM_ABORT
    assert "not root" in run.reason


@pytest.mark.parametrize(("mode", "owner"), [(0o775, 0), (0o757, 0), (0o1777, 0), (0o755, NOBODY)])
def test_denied_where_others_can_write_the_folder(
    application: Application, agent: Playing, door: Door, mode: int, owner: int
) -> None:
    with agent(approves) as played, changed(door.agent_socket.parent, mode, owner):
        run = application.run()
    assert run.result == PAM_ABORT
    assert played.connections == []
    assert "folder" in run.reason


def test_denied_where_the_folder_is_a_link(application: Application, agent: Playing, door: Door) -> None:
    folder = door.agent_socket.parent
    with agent(approves) as played:
        elsewhere = folder.rename(folder.with_name("elsewhere"))
        folder.symlink_to(elsewhere)
        try:
            run = application.run()
        finally:
            folder.unlink()
            elsewhere.rename(folder)
    assert run.result == PAM_ABORT
    assert played.connections == []


def test_denied_where_the_socket_is_a_link(application: Application, door: Door) -> None:
    elsewhere = door.agent_socket.with_name("elsewhere")
    with ScriptedModule.as_agent(elsewhere, approves) as played:
        door.agent_socket.symlink_to(elsewhere)
        try:
            run = application.run()
        finally:
            door.agent_socket.unlink()
    assert run.result == PAM_ABORT
    assert played.connections == []


def test_denied_where_a_file_is_in_the_sockets_place(application: Application, door: Door) -> None:
    door.agent_socket.touch(mode=0o600)
    try:
        assert application.run().result == PAM_ABORT
    finally:
        door.agent_socket.unlink()


def test_denied_where_the_socket_is_of_another_type(application: Application, door: Door) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
        other.bind(str(door.agent_socket))
        door.agent_socket.chmod(0o600)
        other.listen()
        try:
            run = application.run()
        finally:
            door.agent_socket.unlink()
    assert run.result == PAM_ABORT
    assert "no connection to the agent" in run.reason


@contextlib.contextmanager
def full_queue(path: Path) -> Iterator[socket.socket]:
    """A listener whose queue is full."""
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as waiting:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(0)
        waiting.connect(str(path))
        try:
            yield listener
        finally:
            path.unlink()


def test_an_agent_whose_queue_stays_full_counts_as_no_agent(application: Application, door: Door) -> None:
    with full_queue(door.agent_socket):
        run = in_time(application.run, door.greeting + BUSY_ONCE, least=door.greeting - 0.1)
    assert run.result == PAM_ABORT
    assert run.reason.startswith(NOT_ANSWERING.decode())


def test_denied_where_the_agent_dies(application: Application, agent: Playing) -> None:
    with agent(lambda connection: connection.close()):
        assert application.run().result == PAM_ABORT


def test_no_descriptor_is_left_behind(application: Application, agent: Playing) -> None:
    with agent(approves) as played:
        run = application.run(calls=30, nofile=110)
    assert run.result == PAM_SUCCESS
    assert len(played.connections) == 30

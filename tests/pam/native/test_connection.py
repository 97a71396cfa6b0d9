"""Whom a door speaks to: the agent, or nobody."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pam.native.conftest import ERROR_MSG, PAM_ABORT, PAM_SUCCESS, Application, Door, Playing
from tests.support.in_time import BUSY, in_time
from tests.support.scripted_module import DoorConnection, ScriptedModule, result

NOBODY = 65534


def approves(door: DoorConnection) -> None:
    door.greeting()
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


@pytest.mark.parametrize("left_behind", [False, True], ids=["no socket", "nobody listens"])
@pytest.mark.parametrize("real_uid", [0, 1234])
def test_without_an_agent_a_login_is_denied_and_shown_how_to_start_it(
    application: Application, door: Door, left_behind: bool, real_uid: int
) -> None:
    with contextlib.ExitStack() as after:
        if left_behind:
            after.enter_context(socket.socket(socket.AF_UNIX)).bind(str(door.agent_socket))
            door.agent_socket.chmod(0o600)
            after.callback(door.agent_socket.unlink)
        run = application.run(real_uid=real_uid)
    assert run.result == PAM_ABORT
    [(style, text)] = run.messages
    assert style == ERROR_MSG
    assert b"systemctl start pam-iampass-agent.socket" in text
    assert b"pam-iampass-agent --socket" in text
    assert run.reason.startswith(text.decode())


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


def test_denied_after_a_moment_where_the_agent_is_busy(application: Application, door: Door) -> None:
    with full_queue(door.agent_socket):
        run = in_time(application.run, door.busy + BUSY, least=door.busy - 0.1)  # a silent agent has 10 s
    assert run.result == PAM_ABORT
    assert "busy" in run.reason


def test_denied_where_the_agent_dies(application: Application, agent: Playing) -> None:
    with agent(lambda connection: connection.close()):
        assert application.run().result == PAM_ABORT


def test_no_descriptor_is_left_behind(application: Application, agent: Playing) -> None:
    with agent(approves) as played:
        run = application.run(calls=30, nofile=110)
    assert run.result == PAM_SUCCESS
    assert len(played.connections) == 30

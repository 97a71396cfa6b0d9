"""The control socket of the agent, over a real socket: who is answered, and within which bounds."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis.strategies import binary, booleans

from pam_iampass.agent import control
from pam_iampass.agent.control import (
    GREETING,
    LARGEST_REQUEST,
    AgentUnavailable,
    ControlRequest,
    ControlServer,
    Handler,
    ask,
)
from pam_iampass.audit.journal import Journal
from pam_iampass.errors import PamIampassError
from tests.support.folders import new_own_folder
from tests.support.setting import Records
from tests.support.world import PATIENCE, wait_until


class Agent:
    """A control server whose handlers a test chooses."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.path = folder / "control.sock"
        self.records = Records()
        self.handlers: dict[str, Handler] = {"echo": lambda request: request.text("word")}
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.path.chmod(0o600)
        self.listener.listen(64)
        options = {"allowed_uid": os.getuid(), **options}
        self.server = ControlServer(self.listener, self.handlers, Journal(self.records), **options)
        self.server.start()

    def ask(self, request: str, **arguments: Any) -> Any:
        return ask(request, path=str(self.path), owner=os.getuid(), **arguments)

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(PATIENCE)
        connection.connect(str(self.path))
        return connection

    def greeted(self) -> tuple[socket.socket, bytes]:
        """A connection and the greeting that the agent has sent."""
        connection = self.connect()
        greeting = b""
        while not greeting.endswith(b"\n"):
            greeting += connection.recv(1)
        return connection, greeting


def sent_after(connection: socket.socket, data: bytes) -> bytes:
    """What the agent sends after `data` until it closes the connection."""
    answer = b""
    with connection:
        with suppress(BrokenPipeError):
            connection.sendall(data)
        with suppress(ConnectionResetError):  # it has closed before it had read everything
            while chunk := connection.recv(65536):
                answer += chunk
    return answer


@contextmanager
def running(folder: Path, **options: Any) -> Iterator[Agent]:
    agent = Agent(folder, **options)
    try:
        yield agent
    finally:
        agent.server.stop()


@pytest.fixture
def agent(own_folder: Path) -> Iterator[Agent]:
    with running(own_folder) as found:
        yield found


@pytest.fixture(scope="module")
def shared() -> Iterator[Agent]:
    with new_own_folder() as folder, running(folder) as found:
        yield found


def test_a_request_gets_its_result(agent: Agent) -> None:
    assert agent.ask("echo", word="Grüße\n") == "Grüße\n"


def test_lines_of_progress_come_before_the_result(agent: Agent) -> None:
    def count(request: ControlRequest) -> int:
        for number in range(3):
            request.progress(f"{number}")
        return 3

    agent.handlers["count"] = count
    shown: list[str] = []
    assert ask("count", shown.append, path=str(agent.path), owner=os.getuid()) == 3
    assert shown == ["0", "1", "2"]


def test_an_error_of_the_agent_is_one_of_the_command(agent: Agent) -> None:
    def fail(_request: ControlRequest) -> None:
        raise PamIampassError("the disk is full", "make room")

    agent.handlers["fail"] = fail
    with pytest.raises(PamIampassError) as caught:
        agent.ask("fail")
    assert (caught.value.what, caught.value.remedy) == ("the disk is full", "make room")


def test_a_request_that_breaks_does_not_end_the_agent(agent: Agent) -> None:
    agent.handlers["break"] = lambda _request: 1 // 0
    with pytest.raises(PamIampassError, match="failed with ZeroDivisionError"):
        agent.ask("break")
    assert agent.ask("echo", word="on") == "on"


@pytest.mark.parametrize("word", [None, 1, ["x"], "x" * 1001, "\0"], ids=repr)
def test_an_argument_of_another_type_is_refused(agent: Agent, word: object) -> None:
    with pytest.raises(PamIampassError, match="word in the request"):
        agent.ask("echo", word=word)


def test_an_unknown_request_is_refused(agent: Agent) -> None:
    with pytest.raises(PamIampassError, match="does not know this request"):
        agent.ask("reboot")


REQUEST = json.dumps({"request": "echo", "arguments": {"word": "x"}}).encode() + b"\n"


def test_the_greeting_is_repeated_with_its_nonce_before_anything_is_answered(agent: Agent) -> None:
    connection, greeting = agent.greeted()
    assert re.fullmatch(re.escape(GREETING.encode()) + b" [0-9a-f]{32}\n", greeting)
    assert json.loads(sent_after(connection, greeting + REQUEST)) == {"result": "x"}
    other, another = agent.greeted()
    assert another != greeting
    assert sent_after(other, greeting + REQUEST) == b""


@pytest.mark.parametrize(
    "data",
    [
        REQUEST,
        GREETING.encode() + b"\n" + REQUEST,
        b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n",
        b"READY=1\n",
        b"\0\0\0\1\n" + REQUEST,
        b"x" * 200,
    ],
)
def test_what_another_protocol_sends_gets_nothing(agent: Agent, data: bytes) -> None:
    connection, _greeting = agent.greeted()
    assert sent_after(connection, data) == b""


@pytest.mark.parametrize("data", [b"[]\n", b"{\n", b"\xff\n", b"[" * 100000 + b"\n"], ids=repr)
def test_what_is_no_object_is_refused(agent: Agent, data: bytes) -> None:
    connection, greeting = agent.greeted()
    assert "not a JSON object" in json.loads(sent_after(connection, greeting + data))["error"]["what"]


def test_a_request_that_is_too_long_gets_nothing(agent: Agent) -> None:
    connection, greeting = agent.greeted()
    assert sent_after(connection, greeting + b"x" * (LARGEST_REQUEST + 100_000)) == b""


def test_a_process_of_another_user_gets_nothing(own_folder: Path) -> None:
    with running(own_folder, allowed_uid=os.getuid() + 1) as agent:
        assert sent_after(agent.connect(), b"") == b""
        with pytest.raises(AgentUnavailable, match="closed the connection"):
            agent.ask("echo", word="x")
        assert len(agent.records.fields) == 1  # and not one more for each
        assert "turned away" in agent.records.fields[0]["MESSAGE"]


@pytest.mark.needs_root
@pytest.mark.parametrize(
    "ids", [(1000, 0, 0), (0, 0, 1000), (1000, 0, 1000)], ids=["real", "saved", "real and saved"]
)
def test_a_process_with_another_user_id_than_its_effective_one_gets_nothing(
    own_folder: Path, ids: tuple[int, int, int]
) -> None:
    """As a set-uid program has it, which a user may lead to the socket."""
    with running(own_folder) as agent:
        child = os.fork()
        if child == 0:
            os.setresuid(*ids)
            connection = agent.connect()
            os._exit(0 if sent_after(connection, b"") == b"" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture(params=["peer's pidfd", "before Linux 6.5"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without SO_PEERPIDFD; the kernel cannot be another one."""
    if request.param == "before Linux 6.5":
        monkeypatch.setattr(control, "_SO_PEERPIDFD", 9999)


@pytest.mark.usefixtures("kernel")
def test_a_process_of_the_right_user_is_answered_on_each_kernel(agent: Agent) -> None:
    assert agent.ask("echo", word="x") == "x"


@pytest.mark.usefixtures("kernel")
def test_a_process_that_has_ended_gets_nothing(own_folder: Path) -> None:
    """Whoever holds the connection then is another process; its id is still the one that has ended, a zombie's."""
    listener = socket.socket(socket.AF_UNIX)
    path = str(own_folder / "other.sock")
    listener.bind(path)
    listener.listen(1)
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        made = socket.socket(socket.AF_UNIX)
        made.connect(path)
        socket.send_fds(theirs, [b"x"], [made.fileno()])
        os._exit(0)
    _data, descriptors, _flags, _address = socket.recv_fds(ours, 1, 1)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    server = ControlServer(listener, {}, Journal(Records()), allowed_uid=os.getuid())
    server.start()
    with socket.socket(fileno=descriptors[0]) as inherited:
        inherited.settimeout(PATIENCE)
        assert inherited.recv(100) == b""
    server.stop()
    os.waitpid(child, 0)
    for each in (ours, theirs):
        each.close()


def test_silent_and_slow_clients_keep_nobody_out_and_are_dropped(own_folder: Path) -> None:
    with running(own_folder, request_timeout=0.5) as agent:
        silent = [agent.connect() for _ in range(5)]
        slow, greeting = agent.greeted()
        slow.sendall(greeting + REQUEST[:5])
        assert agent.ask("echo", word="x") == "x"
        for connection in silent:
            assert sent_after(connection, b"").count(b"\n") == 1  # the greeting
        assert sent_after(slow, b"") == b""


def test_requests_beyond_the_limit_are_refused_at_once(own_folder: Path) -> None:
    go_on = threading.Event()
    with running(own_folder, most_requests=2) as agent:
        agent.handlers["wait"] = lambda _request: go_on.wait(PATIENCE)
        waiting = [threading.Thread(target=agent.ask, args=("wait",)) for _ in range(2)]
        for thread in waiting:
            thread.start()
        wait_until(lambda: agent.server.requests == 2, "both have begun")
        with pytest.raises(PamIampassError, match="too many requests"):
            agent.ask("echo", word="x")
        go_on.set()
        for thread in waiting:
            thread.join(PATIENCE)
        wait_until(lambda: agent.server.requests == 0, "both have ended")
        assert agent.ask("echo", word="x") == "x"


def test_without_an_agent_the_error_says_how_to_start_it(own_folder: Path) -> None:
    path = own_folder / "control.sock"
    with pytest.raises(AgentUnavailable, match="No such file") as missing:
        ask("echo", path=str(path), owner=os.getuid())
    assert "systemctl start pam-iampass-agent.socket" in missing.value.remedy
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        path.chmod(0o600)
    with pytest.raises(AgentUnavailable, match="refused"):
        ask("echo", path=str(path), owner=os.getuid())


def test_a_socket_of_others_is_not_asked(own_folder: Path, agent: Agent) -> None:
    agent.path.chmod(0o660)
    with pytest.raises(AgentUnavailable, match="for its owner alone"):
        agent.ask("echo", word="x")
    agent.path.chmod(0o600)
    own_folder.chmod(0o777)
    with pytest.raises(AgentUnavailable, match="users other than root can write"):
        agent.ask("echo", word="x")


def test_an_agent_that_hangs_is_given_up(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "SILENCE", 0.2)  # it would wait for a minute
    go_on = threading.Event()
    agent.handlers["hang"] = lambda _request: go_on.wait(PATIENCE)
    with pytest.raises(AgentUnavailable, match="does not answer") as caught:
        agent.ask("hang")
    go_on.set()
    assert caught.value.remedy == "systemctl status pam-iampass-agent"


@given(data=binary(max_size=300), greets=booleans())
def test_whatever_is_sent_the_agent_answers_the_next_one(shared: Agent, data: bytes, greets: bool) -> None:
    connection, greeting = shared.greeted()
    connection.sendall(greeting + data if greets else data)
    connection.shutdown(socket.SHUT_WR)
    answer = sent_after(connection, b"")
    assert answer == b"" or (greets and "what" in json.loads(answer)["error"])
    assert shared.ask("echo", word="x") == "x"

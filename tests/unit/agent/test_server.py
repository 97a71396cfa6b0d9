"""The agent: many logins from one process, over a real socket, against a real sandbox."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from pam_iampass.agent import server
from pam_iampass.agent.context import CONNECTIONS, Configurations, LoginContexts
from pam_iampass.agent.server import lookups_hang
from pam_iampass.agent.wire import GREETING, Hello
from pam_iampass.audit.journal import Journal
from pam_iampass.client import connection
from pam_iampass.client.connection import Lookups
from pam_iampass.login import approval
from pam_iampass.login.application import PamApplication, PamMessage, PamResponse
from pam_iampass.login.bypass import Bypass, Moment
from pam_iampass.outcome import PamCode, Phase
from pam_iampass.system.unix_sockets import notify
from tests.support.frames import encode_items
from tests.support.in_time import BUSY
from tests.support.running_agent import Running, running
from tests.support.sandbox import Hang, Sandbox
from tests.support.setting import ME, Setting
from tests.support.state_file import busy
from tests.support.world import PATIENCE, wait_until


@pytest.fixture
def agent(world: Setting) -> Iterator[Running]:
    with running(world) as found:
        yield found


def outcomes(world: Setting) -> list[str]:
    return sorted(record["IAMPASS_OUTCOME"] for record in world.records.fields if "IAMPASS_OUTCOME" in record)


def test_logins_at_the_same_time_each_get_their_own_answer(agent: Running) -> None:
    sandbox = agent.world.sandbox
    sandbox.auto = "ask"
    agent.world.configure(timeout="60s")
    doors = [agent.door(service=f"test-{number}") for number in range(6)]
    for number in range(6):
        (sandbox.approve if number % 2 else sandbox.deny)(sandbox.wait_for_request(Setting.token, 20.0))
    codes = sorted(door.finish().code or 0 for door in doors)
    assert codes == [PamCode.SUCCESS] * 3 + [PamCode.ABORT] * 3
    agent.world.wait_for_ends()


def test_settings_are_read_anew_when_they_change(agent: Running) -> None:
    assert agent.login().code == PamCode.SUCCESS
    agent.world.configure(exempt=f"{{users: [{ME}]}}")
    assert agent.login().code == PamCode.IGNORE
    agent.world.write("iampass.yaml", "application_id: half-written\nserver")
    assert agent.login().code == PamCode.ABORT
    agent.world.configure()
    assert agent.login().code == PamCode.SUCCESS


def test_a_secret_that_was_opened_to_others_denies_though_it_was_read_before(agent: Running) -> None:
    assert agent.login().code == PamCode.SUCCESS
    (agent.world.folder / "application-secret").chmod(0o644)
    assert agent.login().code == PamCode.ABORT
    (agent.world.folder / "application-secret").chmod(0o640)
    agent.world.folder.chmod(0o777)
    assert agent.login().code == PamCode.ABORT
    assert outcomes(agent.world) == ["approved", "misconfigured", "misconfigured"]


def test_a_certificate_authority_that_was_replaced_counts_from_the_next_login_on(agent: Running) -> None:
    world = agent.world
    assert agent.login().code == PamCode.SUCCESS
    with Sandbox() as stranger:
        world.write("ca.pem", stranger.ca_file.read_text())
        assert agent.login().code == PamCode.ABORT
    world.write("ca.pem", world.sandbox.ca_file.read_text())
    assert agent.login().code == PamCode.SUCCESS
    assert outcomes(world) == ["approved", "approved", "misconfigured"]


def test_stopping_ends_pending_logins_and_leaves_no_session_open(world: Setting) -> None:
    world.sandbox.auto = "ask"
    world.configure(timeout="30s")
    with running(world) as agent:
        doors = [agent.door(), agent.door(ssh_auth_info="")]
        world.sandbox.wait_for_request(Setting.token)
        wait_until(lambda: agent.agent.pending == 2, "a login is not served")
        began = time.monotonic()
        agent.agent.stop()
        told = [door.finish() for door in doors]
        assert time.monotonic() - began < BUSY
    assert [answer.code for answer in told] == [PamCode.ABORT, PamCode.MAXTRIES]
    assert told[0].errors == ["The phone check is restarting. Please try again."]
    assert outcomes(world) == ["unavailable", "unavailable"]
    world.wait_for_ends()


def test_leaving_waits_for_the_pending_logins_and_serves_those_that_still_come(world: Setting) -> None:
    world.sandbox.auto = "ask"
    world.configure(timeout="30s")
    with running(world) as agent:
        first = agent.door(service="first")
        request = world.sandbox.wait_for_request(Setting.token)
        agent.agent.leave()
        second = agent.door(service="second")
        world.sandbox.approve(request)
        assert first.finish().code == PamCode.SUCCESS
        world.sandbox.approve(world.sandbox.wait_for_request(Setting.token, after=request))
        assert second.finish().code == PamCode.SUCCESS
        wait_until(lambda: not agent.runs, "the agent has left")


def test_leaving_ends_after_some_time_however_many_logins_come(world: Setting) -> None:
    world.sandbox.auto = "ask"
    world.configure(timeout="30s")
    with running(world, most_leaving=0.5) as agent:
        door = agent.door()
        world.sandbox.wait_for_request(Setting.token)
        agent.agent.leave()
        assert door.finish().code == PamCode.ABORT
        wait_until(lambda: not agent.runs, "the agent has left")
    assert outcomes(world) == ["unavailable"]


def test_a_poll_that_hangs_hides_the_end_of_the_application_and_of_the_agent_for_its_own_time_only(
    world: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approval, "POLL_TIMEOUT", 1.0)  # less than the agent waits when it stops
    world.sandbox.auto = "ask"
    world.configure(timeout="60s")
    world.sandbox.misbehave("poll", Hang(), times=None)
    with running(world) as agent:
        for way_to_end in (lambda door: door.die(), lambda _door: agent.agent.stop()):
            polls = sum(call.kind == "poll" for call in world.sandbox.calls)
            door = agent.door()
            session = world.sandbox.wait_for_request(Setting.token)
            world.sandbox.wait_for_calls("poll", polls + 1)
            way_to_end(door)
            world.sandbox.wait_for_end(session)
            door.die()
    assert outcomes(world) == ["cancelled", "unavailable"]


def test_stopping_also_ends_a_login_that_is_at_the_prompt(world: Setting) -> None:
    with running(world) as agent:
        connection = agent.connect()
        connection.sendall(
            Hello(Phase.AUTHENTICATE, 0, (f"config={world.folder / 'iampass.yaml'}",)).encode().encode()
        )
        connection.sendall(encode_items({"user": ME.encode(), "ssh_auth_info": b""}).encode())
        assert connection.recv(1) == b"Q"
        agent.agent.stop()
        received = b""
        while chunk := connection.recv(4096):
            received += chunk
        connection.close()
    assert received.endswith(b"R\0\0\0\x04" + int(PamCode.MAXTRIES).to_bytes(4, "big"))


def test_more_than_the_most_pending_are_asked_to_come_back(world: Setting) -> None:
    world.sandbox.auto = "ask"
    with running(world, most_pending=1) as agent:
        first = agent.door()
        world.sandbox.wait_for_request(Setting.token)
        second = agent.login()
        assert second.code == PamCode.ABORT
        assert second.errors == ["Too many logins at once. Please try again in a minute."]
        world.sandbox.approve(Setting.token)
        assert first.finish().code == PamCode.SUCCESS
    assert outcomes(world) == ["approved", "unavailable"]


def test_a_peer_that_is_not_root_is_turned_away(world: Setting) -> None:
    with running(world, allowed_uid=os.getuid() + 1) as agent:
        assert agent.login().code is None
    assert world.records.fields == []
    assert world.calls == []


def test_a_door_that_says_nothing_is_dropped_after_two_seconds(agent: Running) -> None:
    began = time.monotonic()
    with agent.connect() as silent:
        silent.settimeout(PATIENCE)
        assert silent.recv(1) == b""
        assert 1.8 < time.monotonic() - began < 2 + BUSY


@pytest.mark.parametrize(
    "junk", [b"\0" * 100, b"X\0\0\0\0", b"H\xff\xff\xff\xff", b"I\0\0\0\0", b"H\0\0\0\x01\x01"]
)
def test_junk_is_dropped_and_the_next_login_is_served(agent: Running, junk: bytes) -> None:
    agent.world.configure(exempt=f"{{users: [{ME}]}}")
    with agent.connect() as odd:
        odd.settimeout(PATIENCE)
        odd.sendall(junk)
        odd.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):  # where it closes on bytes that it did not read
            assert odd.recv(1) == b""
    assert agent.login().code == PamCode.IGNORE


def test_many_pending_logins_poll_more_slowly(world: Setting) -> None:
    pending = 1
    contexts = LoginContexts(Configurations(), world.state, lambda: pending)
    assert contexts.slowdown() == 1.0
    pending = 1000
    assert 1000 / (0.48 * contexts.slowdown()) <= 320


def test_connections_that_are_asked_for_a_recovery_code_slow_no_login_down(world: Setting) -> None:
    """Strangers can open them."""
    contexts = LoginContexts(Configurations(), world.state, lambda: CONNECTIONS + 1)
    context = contexts("/dev/null", lambda _reason: None)

    class Stranger:
        phase, user, service, ssh_connection = Phase.AUTHENTICATE, ME, "sshd", None
        peer_pid = os.getpid()

        def opener(self) -> tuple[int, int]:
            return self.peer_pid, os.pidfd_open(self.peer_pid)

        def conversation(self, message: PamMessage, within: float | None = None) -> PamResponse:
            held.append(context.may_be_held())
            return PamResponse("")

    held: list[bool] = []
    assert not context.may_be_held()
    context.typed_codes.ask(cast("PamApplication", Stranger()))
    assert held == [True]
    assert not context.may_be_held()


def test_a_user_who_floods_the_socket_of_systemd_does_not_make_the_agent_look_dead(
    world: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        flood = 0
        while notify("."):
            flood += 1
        with running(world, alive=lambda: notify("WATCHDOG=1"), every=60.0) as agent:
            assert agent.login().code == PamCode.SUCCESS
            assert [systemd.recv(20) for _ in range(flood)] == [b"."] * flood
            assert systemd.recv(20) == b"WATCHDOG=1"


def test_a_slow_disk_holds_up_neither_the_next_login_nor_the_news_that_the_agent_is_alive(
    world: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.state.bypasses.add(Bypass(ME, 0, None, 600.0, Moment.now(), "root", "", survives_reboot=False))
    door, systemd = str(tmp_path / "pam.sock"), str(tmp_path / "notify")
    seen: list[bytes] = []

    def log_in() -> None:
        try:
            told.recv(200)
            with busy(world.state.database), socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(PATIENCE)
                connection.connect(door)
                seen.append(connection.recv(9))
                seen.append(told.recv(200))  # what may have been sent before the file was busy
                seen.append(told.recv(200))
                seen.append(told.recv(200))
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        listener.bind(door)
        listener.listen()
        told.bind(systemd)
        told.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", systemd)
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        monkeypatch.setattr(server, "HOUSEKEEPING", 0.01, raising=False)
        monkeypatch.setattr(server, "AgentState", lambda _journal: world.state)
        monkeypatch.setattr(server, "STACK_SIZE", 0)
        monkeypatch.setattr(server, "passed_listeners", lambda: server.Listeners(listener, None))
        monkeypatch.setattr(server, "peer_credentials", lambda _connection: (os.getpid(), 0, 0))
        handlers = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]
        thread = threading.Thread(target=log_in)
        try:
            thread.start()
            assert server.main([]) == 0
        finally:
            thread.join()
            for number, handler in handlers:
                signal.signal(number, handler)
    assert seen[0] == GREETING.encode()
    assert all(news.startswith(b"READY=1\nWATCHDOG=1\n") for news in seen[1:])
    assert len(seen) == 4


def test_without_systemd_nobody_is_notified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert notify("READY=1")


@pytest.mark.parametrize("by_systemd", [True, False])
def test_where_lookups_hang_an_agent_of_systemd_leaves_once_no_login_is_pending(
    world: Setting, monkeypatch: pytest.MonkeyPatch, by_systemd: bool
) -> None:
    monkeypatch.setattr(connection, "MOST_LOOKUPS", 1)
    over = threading.Event()
    world.sandbox.auto = "ask"
    world.configure(timeout="30s")
    with running(world) as agent:
        door = agent.door()
        request = world.sandbox.wait_for_request(Setting.token)
        journal = Journal(world.records)
        look_up = Lookups(
            lambda *_, **__: [over.wait()], lambda: lookups_hang(agent.agent, journal, by_systemd)
        )
        with pytest.raises(socket.timeout):
            look_up("iampass.example.", 443, timeout=0.01)
        over.set()
        world.sandbox.approve(request)
        assert door.finish().code == PamCode.SUCCESS
        if by_systemd:
            wait_until(lambda: not agent.runs, "the agent has not left")
        else:
            world.sandbox.auto = "approve"
            assert agent.login(service="second").code == PamCode.SUCCESS
    (note,) = [fields["MESSAGE"] for fields in world.records.fields if "hang" in fields["MESSAGE"]]
    assert ("takes over" in note) is by_systemd

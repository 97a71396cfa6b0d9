"""The session phases of a login: what the agent hands over in them, and that nothing there fails a login."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import cast

import pytest

from pam_iampass.agent.application import RemoteApplication
from pam_iampass.agent.wire import FrameError, FrameType, Hello, receive
from pam_iampass.audit.journal import Journal
from pam_iampass.login.application import ApplicationGone
from pam_iampass.module import Module
from pam_iampass.outcome import PamCode, Phase
from pam_iampass.session.kept_session import AttachedLogin
from pam_iampass.session.store import KeptSessions
from tests.support.frames import encode_items
from tests.support.running_agent import Running, running
from tests.support.setting import ME, Setting

SESSION = "0123456789abcdef0123456789abcdef"


class Kept:
    """Records what it is called with."""

    def __init__(self) -> None:
        self.logins: list[tuple[str, AttachedLogin, int]] = []
        self.ended: list[tuple[str, int]] = []

    def opened(self, session: str, login: AttachedLogin, pidfd: int) -> bool:
        self.logins.append((session, login, pidfd))
        return True

    def closed(self, session: str, pid: int) -> None:
        self.ended.append((session, pid))


class Broken:
    def opened(self, session: str, login: AttachedLogin, pidfd: int) -> bool:
        os.close(pidfd)
        raise RuntimeError("a secret")

    def closed(self, session: str, pid: int) -> None:
        raise SystemExit(0)


@pytest.fixture
def kept() -> Iterator[Kept]:
    found = Kept()
    yield found
    for _session, _login, pidfd in found.logins:
        os.close(pidfd)


def call(agent: Running, phase: Phase, **items: str) -> int | None:
    """The result of one session phase; None where the agent gives none."""
    with agent.connect() as connection:
        greet(connection, phase, **items)
        return outcome(connection)


def greet(connection: socket.socket, phase: Phase, **items: str) -> None:
    named = {"user": ME, "service": "sshd", **items}
    connection.sendall(Hello(phase, 0, ()).encode().encode())
    connection.sendall(encode_items({name: value.encode() for name, value in named.items()}).encode())


def outcome(connection: socket.socket) -> int | None:
    with contextlib.suppress(ApplicationGone):
        frame = receive(connection, 20.0)
        assert frame.type is FrameType.RESULT
        return int.from_bytes(frame.payload, "big")
    return None


def test_an_opened_session_is_handed_over_with_what_the_kernel_knows(world: Setting, kept: Kept) -> None:
    items = {"xdg_session": "c7", "audit_session": "42", "tty": "ssh", "rhost": "192.0.2.7"}
    with running(world, sessions=kept) as agent:
        code = call(agent, Phase.OPEN_SESSION, session=SESSION, uid="0", **items)
    assert code == PamCode.IGNORE
    ((session, login, pidfd),) = kept.logins
    assert session == SESSION
    assert (login.pid, login.user, login.uid, login.service) == (os.getpid(), ME, os.getuid(), "sshd")
    assert (login.audit_session, login.xdg_session, login.tty, login.rhost) == (42, "c7", "ssh", "192.0.2.7")
    assert not select.select([pidfd], [], [], 0)[0]


def test_a_closed_session_is_handed_over(world: Setting, kept: Kept) -> None:
    with running(world, sessions=kept) as agent:
        assert call(agent, Phase.CLOSE_SESSION, session=SESSION) == PamCode.IGNORE
    assert kept.ended == [(SESSION, os.getpid())]


@pytest.mark.parametrize("phase", [Phase.OPEN_SESSION, Phase.CLOSE_SESSION])
@pytest.mark.parametrize(
    "session", [None, "", SESSION[1:], SESSION.upper(), SESSION + "\n", "../" + SESSION[3:]]
)
def test_without_a_valid_id_nothing_is_handed_over(
    world: Setting, kept: Kept, phase: Phase, session: str | None
) -> None:
    with running(world, sessions=kept) as agent:
        items = {} if session is None else {"session": session}
        assert call(agent, phase, **items) == PamCode.IGNORE
    assert (kept.logins, kept.ended) == ([], [])


@pytest.mark.parametrize("phase", [Phase.OPEN_SESSION, Phase.CLOSE_SESSION])
def test_an_error_of_the_one_who_keeps_sessions_fails_no_login(world: Setting, phase: Phase) -> None:
    with running(world, sessions=Broken()) as agent:
        assert call(agent, phase, session=SESSION) == PamCode.IGNORE
    (note,) = [record["MESSAGE"] for record in world.records.fields]
    assert "could not" in note
    assert "secret" not in note


def test_a_user_that_nss_does_not_know_gets_no_session(world: Setting, kept: Kept) -> None:
    with running(world, sessions=kept) as agent:
        assert call(agent, Phase.OPEN_SESSION, session=SESSION, user="no-such-user") == PamCode.IGNORE
    assert kept.logins == []


def test_a_session_phase_is_never_a_login(world: Setting, kept: Kept) -> None:
    with running(world, sessions=kept, most_pending=0) as agent:
        assert call(agent, Phase.OPEN_SESSION, session=SESSION) == PamCode.IGNORE
        assert world.calls == []


@pytest.mark.parametrize(
    ("sent", "number"), [("0", 0), ("42", 42), ("4294967295", None), ("", None), ("-1", None), ("²", None)]
)
def test_the_audit_session_is_a_number_or_unset(sent: str, number: int | None) -> None:
    ours, its = socket.socketpair()
    with ours, its, contextlib.ExitStack() as later:
        assert RemoteApplication(its, {"audit_session": sent}, later).audit_session == number


@pytest.mark.needs_root
def test_the_audit_session_of_the_agent_is_that_of_no_login() -> None:
    """As in a container that was started from a login session, where pam_loginuid may set nothing."""
    script = (
        "import contextlib, socket; from pathlib import Path\n"
        "from pam_iampass.agent.application import RemoteApplication\n"
        "Path('/proc/self/loginuid').write_text('0')\n"
        "own, its = int(Path('/proc/self/sessionid').read_text()), socket.socketpair()[1]\n"
        "for sent in (own, own + 1):\n"
        "    items = {'audit_session': str(sent)}\n"
        "    print(RemoteApplication(its, items, contextlib.ExitStack()).audit_session == sent)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    assert said.split() == ["False", "True"]


def test_only_an_id_is_kept() -> None:
    ours, its = socket.socketpair()
    with ours, its, contextlib.ExitStack() as later:
        application = RemoteApplication(its, {}, later)
        application.keep(SESSION)
        assert ours.recv(100) == b"K\0\0\0\x20" + SESSION.encode()
        with pytest.raises(FrameError):
            application.keep(SESSION + "0")


def test_a_session_that_opens_while_the_agent_stops_is_handed_over(world: Setting, kept: Kept) -> None:
    stopped, stop = os.pipe()
    os.write(stop, b".")
    ours, its = socket.socketpair()
    with ours, its, contextlib.ExitStack() as later:
        items = {"user": ME, "session": SESSION}
        application = RemoteApplication(its, items, later, stopped, Phase.OPEN_SESSION)
        module = Module(Journal(world.records), world.contexts(), cast("KeptSessions", kept))
        assert module.pam_sm_open_session(application, 0, []) == PamCode.IGNORE
    assert len(kept.logins) == 1
    for descriptor in (stopped, stop):
        os.close(descriptor)


@pytest.mark.needs_isolated_root
def test_a_process_of_another_pid_namespace_is_not_taken_for_the_session_of_the_agent() -> None:
    script = (
        "import contextlib, socket, sys\n"
        "from pam_iampass.agent.application import RemoteApplication\n"
        "with socket.socket(fileno=int(sys.argv[1])) as its, contextlib.ExitStack() as later:\n"
        "    application = RemoteApplication(its, {'ssh_auth_info': ''}, later)\n"
        "    print(application.peer_pid)\n"
        "    try:\n"
        "        print(application.opener())\n"
        "    except OSError as error:\n"
        "        print(error.strerror)\n"
    )
    ours, its = socket.socketpair()
    with ours, its:
        agent = ["unshare", "--pid", "--fork", "setsid", "--wait", sys.executable, "-c", script]
        said = subprocess.run(
            [*agent, str(its.fileno())],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            pass_fds=[its.fileno()],
        ).stdout
    assert said.splitlines() == ["0", "the process is in another PID namespace"]


def test_a_process_that_has_ended_gives_no_pidfd() -> None:
    ours, its = socket.socketpair()
    with its, contextlib.ExitStack() as later:
        application = RemoteApplication(its, {}, later)
        os.close(application.pidfd())
        ours.close()
        with pytest.raises(ApplicationGone):
            application.pidfd()

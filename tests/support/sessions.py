"""An agent that keeps sessions, in a thread of the test, and login sessions that are processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pam_iampass.agent import wire
from pam_iampass.agent.context import Configurations, LoginContexts
from pam_iampass.agent.figures import Figures
from pam_iampass.agent.server import Agent
from pam_iampass.agent.wire import Hello
from pam_iampass.audit.journal import Journal
from pam_iampass.client import AuthenticationAPI
from pam_iampass.enforcer.protocol import EnforcerReply, EnforcerRequest, EnforcerResult, Verb
from pam_iampass.module import Module
from pam_iampass.outcome import PamCode, Phase
from pam_iampass.session import watcher
from pam_iampass.session.descriptors import Descriptors
from pam_iampass.session.kept_session import KeptSession
from pam_iampass.session.schedule import Scheduled, Task
from pam_iampass.session.store import AskStatus, Connect, KeptSessions, SessionStore, status_of
from pam_iampass.system.boot import since_boot
from tests.support.door import Door, Told
from tests.support.frames import encode_items
from tests.support.setting import FIRST_POLL, ME, Setting
from tests.support.world import PATIENCE, wait_until

#: How fast the time of kept sessions goes by: nobody waits for a poll every 2 s.
SPEED = 10.0
#: The program of a login session: it opens it, says so, and ends with its standard input.
OPENS = """
import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
connection.sendall(bytes.fromhex(sys.argv[2]))
assert connection.recv(9)[:1] == b"G"
print(connection.recv(100).hex(), flush=True)
connection.close()
sys.stdin.read()
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
connection.sendall(bytes.fromhex(sys.argv[3]))
assert connection.recv(9)[:1] == b"G"
connection.recv(100)
"""


class LoginSession:
    """A process whose login session a kept session belongs to."""

    def __init__(self, session: str, process: subprocess.Popen[str]) -> None:
        self.session = session
        self.process = process

    @classmethod
    def opened(cls, path: Path, items: dict[str, str]) -> LoginSession:
        """One that has opened it as a door does."""
        encoded = encode_items({name: value.encode() for name, value in items.items()})
        phases = (Phase.OPEN_SESSION, Phase.CLOSE_SESSION)
        hellos = [Hello(phase, 0, ()).encode().encode() + encoded.encode() for phase in phases]
        command = [sys.executable, "-I", "-S", "-c", OPENS, str(path), *(hello.hex() for hello in hellos)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        answer = bytes.fromhex(process.stdout.readline())
        assert answer == wire.result(PamCode.IGNORE).encode()
        return cls(items["session"], process)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def over(self) -> bool:
        return self.process.poll() is not None

    def end(self, number: int | None = None) -> None:
        """End it, as when the person logs out, or by a signal, so that it is not closed."""
        if number is not None:
            self.process.send_signal(number)
        self.process.communicate()


class _Watched(KeptSessions):
    """Counts how often their watcher looks which tasks are due. It waits in their time, which goes by fast."""

    looks = 0

    def wait(self, least: float, most: float) -> float:
        return super().wait(least, most) / SPEED

    def take_due(self) -> list[tuple[Scheduled, Task]]:
        self.looks += 1
        return super().take_due()


class Keeping:
    """The agent. It stands for the machine: `restart` starts another one on the same files."""

    def __init__(self, world: Setting) -> None:
        watcher.IDLE = 0.05  # `stop` waits for them
        self.world = world
        self.path = world.folder / "pam.sock"
        self.store = SessionStore(world.state.database)
        self.asked: list[EnforcerRequest] = []
        """What the enforcer was asked for."""
        self.result = EnforcerResult.DONE
        self.logins: list[LoginSession] = []
        self.ask_status: AskStatus = status_of
        self.cover_timeout = 60.0
        self.figures = Figures()
        self._calls = 0
        self._began = since_boot()
        self.ahead = 0.0
        """Seconds that the machine's clocks are ahead."""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        self.start()

    def start(self, descriptors: dict[str, int] | None = None) -> None:
        """Start the agent. `descriptors` are those that systemd has kept."""
        journal = Journal(self.world.records)
        configurations = Configurations(owner=os.geteuid(), observe=self.figures.called)
        self.connect: Connect = configurations.sessions_api
        self.sessions = _Watched(
            self.store,
            journal,
            self._connected,
            ask_status=lambda *arguments: self.ask_status(*arguments),
            descriptors=Descriptors(""),
            clock=self._clock,
        )
        self.watcher = watcher.SessionWatcher(self.sessions, configurations.manager, self._enforce)
        self.world.state.keep(self.sessions)
        contexts = LoginContexts(configurations, self.world.state, lambda: self.agent.pending)
        self.agent = Agent(
            self._listener.dup(),
            journal,
            Module(
                journal,
                lambda *arguments: replace(
                    contexts(*arguments), cover_timeout=self.cover_timeout, first_poll=FIRST_POLL
                ),
                self.sessions,
            ),
            allowed_uid=os.getuid(),
        )
        self.world.state.resume(descriptors or {})
        self._thread = threading.Thread(target=self.agent.run, args=(lambda: True, 0.2))
        self._thread.start()

    def _clock(self) -> float:
        return self._began + (since_boot() - self._began) * SPEED + self.ahead

    def _connected(self, config: str) -> AuthenticationAPI:
        self._calls += 1
        return self.connect(config)

    def stop(self) -> None:
        self.agent.stop()
        self._thread.join(PATIENCE)
        self.watcher.stop()
        for thread in threading.enumerate():
            if thread.name == "session":  # it may be about to write into the folder
                thread.join(PATIENCE)
                assert not thread.is_alive()

    def restart(self) -> None:
        """As an upgrade does it."""
        self.stop()
        self.start()

    def close(self) -> None:
        self.stop()
        for login in self.logins:
            if not login.over:
                login.end(signal.SIGKILL)
        self._listener.close()

    def _enforce(self, request: EnforcerRequest) -> EnforcerReply:
        result = self.result  # first: a test that has waited for `asked` may set another
        self.asked.append(request)
        if request.verb is Verb.END and result is EnforcerResult.DONE:
            for login in self.logins:
                if login.session == request.session and not login.over:
                    login.end(signal.SIGTERM)
        return EnforcerReply(result)

    # Logins

    def door(self, kind: type[Door] = Door, /, **items: Any) -> Door:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.path))
        named: dict[str, Any] = {"user": ME, "service": "test", "uid": str(os.getuid()), **items}
        if named["service"] == "sudo":
            named.setdefault("ruser", ME)  # sudo names its caller
        return kind(connection, f"config={self.world.folder / 'iampass.yaml'}", **named)

    def login(self, **items: str) -> Told:
        return self.door(**items).finish()

    def open(self, session: str, **items: str) -> LoginSession:
        """The login session of an approved login."""
        named = {"user": ME, "service": "test", "session": session, "audit_session": "42", **items}
        login = LoginSession.opened(self.path, named)
        self.logins.append(login)
        return login

    def log_in(self, **items: str) -> tuple[str, LoginSession]:
        """Log in, approved on the phone, and open the session; the id of the kept session."""
        told = self.login(**items)
        assert told.code == PamCode.SUCCESS, told
        assert told.kept is not None
        return told.kept, self.open(told.kept, **items)

    # What is seen

    def kept(self, session: str) -> KeptSession | None:
        with self.sessions.lock:
            entry = self.sessions.entries.get(session)
        return None if entry is None else entry.kept

    def look(self) -> None:
        """Wait until the watcher has looked once more which tasks are due, and has handed them out."""
        before = self.sessions.looks
        wait_until(lambda: self.sessions.looks >= before + 2, "the watcher does not look")

    def wait_for_calls(self, count: int) -> None:
        """Wait until the agent has begun this number of further calls about sessions."""
        before = self._calls
        wait_until(lambda: self._calls >= before + count, "it makes no calls")

    def wait_until_forgotten(self, session: str) -> None:
        wait_until(lambda: self.kept(session) is None, "the session is still kept", PATIENCE)
        assert session not in {kept.id for kept in self.store.all()[0]}

    def events(self) -> list[str]:
        """The events of sessions in the journal."""
        return [fields["IAMPASS_EVENT"] for fields in self.world.records.fields if "IAMPASS_EVENT" in fields]

    def outcome(self) -> dict[str, str]:
        """The record of the last login."""
        return [fields for fields in self.world.records.fields if "IAMPASS_OUTCOME" in fields][-1]

    def wait_for_event(self, event: str) -> dict[str, str]:
        """The first record of an event."""

        def found() -> dict[str, str] | None:
            return next(
                (fields for fields in self.world.records.fields if fields.get("IAMPASS_EVENT") == event), None
            )

        fields: dict[str, str] = wait_until(found, f"no record of {event}", PATIENCE)
        return fields


@contextlib.contextmanager
def keeping(world: Setting, **settings: str) -> Iterator[Keeping]:
    """An agent that keeps the sessions of logins with the settings of `world`."""
    world.configure(**{"session": "{keep: true, check: 2s, covers: {services: [sudo]}}", **settings})
    found = Keeping(world)
    try:
        yield found
    finally:
        found.close()

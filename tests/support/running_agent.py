"""An agent in a thread of the test, for logins against a sandbox."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

from pam_iampass.agent.server import Agent
from pam_iampass.agent.wire import GREETING
from pam_iampass.audit.journal import Journal
from pam_iampass.module import Module
from tests.support.deadline import PATIENCE
from tests.support.door import Door, Told
from tests.support.setting import ME, Setting


class Running:
    """An agent that serves on a socket in a folder."""

    def __init__(
        self, world: Setting, agent: Agent, path: Path, alive: Callable[[], bool] | None, every: float
    ) -> None:
        self.world = world
        self.agent = agent
        self.path = path
        self.beats = 0
        self._thread = threading.Thread(target=agent.run, args=(alive or self._beat, every))

    def _beat(self) -> bool:
        self.beats += 1
        return True

    def start(self) -> None:
        self._thread.start()

    @property
    def runs(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        self.agent.stop()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def connect(self) -> socket.socket:
        """A connection that the agent has greeted, or closed."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.path))
        assert connection.recv(9) in (GREETING.encode(), b"")
        return connection

    def door(self, **items: str) -> Door:
        settings = f"config={self.world.folder / 'iampass.yaml'}"
        named: dict[str, Any] = {"user": ME, "service": "test", **items}
        return Door(self.connect(), settings, **named)

    def login(self, seconds: float = 60.0, **items: str) -> Told:
        """A whole login. The door waits at most `seconds` for each message."""
        return self.door(**items).finish(seconds)


@contextlib.contextmanager
def running(
    world: Setting,
    most_pending: int = 1000,
    most_leaving: float = 300.0,
    allowed_uid: int | None = None,
    sessions: Any = None,
    alive: Callable[[], bool] | None = None,
    every: float = 0.2,
) -> Iterator[Running]:
    """An agent for logins with the settings of `world`. `alive` and `every` are as for `Agent.run`."""
    path = world.folder / "pam.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1024)
        journal = Journal(world.records)
        agent = Agent(
            listener,
            journal,
            Module(journal, world.contexts(), sessions),
            most_pending=most_pending,
            most_leaving=most_leaving,
            allowed_uid=os.getuid() if allowed_uid is None else allowed_uid,
        )
        found = Running(world, agent, path, alive, every)
        found.start()
        try:
            yield found
        finally:
            found.stop()

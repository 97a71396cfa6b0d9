"""The table of docs/reference/state.md: what becomes of logins, codes, bypasses and sessions when something is
wrong."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from pam_iampass.errors import StateError
from pam_iampass.login.bypass import Bypass, Moment
from pam_iampass.login.recovery import read
from pam_iampass.outcome import Login, PamCode
from pam_iampass.session.store import SessionStore
from pam_iampass.system import database as module
from tests.support.setting import ME, Setting, state_in
from tests.support.state_file import unwritable
from tests.unit.session.test_store import KEPT

PAGE = Path(__file__).parents[3] / "docs/reference/state.md"


class Agent:
    """An agent with a spent and nine valid codes, a bypass and one that was ended, a kept session and a wrong code."""

    def __init__(self, world: Setting) -> None:
        self.world = world
        self.file = Path(world.state.database.path)
        self.store = SessionStore(world.state.database)
        world.state.bypasses.add(_bypass("bin", 2))
        self.codes = [read(code) or "" for code in world.state.recovery_codes.renew(ME)]
        self.copy = self.file.with_name("copy")
        world.state.database.close()
        shutil.copy(self.file, self.copy)
        world.state.database.open()
        world.state.recovery_codes.spend(ME, self.codes[0])
        world.state.bypasses.end("bin")
        world.state.bypasses.add(_bypass("daemon", 1))
        world.state.throttle.attempt(ME, Login(ME, "test"), 5)
        self.store.write(KEPT)
        self.kept = [KEPT.id]

    def stop(self) -> None:
        self.world.state.database.close()

    def start(self) -> None:
        """What another agent finds."""
        self.stop()
        self.world.state = state_in(self.world.folder, self.world.records)
        self.store = SessionStore(self.world.state.database)
        self.world.state.database.open()
        try:
            self.kept = [kept.id for kept in self.store.all()[0]]
        except StateError:
            self.kept = []

    def cells(self) -> list[str]:
        """What the page has to say of this moment, in which a login by phone goes on as always."""
        state, phone = self.world.state, self.world.login()
        assert phone.code == PamCode.SUCCESS, phone
        codes = []
        for code in self.codes[:2]:
            try:
                codes.append(state.recovery_codes.spend(ME, code) is not None)
            except StateError:
                codes.append(False)
        accepted = {
            (False, True): "accepted",
            (False, False): "refused",
            (True, True): "accepted, **also one that was spent since**",
        }[codes[0], codes[1]]
        bypasses = {("daemon",): "stays", (): "is over", ("bin",): "**one that was ended since is back**"}
        return [
            accepted,
            bypasses[tuple(bypass.user for bypass in state.bypasses.active())],
            "stays" if self.kept else "is kept no longer",
            "stay" if state.throttle.state(ME).attempts else "forgotten",
            "yes" if any(fields.get("PRIORITY") == "2" for fields in self.world.records.fields) else "no",
        ]


def _bypass(user: str, uid: int) -> Bypass:
    return Bypass(user, uid, None, 900.0, Moment.now(), "root", "", survives_reboot=False)


Situation = Callable[[Agent], "contextlib.AbstractContextManager[None]"]


def _at_start(change: Callable[[Agent], object]) -> Situation:
    @contextlib.contextmanager
    def situation(agent: Agent) -> Iterator[None]:
        agent.stop()
        change(agent)
        agent.start()
        yield

    return situation


@contextlib.contextmanager
def _full(agent: Agent) -> Iterator[None]:
    folder = agent.file.parent
    agent.stop()
    aside = folder.with_name("aside")
    shutil.copytree(folder, aside)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m,mode=700", "tmpfs", str(folder)], check=True)
    try:
        shutil.copy(aside / "state.db", folder)
        agent.start()
        with contextlib.suppress(OSError), (folder / "full").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        yield
    finally:
        agent.stop()
        subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def _in_use(agent: Agent) -> Iterator[None]:
    agent.stop()
    with contextlib.closing(sqlite3.connect(agent.file)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN IMMEDIATE")
        agent.start()
        yield


def _reboot(agent: Agent) -> None:
    with contextlib.closing(sqlite3.connect(agent.file)) as file, file:
        for table in ("limits", "sessions", "bypasses"):
            file.execute(f"UPDATE {table} SET boot = 'the one before'")


def _replaced(agent: Agent) -> contextlib.AbstractContextManager[None]:
    agent.file.unlink()
    return contextlib.nullcontext()


def _foreign(agent: Agent) -> None:
    agent.file.unlink()
    with contextlib.closing(sqlite3.connect(agent.file)) as file:
        file.execute("CREATE TABLE theirs (x)")
    agent.file.chmod(0o600)


def _directory(agent: Agent) -> None:
    agent.file.unlink()
    agent.file.mkdir()


SITUATIONS: dict[str, Situation] = {
    "the agent is killed, and started again": _at_start(lambda agent: None),
    "the machine is started again": _at_start(_reboot),
    "the disk is full": _full,
    "nothing can be written (a read-only disk, I/O errors)": lambda agent: unwritable(
        agent.world.state.database
    ),
    "the file is removed or replaced while the agent runs": _replaced,
    "the file is missing when the agent starts": _at_start(lambda agent: agent.file.unlink()),
    "it is truncated": _at_start(lambda agent: os.truncate(agent.file, 10_000)),
    "it is damaged": _at_start(lambda agent: agent.file.write_bytes(b"\xff" * 50_000)),
    "it is of another program or version": _at_start(_foreign),
    "a folder, a link or a pipe is in its place": _at_start(_directory),
    "it belongs to another user, or others may read it": _at_start(lambda agent: agent.file.chmod(0o644)),
    "another process has it open": _in_use,
    "an old copy is restored": _at_start(lambda agent: shutil.copy(agent.copy, agent.file)),
}


def _page() -> dict[str, list[str]]:
    """The cells of each situation; a row may be of several."""
    text = PAGE.read_text("utf-8").partition("## When something")[2]
    table = text.partition("--- |\n")[2].partition("\n\n")[0]
    rows = [re.split(r" *\| *", line)[1:-1] for line in table.splitlines()]
    return {situation: cells for situations, *cells in rows for situation in situations.split("; ")}


#: It mounts a small disk.
FULL = pytest.param("the disk is full", marks=pytest.mark.needs_isolated_root)


@pytest.mark.parametrize("situation", [FULL if name == "the disk is full" else name for name in SITUATIONS])
def test_the_page_says_what_becomes_of_logins_codes_bypasses_and_sessions(
    world: Setting, monkeypatch: pytest.MonkeyPatch, situation: str
) -> None:
    monkeypatch.setattr(module, "OPEN_INTERVAL", 0.0)  # nobody repairs anything meanwhile
    agent = Agent(world)
    with SITUATIONS[situation](agent):
        assert _page()[situation] == agent.cells()
    agent.stop()


def test_the_page_has_no_other_situations() -> None:
    assert sorted(_page()) == sorted(SITUATIONS)

"""A planted socket instead of the agent's, and other users who connect to the agent's."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from pam_iampass.agent import wire
from pam_iampass.outcome import PamCode, Phase
from tests.support.agent import SOCKET, RunningAgent
from tests.support.deadline import PATIENCE
from tests.support.frames import encode_items
from tests.support.setuid.people import AS_ROOT, GROUP_ID, PROGRAMS, Person, enter_password
from tests.support.setuid.stage import Guest, Phone, Stage


class PlantedAgent:
    """Listens at `path`; the socket and the process belong to the user `uid`."""

    def __init__(self, path: Path, uid: int) -> None:
        self.visits = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        os.chown(path, uid, -1)
        path.chmod(0o600)
        _listen_as(self._listener, uid)
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> PlantedAgent:
        return self

    def __exit__(self, *_exc: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.visits += 1
                with connection, suppress(OSError):
                    connection.settimeout(5)
                    approval = wire.GREETING.encode() + wire.result(PamCode.SUCCESS).encode()
                    connection.sendall(approval)
                    while connection.recv(1 << 16):
                        pass


def _listen_as(listener: socket.socket, uid: int) -> None:
    """listen(2) as a user: the peer's credentials are those of the process that called it (unix(7), SO_PEERCRED)."""
    child = os.posix_spawn(
        "/usr/bin/setpriv",
        ["setpriv", f"--reuid={uid}", "--clear-groups", "/usr/bin/python3", "-I", "-S", "-c", _LISTEN],
        {},
        file_actions=[(os.POSIX_SPAWN_DUP2, listener.fileno(), 3)],
    )
    assert os.waitpid(child, 0)[1] == 0


_LISTEN = "import socket; socket.socket(fileno=3).listen(64)"


#: In a namespace of its own a login finds another folder where the agent's would be.
ELSEWHERE = [
    "unshare",
    "--mount",
    "--propagation",
    "private",
    "sh",
    "-c",
    'mount --bind "$0" /run/iampass && exec "$@"',
]


@dataclass(frozen=True)
class Planted:
    """A socket whose listener says yes to everything."""

    owner_of_listener: int
    change: Callable[[Path, Person], object]
    """What is done to the folder of the socket, which is root's, once it has a listener."""
    reason: str
    """What the door says about it."""


def _symbolic_link(folder: Path, person: Person) -> None:
    (folder / "pam.sock").rename(folder / "planted.sock")
    (folder / "pam.sock").symlink_to(folder / "planted.sock")


def _hard_link(folder: Path, person: Person) -> None:
    (folder / "pam.sock").rename(folder / "planted.sock")
    os.link(folder / "planted.sock", folder / "pam.sock")


def _file(folder: Path, person: Person) -> None:
    (folder / "pam.sock").unlink()
    (folder / "pam.sock").touch(0o600)


ROOT, STRANGER = 0, GROUP_ID + 999
FOLDER_NOT_ROOTS = "the folder of the agent's socket is not writable by root alone"
SOCKET_NOT_ROOTS = "the agent's socket is not accessible to root alone"
PEER_NOT_ROOT = "the process that listens on the agent's socket is not root's"

PLANTED = {
    "a socket of another owner": Planted(STRANGER, lambda folder, person: None, SOCKET_NOT_ROOTS),
    "a socket given to root, with another user's listener": Planted(
        STRANGER, lambda folder, person: os.chown(folder / "pam.sock", 0, 0), PEER_NOT_ROOT
    ),
    "a socket that others may connect to": Planted(
        ROOT, lambda folder, person: (folder / "pam.sock").chmod(0o666), SOCKET_NOT_ROOTS
    ),
    "a socket in a folder that anybody can write": Planted(
        ROOT, lambda folder, person: folder.chmod(0o777), FOLDER_NOT_ROOTS
    ),
    "a socket in a folder of the attacker": Planted(
        ROOT, lambda folder, person: os.chown(folder, person.uid, -1), FOLDER_NOT_ROOTS
    ),
    "a symbolic link to a socket": Planted(ROOT, _symbolic_link, SOCKET_NOT_ROOTS),
    "a hard link to a socket of another owner": Planted(STRANGER, _hard_link, SOCKET_NOT_ROOTS),
    "a file": Planted(
        ROOT,
        _file,
        SOCKET_NOT_ROOTS,
    ),
}


@pytest.fixture(scope="module")
def stage(stage_without_agent: Stage) -> Stage:
    """Where people use sudo and su; what is at the socket is up to the test."""
    return stage_without_agent


@dataclass(frozen=True)
class Login:
    """What came of one."""

    guest: Guest
    shown: str
    visits: int


def play(guest: Guest, program: str, planted: Planted, folder: Path) -> Login:
    """A login whose phone would approve, with a planted socket."""
    folder.mkdir(mode=0o755)
    with PlantedAgent(folder / "pam.sock", planted.owner_of_listener) as agent:
        planted.change(folder, guest.person)
        command = guest.person.to_root(program)
        terminal = enter_password(guest.person.run(*command, under=[*ELSEWHERE, str(folder)]))
        terminal.finish()
        return Login(guest, terminal.shown, agent.visits)


@pytest.fixture(scope="module")
def played(stage: Stage, folder: Path) -> dict[tuple[str, str], Login]:
    """All of them at once."""
    cases = [(name, program) for name in PLANTED for program in PROGRAMS]
    with ThreadPoolExecutor(len(cases)) as pool:
        futures = {
            (name, program): pool.submit(
                play, stage.guest(Phone.APPROVES), program, PLANTED[name], folder / f"planted-{number}"
            )
            for number, (name, program) in enumerate(cases)
        }
    return {case: future.result() for case, future in futures.items()}


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_socket_is_a_denial(played: dict[tuple[str, str], Login], name: str, program: str) -> None:
    login = played[name, program]
    assert AS_ROOT not in login.shown
    assert login.guest.starts() == 0
    assert "outcome=unavailable result=denied " in login.guest.record()
    assert login.guest.record().endswith(f"reason={PLANTED[name].reason}")


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_the_planted_socket_says_would_count_if_it_were_roots(
    stage: Stage, folder: Path, program: str
) -> None:
    harmless = Planted(ROOT, lambda folder, person: None, "")
    login = play(stage.guest(), program, harmless, folder / f"trusted-{program}")
    assert AS_ROOT in login.shown
    assert login.visits == 1


def attempt(person: Person, program: str) -> str:
    """What a Python program of the person shows."""
    drop = ["setpriv", f"--reuid={person.uid}", f"--regid={GROUP_ID}", "--clear-groups"]
    command = [*drop, "/usr/bin/python3", "-I", "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE).stdout


CONNECT_200 = f"""
import socket
refused = 0
kept = []
for _ in range(200):
    kept.append(socket.socket(socket.AF_UNIX))
    try:
        kept[-1].connect({str(SOCKET)!r})
    except PermissionError:
        refused += 1
print(refused)
"""

PLANT = f"""
import os, socket
from pathlib import Path
path = Path({str(SOCKET)!r})
ways = [
    lambda: path.unlink(),
    lambda: path.rename("/tmp/away"),
    lambda: path.parent.rename("/tmp/away"),
    lambda: Path(f"{{path}}.new").symlink_to("/tmp/x"),
    lambda: os.link("/etc/hostname", f"{{path}}.new"),
    lambda: socket.socket(socket.AF_UNIX).bind(f"{{path}}.new"),
    lambda: path.chmod(0o777),
    lambda: path.parent.chmod(0o777),
    lambda: os.listdir(path.parent / "state"),
    lambda: os.listdir("/var/lib/iampass"),
    lambda: Path("/etc/iampass/application-secret").read_bytes(),
    lambda: Path("/etc/iampass/users.yaml").read_bytes(),
]
for number, way in enumerate(ways):
    try:
        way()
        print("done:", number)
    except OSError:
        pass
"""

TALK = f"""
import socket
connection = socket.socket(socket.AF_UNIX)
connection.settimeout(60)
connection.connect({str(SOCKET)!r})
try:
    connection.sendall(HELLO)
    print(connection.recv(100))
except ConnectionError:
    print(b"")
"""


def hello(user: str) -> bytes:
    """What a door would send."""
    items = encode_items({"user": user.encode(), "service": b"sudo"})
    return wire.Hello(Phase.AUTHENTICATE, 0, ()).encode().encode() + items.encode()


def test_another_user_can_neither_connect_to_the_agent_nor_fill_its_queue(stage: Stage) -> None:
    with RunningAgent():
        assert attempt(stage.guest().person, CONNECT_200) == "200\n"
        guest = stage.guest(Phone.APPROVES)
        assert guest.play("sudo").got_in


def test_another_user_can_neither_plant_nor_read_anything_of_ours(stage: Stage) -> None:
    with RunningAgent():
        assert attempt(stage.guest().person, PLANT) == ""
    assert not Path("/tmp/away").exists()


def test_the_agent_itself_turns_away_who_is_not_root(stage: Stage) -> None:
    with RunningAgent():
        assert stage.guest(Phone.APPROVES).play("su").got_in
        SOCKET.chmod(0o666)
        guest = stage.guest(Phone.APPROVES)
        assert attempt(guest.person, TALK.replace("HELLO", repr(hello(guest.name)))) == "b''\n"
        assert guest.starts() == 0
        SOCKET.chmod(0o600)
        assert stage.guest(Phone.APPROVES).play("su").got_in

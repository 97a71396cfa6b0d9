"""Doors under test: each with an application, a scripted module, and a readable log."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Union

import pytest

from tests.support.deadline import PATIENCE
from tests.support.scripted_module import Script, ScriptedModule

ROOT = Path(__file__).parents[3]
#: Compiler flags such as -fsanitize=address: the whole suite then runs under them.
SANITIZE = os.environ.get("IAMPASS_DOOR_SANITIZE", "")
SERVICE = "under-test"
#: The application has a /dev of its own, with the test's log in it.
MOUNT_DEV = 'mount --bind "$0" /dev && exec "$@"'

PAM_SUCCESS, PAM_PERM_DENIED, PAM_AUTHINFO_UNAVAIL = 0, 6, 9
PAM_MAXTRIES, PAM_IGNORE, PAM_ABORT = 11, 25, 26
TEXT_INFO, ERROR_MSG, ECHO_OFF, ECHO_ON = 4, 3, 1, 2

Option = Union[str, bytes, int, bool]


@dataclass(frozen=True)
class Door:
    """A door, and the paths at which it reaches the module."""

    name: str
    #: What stands in a PAM file before the door's arguments.
    module: str
    #: Where the agent listens.
    agent_socket: Path
    #: How long it waits before a DEADLINE came, and for the agent to greet it, in seconds.
    patience: float
    greeting: float


@dataclass
class Run:
    """The result of one PAM call of the application."""

    result: int = -1
    #: Seconds that the call took, microseconds of CPU in this process, KiB of memory (PSS) of it afterwards.
    elapsed: float = 0.0
    cpu: int = 0
    memory: int = 0
    #: Its limit on the size of files afterwards (RLIMIT_FSIZE).
    fsize: int = 0
    #: What the conversation was given: (style, text).
    messages: list[tuple[int, bytes]] = field(default_factory=list)
    #: The PAM environment at the end.
    environment: dict[str, str] = field(default_factory=dict)
    #: How often the application's handlers of SIGALRM and SIGCHLD were called.
    alarms: int = 0
    children: int = 0
    #: Which of the descriptors 0, 1, 2 are open at the end.
    standard_descriptors: list[bool] = field(default_factory=list)
    #: What was logged: (facility, priority, text).
    log: list[tuple[int, int, str]] = field(default_factory=list)
    #: The user ids of who logged it, as the kernel has them.
    log_writers: list[int] = field(default_factory=list)

    @property
    def record(self) -> str:
        """The only line in the log."""
        assert len(self.log) == 1, self.log
        return self.log[0][2]

    @property
    def reason(self) -> str:
        """The reason in the door's own audit record."""
        return self.record.partition(" reason=")[2]


class Application:
    """Runs the application against a door, which has a PAM handle for all phases of one run."""

    def __init__(self, program: Path, folder: Path, door: Door) -> None:
        self._program = program
        self._folder = folder
        self._door = door

    def run(
        self,
        phases: str = "authenticate",
        *,
        arguments: str = "",
        then: str = "",
        user: str | bytes = "alice",
        log_kind: socket.SocketKind = socket.SOCK_DGRAM,
        before: str = "",
        **options: Option,
    ) -> Run:
        """Call PAM, for several `phases` with the same handle; NAME=VALUE sets a variable of the PAM environment.

        `options` are those of application.c, `arguments` the door's; `then` is the module that follows it in the stack,
        `log_kind` what /dev/log is, `before` what a shell does in the application's process.
        """
        files = self._folder / "pam.d"
        modules = [f"{self._door.module} {arguments}", *([then] if then else [])]
        kinds = ("auth", "account", "session", "password")
        (files / SERVICE).write_text("".join(f"{kind} required {one}\n" for kind in kinds for one in modules))
        words: list[str | bytes] = ["--folder", str(files), "--service", SERVICE]
        if user:
            words += ["--user", user]
        for name, value in options.items():
            words.append("--" + name.replace("_", "-"))
            words += [] if value is True else [value if isinstance(value, bytes) else str(value)]
        alone = [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            f"{before or ':'}; {MOUNT_DEV}",
            str(self._folder / "dev"),
        ]
        command = [*alone, str(self._program), *words, *phases.split()]
        with self._log(log_kind) as log:
            ended = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False
            )
            assert ended.returncode == 0, (ended.returncode, ended.stdout, ended.stderr.decode())
            return _understand(ended.stdout.decode(), list(_lines(log)))

    @contextlib.contextmanager
    def _log(self, kind: socket.SocketKind) -> Iterator[socket.socket]:
        path = self._folder / "dev" / "log"
        with socket.socket(socket.AF_UNIX, kind) as log:
            log.bind(str(path))
            path.chmod(0o666)
            if kind == socket.SOCK_STREAM:
                log.listen()
            else:
                log.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            try:
                yield log
            finally:
                path.unlink()


def _understand(output: str, lines: list[tuple[bytes, int]]) -> Run:
    run = Run(log=[_entry(line) for line, _ in lines], log_writers=[uid for _, uid in lines])
    for line in output.splitlines():
        name, *values = line.split(" ")
        if name == "message":
            run.messages.append((int(values[0]), bytes.fromhex(values[1])))
        elif name == "variable":
            variable, _, value = bytes.fromhex(values[1]).decode(errors="replace").partition("=")
            run.environment[variable] = value
        elif name == "open":
            run.standard_descriptors.append(values[1] == "1")
        else:
            setattr(run, name, int(values[0]) / 1000 if name == "elapsed" else int(values[0]))
    return run


def _entry(line: bytes) -> tuple[int, int, str]:
    number, _, text = line.decode().partition(">")
    facility, priority = divmod(int(number[1:]), 8)
    return facility, priority, re.sub(r"^\w+ +\d+ [\d:]+ ", "", text)


def _lines(log: socket.socket) -> Iterator[tuple[bytes, int]]:
    log.setblocking(False)
    credentials = struct.Struct("3i")
    with contextlib.suppress(BlockingIOError):
        if log.type == socket.SOCK_STREAM:
            connection, _ = log.accept()
            with connection:
                writer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
                for line in connection.recv(1 << 16).rstrip(b"\0").split(b"\0"):
                    yield line, credentials.unpack(writer)[1]
            return
        while True:
            line, [(_, _, writer)], _, _ = log.recvmsg(1 << 16, socket.CMSG_SPACE(credentials.size))
            yield line, credentials.unpack(writer)[1]


def build_native(build: Path, **defines: str | int) -> Path:
    """Build a variant of the native door into a folder; returns the module."""
    values = {name: value if isinstance(value, int) else f"'\"{value}\"'" for name, value in defines.items()}
    quoted = [f"-D{name}={value}" for name, value in values.items()]
    command = ["make", "-s", "-C", str(ROOT / "doors/native"), f"BUILD={build}", f"SANITIZE={SANITIZE}"]
    subprocess.run([*command, "DEFINES=" + " ".join(quoted)], check=True, stdout=subprocess.DEVNULL)
    return build / "pam_iampass.so"


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """A directory owned by root with a short name: a socket address holds 107 bytes."""
    made = Path(tempfile.mkdtemp(prefix="door-", dir=os.environ.get("MACHINE_SCRATCH", "/tmp")))
    made.chmod(0o711)
    for name in ("agent", "pam.d", "dev"):
        (made / name).mkdir(mode=0o755)
    (made / "pam.d" / "other").write_text(
        "auth required pam_deny.so\n"
    )  # otherwise libpam logs that it is missing
    for name, minor in {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}.items():
        os.mknod(made / "dev" / name, 0o020666, os.makedev(1, minor))
        (made / "dev" / name).chmod(0o666)
    yield made
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def program(folder: Path) -> Path:
    """The application."""
    made = folder / "application"
    source = Path(__file__).with_name("application.c")
    flags = [
        "-std=c11",
        "-D_GNU_SOURCE",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-O1",
        "-g",
        "-rdynamic",
        *SANITIZE.split(),
    ]
    subprocess.run([os.environ.get("CC", "cc"), *flags, str(source), "-lpam", "-o", str(made)], check=True)
    return made


@pytest.fixture(scope="session")
def native_defines(folder: Path) -> dict[str, str | int]:
    """The paths for a variant of the native door within the tests' directory."""
    return {"IAMPASS_AGENT_FOLDER": str(folder / "agent"), "IAMPASS_GREETING_MS": 1000}


@pytest.fixture(scope="session", params=["native"])
def door(request: pytest.FixtureRequest, folder: Path, native_defines: dict[str, str | int]) -> Door:
    """Each door; it waits for the agent only one second."""
    return _door(request.param, folder, build_native(folder / "native", **native_defines), patience=10.0)


@pytest.fixture(scope="session", params=["native"])
def hasty_door(request: pytest.FixtureRequest, folder: Path, native_defines: dict[str, str | int]) -> Door:
    """Each door, with shorter time limits for tests of them."""
    module = build_native(folder / "hasty", **native_defines, IAMPASS_PATIENCE_MS=5000)
    return _door(request.param, folder, module, patience=5.0)


def _door(name: str, folder: Path, module: Path, patience: float) -> Door:
    return Door(name, str(module), folder / "agent" / "pam.sock", patience, 1.0)


@pytest.fixture
def application(program: Path, folder: Path, door: Door) -> Application:
    """The application, with the door in its PAM stack."""
    return Application(program, folder, door)


Playing = Callable[[Script], contextlib.AbstractContextManager[ScriptedModule]]


@pytest.fixture
def agent(door: Door) -> Playing:
    """A module that listens as the agent."""
    return lambda script: ScriptedModule.as_agent(door.agent_socket, script)

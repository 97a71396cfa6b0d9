"""Users of sudo and su, and how they prepare the process in which they start them."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.terminal import ENVIRONMENT, Terminal
from tests.support.world import PASSWORD, token_of

LAUNCHER = Path(__file__).with_name("launcher.py")
SUDO, SU = "/usr/bin/sudo", "/usr/bin/su"
PROGRAMS = {"sudo": SUDO, "su": SU}
GROUP, GROUP_ID, FIRST_ID = "people", 20000, 20000
HOME = Path("/home/people")
#: The output of a command that runs as root.
AS_ROOT = "in as 0"
SHOW_WHO = "echo in as $(/usr/bin/id -u)"


@dataclass(frozen=True)
class Process:
    """The state of a process in which a program starts."""

    environment: dict[str, str] = field(default_factory=dict)
    """Added to the usual environment, or replacing its variables."""

    filling: int = 0
    """KiB of additional variables."""

    folder: str = "/"
    """The working directory; `gone` is a removed one, and `closed` an unreadable one."""

    limits: dict[str, int] = field(default_factory=dict)
    """setrlimit(2), soft and hard."""

    closed: tuple[int, ...] = ()
    """Descriptors."""

    ignored: tuple[int, ...] = ()
    """Signals."""

    blocked: tuple[int, ...] = ()
    """Signals."""

    called: str | None = None
    """The program's argv[0]."""

    traced: bool = False
    """By a process of the same user (ptrace(2))."""


UNTOUCHED = Process()


@dataclass(frozen=True)
class Person:
    """A user with an account, a password and a phone, and a second account with user id 0 as the target."""

    name: str
    uid: int

    @property
    def twin(self) -> str:
        """The account with user id 0: the same password, but another phone."""
        return f"root-{self.name}"

    def run(
        self, *command: str, process: Process = UNTOUCHED, timeout: float = 90.0, under: Sequence[str] = ()
    ) -> Terminal:
        """Start a program in a terminal; `under` is a command that runs it as root."""
        wanted: dict[str, Any] = {**vars(process), "command": command, "uid": self.uid, "gid": GROUP_ID}
        usual = {**ENVIRONMENT, "HOME": str(HOME), "USER": self.name, "LOGNAME": self.name}
        wanted["environment"] = {**usual, **process.environment}
        launch = ["/usr/bin/python3", "-I", "-S", str(HOME.parent / "launcher.py"), json.dumps(wanted)]
        return Terminal([*under, *launch], timeout=timeout)

    def to_root(self, program: str, command: str = SHOW_WHO) -> list[str]:
        """The `sudo` or `su` command line that runs a shell command with user id 0."""
        return [SUDO, "/bin/sh", "-c", command] if program == "sudo" else [SU, self.twin, "-c", command]


def enter_password(terminal: Terminal, password: str = PASSWORD) -> Terminal:
    """Wait for the password prompt, and type the password."""
    terminal.expect("assword[^:]*: ")
    terminal.sendline(password)
    return terminal


def settle_people(names: list[str]) -> list[Person]:
    """Create all accounts together: useradd would take half a minute."""
    shutil.copy(LAUNCHER, HOME.parent / "launcher.py")
    (HOME.parent / "launcher.py").chmod(0o644)
    HOME.mkdir(exist_ok=True)
    HOME.chmod(0o777)
    people = [Person(name, FIRST_ID + number) for number, name in enumerate(names, 1)]
    digest = subprocess.run(
        ["openssl", "passwd", "-6", "-stdin"], input=PASSWORD, check=True, capture_output=True, text=True
    ).stdout.strip()
    ids = [(one.name, one.uid, GROUP_ID) for one in people] + [(one.twin, 0, 0) for one in people]
    _append("/etc/passwd", "".join(f"{name}:x:{uid}:{gid}::{HOME}:/bin/sh\n" for name, uid, gid in ids))
    _append("/etc/shadow", "".join(f"{name}:{digest}:19000:0:99999:7:::\n" for name, _, _ in ids))
    _append("/etc/group", f"{GROUP}:x:{GROUP_ID}:\n")
    return people


def table_of(people: list[Person]) -> str:
    """The users.yaml with all users and their root accounts."""
    names = [name for one in people for name in (one.name, one.twin)]
    return "".join(f"{name}: {token_of(name)}\n" for name in names)


def _append(file: str, text: str) -> None:
    with open(file, "a", encoding="utf-8") as lines:
        lines.write(text)

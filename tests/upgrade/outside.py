"""What is not on the machine that is upgraded: IAMPASS, the people's ssh clients, and their phones."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.packages.administrator import Administrator
from tests.packages.booted import PATIENCE, Booted
from tests.packages.kept_logins import wait_for
from tests.packages.people import KEY, SSH, WHO, People
from tests.packages.phone import STATE, token_of
from tests.packages.test_restored_files import OURS
from tests.support.terminal import Terminal

#: "Too many requests" or "Denied", for example, would stand before it if PAM had been asked.
_DROPPED = re.compile(
    r"(ssh: connect to .*refused|Connection (closed|reset) by .*|kex_exchange_identification.*\n.*)\s*"
)
ROOT = Path(__file__).parents[2]
ADMINISTRATOR, APPROVES, DENIES = PEOPLE = ("alice", "bob", "erin")


class Outside(People):
    """Programs of this machine, in the network of the machine that is upgraded."""

    def command(self, *command: str) -> list[str]:
        """The command that runs `command` there."""
        return ["nsenter", "-t", str(self.machine.pid), "--net", "--", *command]

    def ssh(self, user: str, *remote: str, options: tuple[str, ...] = KEY) -> Terminal:
        """Start ssh in a terminal."""
        return Terminal(self.command(*self._words(user, *remote, options=options)), timeout=PATIENCE)

    def log_in(self, user: str, address: str) -> subprocess.CompletedProcess[str]:
        """Log in by ssh from a loopback address, as a program does."""
        words = self._words(user, WHO, options=(*KEY, "-o", "BatchMode=yes", "-o", f"BindAddress={address}"))
        return subprocess.run(
            self.command(*words),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def _words(self, user: str, *remote: str, options: tuple[str, ...]) -> list[str]:
        words = ["ssh", *options, *SSH, f"{user}@127.0.0.1", *remote]
        return [word.replace("/root/", f"{self.machine.root}/root/") for word in words]


@contextmanager
def iampass(administrator: Administrator, outside: Outside) -> Iterator[None]:
    """Run a sandbox."""
    machine = administrator.machine
    state = machine.var / STATE.removeprefix("/var/")
    log = machine.folder / "sandbox.log"
    command = ["/usr/bin/python3", "-m", "pam_iampass.cli", *administrator.iampass(state=str(state))]
    with log.open("w") as output:
        process = subprocess.Popen(
            outside.command(*command), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        wait_for(lambda: "Sandbox ready" in log.read_text(), "the sandbox is ready")
        yield
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Login:
    """What a login came to."""

    user: str
    begun: float
    """``time.monotonic()`` seconds."""
    ended: float
    inside: bool
    approvals: int
    """How often the user's phone approved meanwhile."""
    said: str

    @property
    def dropped(self) -> bool:
        """Whether sshd, which was being replaced, dropped the connection before it did anything."""
        return not self.inside and self.approvals == 0 and bool(_DROPPED.fullmatch(self.said))


class Phones:
    """Phones that answer by themselves: one user denies, all others approve."""

    def __init__(self, outside: Outside) -> None:
        self._phone = outside.phone
        self.approvals = dict.fromkeys(PEOPLE, 0)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._answer, daemon=True)

    def __enter__(self) -> Phones:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _answer(self) -> None:
        while not self._stopped.wait(0.2):
            for each in self._phone.requests():
                [user] = [name for name in PEOPLE if token_of(name) == each["user"]]
                self.approvals[user] += user != DENIES  # before the login goes on
                try:
                    self._phone.answer(each["id"], "deny" if user == DENIES else "approve")
                except AssertionError:  # the request has ended meanwhile
                    self.approvals[user] -= user != DENIES


class Logins:
    """Two users who log in by turns, all the time: one approves each login, and one denies it."""

    def __init__(self, outside: Outside, phones: Phones) -> None:
        self._outside, self._phones = outside, phones
        self.all: list[Login] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._log_in, daemon=True)

    def __enter__(self) -> Logins:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def wait_for_more(self, user: str) -> None:
        """Wait until a login of the user that begins from now on has ended."""
        now = time.monotonic()
        wait_for(lambda: any(each.user == user and each.begun > now for each in self.all), "a login ends")

    def _log_in(self) -> None:
        while not self._stopped.is_set():
            # sshd penalizes the address of failed logins.
            for user, address in ((APPROVES, "127.0.0.2"), (DENIES, "127.0.0.3")):
                before, begun = self._phones.approvals[user], time.monotonic()
                done = self._outside.log_in(user, address)
                inside = f"In as {user}." in done.stdout
                approvals = self._phones.approvals[user] - before
                said = done.stdout + done.stderr
                self.all.append(Login(user, begun, time.monotonic(), inside, approvals, said))


class Gaps:
    """Finds out when the PAM files of services that ask the phone have no line of ours."""

    def __init__(self, machine: Booted) -> None:
        self._folder = machine.root / "etc/pam.d"
        self.all: dict[str, list[tuple[float, float]]] = {"sshd": [], "sudo": [], "su": [], "login": []}
        """Begin and end of each gap, in ``time.monotonic()`` seconds, by service."""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        last = time.monotonic()
        without = dict.fromkeys(self.all, False)
        while not self._stopped.wait(0.02):
            now = time.monotonic()
            for service, found in self.all.items():
                missing = not OURS.search((self._folder / service).read_text())
                if without[service]:
                    found[-1] = (found[-1][0], now)
                elif missing:
                    found.append((last, now))
                without[service] = missing
            last = now


__all__ = [
    "ADMINISTRATOR",
    "APPROVES",
    "DENIES",
    "PEOPLE",
    "Gaps",
    "Login",
    "Logins",
    "Outside",
    "Phones",
    "iampass",
]

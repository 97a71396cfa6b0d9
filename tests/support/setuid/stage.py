"""A machine for real sudo and su: the shipped PAM files, IAMPASS (the sandbox), a journal, and phones."""

from __future__ import annotations

import enum
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from pam_iampass.audit.journal import AUTHPRIV
from pam_iampass.sandbox.events import Event, EventKind
from pam_iampass.sandbox.sessions import EndedBy, SandboxSession
from tests.support.journald import Journald
from tests.support.sandbox import Sandbox
from tests.support.setuid.people import AS_ROOT, PROGRAMS, UNTOUCHED, Person, Process, enter_password
from tests.support.terminal import Terminal
from tests.support.world import PATIENCE, token_of, wait_until

PHONE_ONLY = Path("/etc/pam.d/phone-only")
"""A PAM service that takes its caller's word for everything."""
SPARED = "spared"
"""A group for an exempt guest. At first without members."""


class Phone(enum.Enum):
    """The response to a request on the phone."""

    APPROVES = "approves"
    DENIES = "denies"
    RINGS = "rings"
    """No response."""


class Phones:
    """The phones of all users. They respond at once."""

    def __init__(self) -> None:
        self._answers: dict[str, Callable[[int], object]] = {}
        self.rang: set[str] = set()
        """The tokens of the users who got a request."""

    def set(self, sandbox: Sandbox, names: tuple[str, ...], phone: Phone) -> None:
        """Set how the phones of these users respond from now on."""
        answer = {Phone.APPROVES: sandbox.approve, Phone.DENIES: sandbox.deny}.get(phone, lambda number: None)
        self._answers.update({token_of(name): answer for name in names})

    def hear(self, event: Event) -> None:
        """The sandbox's listener."""
        if event.kind is EventKind.REQUESTED and event.user in self._answers:
            self.rang.add(event.user)
            self._answers[event.user](event.number)


@dataclass(frozen=True)
class Stage:
    """All parts together. Each user belongs to one test, so that tests can run concurrently."""

    sandbox: Sandbox
    journald: Journald
    phones: Phones
    newcomers: Iterator[Person]
    cursor: str

    def guest(self, phone: Phone = Phone.RINGS) -> Guest:
        """A user that no other test uses."""
        guest = Guest(self, next(self.newcomers))
        guest.set_phone(phone)
        return guest

    def authpriv(self) -> list[dict[str, Any]]:
        """The messages to authpriv since the setup, from the module and applications."""
        subprocess.run(["journalctl", "-q", "--sync"], check=False, capture_output=True)
        command = ["journalctl", "-q", "--no-pager", "-o", "json", "--all", f"SYSLOG_FACILITY={AUTHPRIV}"]
        command += ["--after-cursor", self.cursor] if self.cursor else []
        shown = subprocess.run(command, check=False, capture_output=True, text=True).stdout
        return [json.loads(line) for line in shown.splitlines()]


@dataclass(frozen=True)
class Guest:
    """A user of sudo and su, and the results."""

    stage: Stage
    person: Person

    @property
    def name(self) -> str:
        """The account."""
        return self.person.name

    @property
    def twin(self) -> str:
        """The account with user id 0."""
        return self.person.twin

    def set_phone(self, phone: Phone) -> None:
        """Set how the phones of both accounts respond."""
        self.stage.phones.set(self.stage.sandbox, (self.name, self.twin), phone)

    def start(self, program: str, *words: str, process: Process = UNTOUCHED) -> Terminal:
        """Start `sudo` or `su`; without arguments, with a command that shows whether it runs as root."""
        return self.run(
            *([PROGRAMS[program], *words] if words else self.person.to_root(program)), process=process
        )

    def run(self, *command: str, process: Process = UNTOUCHED) -> Terminal:
        """Start a program in a terminal."""
        return self.person.run(*command, process=process)

    def play(self, program: str, *words: str, process: Process = UNTOUCHED) -> Seen:
        """Run `sudo` or `su` with the right password to its end."""
        terminal = enter_password(self.start(program, *words, process=process))
        return Seen(terminal.finish(), terminal.shown)

    # What is to be seen

    def was_asked(self) -> bool:
        """Whether the phone of either account got a request."""
        return not self.stage.phones.rang.isdisjoint({token_of(self.name), token_of(self.twin)})

    def request(self) -> SandboxSession:
        """Wait for the request on the caller's phone."""
        return self.stage.sandbox.wait_for_request(token_of(self.name), PATIENCE)

    def starts(self) -> int:
        """The number of start requests for either account, successful or not."""
        ends = tuple("/" + token_of(name) for name in (self.name, self.twin))
        return sum(call.kind == "start" and call.path.endswith(ends) for call in self.stage.sandbox.calls)

    def sessions(self) -> list[SandboxSession]:
        """The sessions of either account."""
        tokens = {token_of(self.name), token_of(self.twin)}
        return [session for session in self.stage.sandbox.sessions if session.user in tokens]

    def ended(self) -> SandboxSession:
        """The only session. Waits until the module has ended it."""
        [session] = self.sessions()
        ended = self.stage.sandbox.wait_for_end(session, PATIENCE)
        assert ended.ended_by is EndedBy.CLIENT
        return ended

    def records(self, expected: int = 1) -> list[str]:
        """The audit records about either account. Waits for the expected number."""

        def found() -> list[str]:
            messages = [str(record.get("MESSAGE", "")) for record in self.stage.authpriv()]
            names = (f" user={self.name} ", f" user={self.twin} ")
            return [text for text in messages if "outcome=" in text and any(name in text for name in names)]

        if expected:
            wait_until(lambda: len(found()) >= expected, f"{expected} audit records about {self.name}")
        return found()

    def record(self) -> str:
        """The only audit record."""
        records = self.records()
        assert len(records) == 1, records
        return records[0]


def waiting(program: str, guest: Guest, *words: str) -> Terminal:
    """Start `sudo` or `su`, and wait for the request on the phone and the message about it."""
    terminal = enter_password(guest.start(program, *words))
    terminal.expect("Approve this on your phone within [0-9]+ seconds.")
    guest.request()
    return terminal


@dataclass(frozen=True)
class Seen:
    """What the user saw of a login."""

    status: int
    shown: str

    @property
    def got_in(self) -> bool:
        """Whether the command ran."""
        return AS_ROOT in self.shown.splitlines()

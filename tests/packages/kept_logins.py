"""ssh logins that keep their IAMPASS session, and what the machine says of it."""

from __future__ import annotations

import json
import time
from typing import Any, Callable, TypeVar

from tests.packages.booted import PATIENCE, Booted
from tests.packages.people import KEY, WHO, People, type_password
from tests.support.terminal import Terminal

SETTINGS = "{keep: true, check: 2s, when_away: end, covers: {services: [sudo], for: 15m}}"
Found = TypeVar("Found")


def wait_for(find: Callable[[], Found], what: str, seconds: float = PATIENCE) -> Found:
    """What `find` returns as soon as it is true."""
    until = time.monotonic() + seconds
    while not (found := find()):
        assert time.monotonic() < until, what
        time.sleep(0.1)
    return found


def sessions(machine: Booted) -> list[dict[str, Any]]:
    """What `pam-iampass session list` shows."""
    shown = machine.run("pam-iampass", "session", "list", "--json").stdout
    found: list[dict[str, Any]] = json.loads(shown)["sessions"]
    return found


def listed(machine: Booted, session: str) -> dict[str, Any]:
    """What it shows of one session."""
    (found,) = (each for each in sessions(machine) if each["id"] == session)
    return found


def records(machine: Booted, cursor: str, session: str) -> list[str]:
    """Outcomes and events of a session since `cursor`."""
    return [
        str(each.get("IAMPASS_OUTCOME") or each.get("IAMPASS_EVENT"))
        for each in machine.journal_now(cursor)
        if each.get("IAMPASS_SESSION") == session
    ]


def all_log_out(machine: Booted) -> None:
    """Hang up, and wait until no session is kept."""
    Terminal.kill_all()
    machine.run("pkill", "-x", "ssh", check=False)  # on Debian 12 it outlives its terminal
    wait_for(lambda: not sessions(machine), "the sessions end")


class NewSession:
    """The session that a login begins: made before it, and asked for after it."""

    def __init__(self, machine: Booted, people: People, user: str = "alice") -> None:
        self._machine, self._people, self._user = machine, people, user
        self._before = {each["id"] for each in sessions(machine)}
        self._known = people.phone.sessions(user)

    def wait(self) -> tuple[dict[str, Any], int]:
        """What the machine lists, and its number at IAMPASS."""

        def found() -> list[dict[str, Any]]:
            new = (each for each in sessions(self._machine) if each["id"] not in self._before)
            return [each for each in new if each["logins"]]

        (session,) = wait_for(found, "the session is listed")
        (number,) = (each for each in self._people.phone.sessions(self._user) if each not in self._known)
        return session, number


class Login:
    """An ssh login of alice with a shell, and its session."""

    def __init__(self, machine: Booted, people: People, *options: str) -> None:
        begun = NewSession(machine, people)
        self.terminal = people.ssh("alice", "exec sh -i", options=(*KEY, *options, "-tt"))
        people.phone.approve("alice")
        self.terminal.expect(r"\$ ")
        self.session, self.number = begun.wait()
        self.id: str = self.session["id"]
        self.pid: int = self.session["logins"][0]["pid"]

    def sudo(self) -> None:
        """Type a sudo, and the password."""
        self.terminal.sendline(f"sudo -k sh -c '{WHO}'")
        type_password(self.terminal)

    def lives(self) -> bool:
        """Whether the shell answers."""
        self.terminal.sendline("echo alive-$((40 + 2))")
        return bool(self.terminal.expect(["alive-42", "closed"]) == 0)


def ended(machine: Booted, people: People, login: Login) -> bool:
    """Whether neither this machine nor IAMPASS knows the session any more."""
    return login.number not in people.phone.sessions("alice") and login.id not in {
        each["id"] for each in sessions(machine)
    }

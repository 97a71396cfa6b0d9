"""The scene of `make demo` with a login that keeps its session: sudo is covered, then not; the phone ends the login."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pam_iampass.sandbox.sessions import SandboxSession
from tests.support.agent import RunningAgent, running_enforcer
from tests.support.journald import Journald
from tests.support.sandbox import Sandbox
from tests.support.sshd import Sshd
from tests.support.terminal import Terminal

SETTINGS = "{keep: true, check: 2s, when_away: revoke, covers: {services: [sudo], for: 15m}}"
TITLE = "A session that lasts as long as the login: sudo needs no approval of its own, until the phone leaves"
EXPECTED = ("approved", "session_opened", "covered", "session_away", "session_ended")
SHELL = r"[$] $"
_PATIENCE = 60.0


@dataclass(frozen=True)
class KeptLogin:
    """An ssh login of a user with a shell, the phone, and where the steps are announced."""

    sandbox: Sandbox
    token: str
    """The user's token."""
    terminal: Terminal
    password: str
    announce: Callable[[str], None]

    def play(self) -> bool:
        """Go through the scene; returns whether sudo gave root when it had to."""
        terminal, sandbox = self.terminal, self.sandbox
        session = self._approve()
        terminal.expect(SHELL)
        return (
            self._sudo(session, "covered: the phone stays silent")
            and self._leave(session)
            and self._sudo(session, "no longer covered: the phone is asked", approve=True)
            and self._end(sandbox.close(session))
        )

    def _approve(self, after: SandboxSession | None = None) -> SandboxSession:
        request = self.sandbox.wait_for_request(self.token, _PATIENCE, after)
        time.sleep(1.0)
        self.announce("the user approves")
        return self.sandbox.approve(request)

    def _sudo(self, session: SandboxSession, what: str, *, approve: bool = False) -> bool:
        self.terminal.sendline("sudo -k id")
        self.terminal.expect("password for [a-z]+: ")
        self.terminal.sendline(self.password)
        if approve:
            self._approve(after=session)
        self.terminal.expect_exact("uid=0(root)")
        self.terminal.expect(SHELL)
        self.announce(f"sudo was {what}")
        last = [each.number for each in self.sandbox.sessions if each.user == self.token][-1]
        return (last != session.number) == approve

    def _leave(self, session: SandboxSession) -> bool:
        polls = self.sandbox.walk_away(session).polls
        self.announce("the user walks away with the phone")
        # Two polls in a row must report it.
        self.sandbox.wait_for_session(
            lambda each: each.number == session.number and each.polls >= polls + 3, _PATIENCE
        )
        return True

    def _end(self, session: SandboxSession) -> bool:
        self.announce("the user ends the session on the phone")
        self.terminal.expect_exact("The IAMPASS session of this login was ended on the phone.")
        self.terminal.finish()
        return True


def play(
    sandbox: Sandbox, sshd: Sshd, journald: Journald, password: str, show: Callable[[list[str]], None]
) -> tuple[bool, list[dict[str, Any]]]:
    """Whether the login went as expected, and the records of its session. `show` prints lines."""
    sandbox.auto = "ask"
    cursor, shown = journald.cursor(), 0
    with RunningAgent(), running_enforcer():
        terminal = sshd.login("alice", "exec sh -i", options=("RequestTTY=force",), timeout=_PATIENCE)

        def announce(step: str) -> None:
            nonlocal shown
            screen = terminal.shown
            show([*(line for line in screen[shown:].split("\n") if line.strip()), f"({step})"])
            shown = len(screen)

        right = KeptLogin(sandbox, "7f3c-alice", terminal, password, announce).play()
        announce("the login is over")
        records = records_of_session(journald, cursor)
    return right and tuple(map(_what, records)) == EXPECTED, records


def records_of_session(journald: Journald, cursor: str) -> list[dict[str, Any]]:
    """The records of the first session since `cursor`, once it has ended."""
    until = time.monotonic() + _PATIENCE
    while True:
        first, *others = (each for each in journald.records(cursor) if "IAMPASS_SESSION" in each)
        found = [first, *(each for each in others if each["IAMPASS_SESSION"] == first["IAMPASS_SESSION"])]
        if _what(found[-1]) == "session_ended" or time.monotonic() > until:
            return found
        time.sleep(0.1)


def _what(record: dict[str, Any]) -> str:
    return str(record.get("IAMPASS_OUTCOME") or record.get("IAMPASS_EVENT"))

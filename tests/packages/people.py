"""How people log in to a booted machine."""

from __future__ import annotations

from typing import Any, Protocol

from tests.packages.administrator import PASSWORD
from tests.packages.booted import Booted
from tests.packages.phone import PORT, Phone
from tests.support.terminal import Terminal

PROMPT = "IAMPASS: press Enter[^:]*: "
TEXT = "(?:Approve this on your phone|is asked to approve this) within"
"""What sshd shows instead of the prompt where it shows a text at once."""
WHO = "echo In as $(id -un)."
SSH = (
    *("-F", "none", "-o", "IdentitiesOnly=yes", "-o", "UserKnownHostsFile=/root/known-hosts"),
    *("-o", "NumberOfPasswordPrompts=1", "-o", "PreferredAuthentications=publickey,keyboard-interactive"),
)
KEY = ("-i", "/root/key")


class HasTerminals(Protocol):
    """A machine on which programs run in terminals."""

    def terminal(self, *command: str) -> Terminal:
        """Run a program of the machine in a terminal."""


class Users:
    """How the users of a machine log in."""

    def __init__(self, machine: HasTerminals) -> None:
        self._machine = machine

    def ssh(self, user: str, *remote: str, options: tuple[str, ...] = KEY) -> Terminal:
        """ssh from the machine to itself."""
        return self._machine.terminal("ssh", *options, *SSH, f"{user}@127.0.0.1", *(remote or (WHO,)))

    def sudo(self, user: str) -> Terminal:
        """sudo at a terminal of the user's; the password is typed already."""
        terminal = self._machine.terminal("runuser", "-u", user, "--", "sudo", "-k", "sh", "-c", WHO)
        type_password(terminal)
        return terminal

    def su(self, user: str, target: str, password: str) -> Terminal:
        """su from the user to another, with that one's password."""
        terminal = self._machine.terminal("runuser", "-u", user, "--", "su", target, "-c", WHO)
        type_password(terminal, password)
        return terminal


class People(Users):
    """The users who log in to `machine`, with their phones; `port` is that of IAMPASS."""

    def __init__(self, machine: Booted, port: int = PORT) -> None:
        super().__init__(machine)
        self.machine = machine
        self.phone = Phone(machine, port)


def type_password(terminal: Terminal, password: str = PASSWORD) -> None:
    """Answer the question for the password."""
    terminal.expect("(?i)password[^:]*: ")
    terminal.sendline(password)


def press_enter(terminal: Terminal) -> None:
    """Answer our prompt, or read the text that sshd shows instead."""
    if terminal.expect([PROMPT, TEXT]) == 0:
        terminal.sendline("")


def got_in(terminal: Terminal, user: str) -> bool:
    """Whether the login succeeded, once it has ended."""
    status = terminal.finish()
    print(terminal.shown)
    inside = f"In as {user}." in terminal.shown
    assert inside == (status == 0), (status, terminal.shown)
    return inside


def outcomes(records: list[dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Outcome, result, user and service of each audit record of a login on this host."""
    names = ("IAMPASS_OUTCOME", "IAMPASS_RESULT", "IAMPASS_USER", "IAMPASS_SERVICE")
    return [
        (record[names[0]], record[names[1]], record[names[2]], record[names[3]])
        for record in records
        if record.keys() >= set(names)
    ]


__all__ = [
    "KEY",
    "PROMPT",
    "SSH",
    "TEXT",
    "WHO",
    "People",
    "got_in",
    "outcomes",
    "press_enter",
    "type_password",
]

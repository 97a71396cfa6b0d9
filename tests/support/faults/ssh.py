"""A case of the fault table by a real sshd and a real ssh."""

from __future__ import annotations

import time
from typing import Callable

import pexpect

from tests.support.faults.case import AUTH_ERR, MAXTRIES, SUCCESS
from tests.support.faults.place import Ended, Place
from tests.support.installation import write
from tests.support.sshd import PROMPT, Sshd
from tests.support.terminal import Terminal
from tests.support.world import PASSWORD
from tests.system.test_outcomes import NO_METHOD_LEFT

#: The lines of the PAM file other than `auth`.
ELSEWHERE = ("account required pam_permit.so", "session required pam_permit.so")
_IN = "In as"
_OF_SSH = (_IN, "Permission denied", "Connection closed", "Received disconnect", "Disconnected", "Warning: ")
_PASSWORD = r"assword: ?$"


def by_ssh(method: str, *options: str, root: bool = False, typed: str = "") -> Callable[[Place], list[Ended]]:
    """Log in by ssh's `method`, to an sshd with these options; `root` with an account with user id 0; `typed` is the
    answer to our prompt."""

    def play(place: Place) -> list[Ended]:
        user = f"root-{place.users[0]}" if root else place.users[0]
        write(place.table_file, f"{user}: {place.token(place.users[0])}\n")
        with Sshd(
            place.folder / "sshd",
            f"PAMServiceName={place.service}",
            "UsePAM=yes",
            "PubkeyAuthentication=no",
            f"PasswordAuthentication={'yes' if method == 'password' else 'no'}",
            f"KbdInteractiveAuthentication={'yes' if method == 'keyboard-interactive' else 'no'}",
            *options,
        ) as sshd:
            ways = (f"PreferredAuthentications={method}", "NumberOfPasswordPrompts=1", "IdentityAgent=none")
            began = time.monotonic()
            with_terminal = sshd.login(user, f"echo {_IN} $(id -u).", options=ways)
            status = _answer(with_terminal, typed)
            return [_seen(with_terminal, status, time.monotonic() - began)]

    return play


def _answer(terminal: Terminal, typed: str) -> int:
    """Answer each password prompt and each prompt of ours."""
    while (asked := terminal.expect([_PASSWORD, PROMPT, pexpect.EOF])) != 2:
        terminal.sendline(PASSWORD if asked == 0 else typed)
    return terminal.finish()


def _seen(terminal: Terminal, status: int, elapsed: float) -> Ended:
    """With the PAM code that explains how ssh ended: only PAM_MAXTRIES ends all methods."""
    denied = MAXTRIES if NO_METHOD_LEFT in terminal.shown else AUTH_ERR
    code = SUCCESS if status == 0 and _IN in terminal.shown else denied
    lines = [line.lstrip("\r") for line in terminal.lines]
    shown = [
        line for line in lines if "assword:" not in line and not line.startswith(_OF_SSH) and "@" not in line
    ]
    return Ended(code, shown, elapsed)

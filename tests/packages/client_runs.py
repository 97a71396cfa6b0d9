"""Runs of ssh clients on a booted machine."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pexpect

from tests.packages.booted import Booted
from tests.packages.clients import Run
from tests.packages.people import PROMPT


@dataclass(frozen=True)
class Ended:
    """A run that has ended."""

    status: int
    shown: str


def play(machine: Booted, run: Run, user: str) -> Ended:
    """Run a client to its end, pressing Enter at our prompt."""
    command = f"cd $(mktemp -d) && {run.command.replace('USER', user)}"
    if not run.terminal:
        done = machine.run("setsid", "--wait", "sh", "-c", command, check=False)
        return Ended(done.returncode, done.stdout + done.stderr)
    terminal = machine.terminal("sh", "-c", command)
    while terminal.expect([PROMPT, pexpect.EOF]) == 0:
        terminal.sendline("")
    return Ended(terminal.finish(), terminal.shown)


def judge(run: Run, ended: Ended, user: str, *, works: bool) -> None:
    """Raises AssertionError unless the user got in, or did not for the expected reason."""
    print(ended.shown)
    assert (ended.status == 0) == works, ended
    assert ended.shown.count(f"precious of {user}") == (run.copies if works else 0), ended
    assert re.search(run.shows, ended.shown), ended

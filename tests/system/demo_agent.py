"""The scene of `make demo` with the account of an AI agent: its owner sees each command, denies one, approves one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import Any

from tests.support.agent import RunningAgent, running_enforcer
from tests.support.journald import Journald
from tests.support.pam_files import asking
from tests.support.sandbox import Sandbox
from tests.support.terminal import Terminal

AGENT, OWNER = "claude", "carol"
TITLE = (
    f"The account of an AI agent ({AGENT}, for {OWNER}): each sudo is denied or approved on the owner's phone"
)
TABLE = f"{AGENT}: {{acts_for: {OWNER}}}\n"
SUDOERS = f"{AGENT} ALL=(ALL) NOPASSWD: /usr/bin/id\n"
COMMAND = ("sudo", "-n", "id")
ANSWERS = {"deny": "denied", "approve": "approved"}
_LINE = "asks you to approve this on your phone"
_PATIENCE = 60.0


def as_user(name: str, *command: str) -> Terminal:
    """A command of the user in a terminal."""
    become = ["setpriv", f"--reuid={name}", f"--regid={name}", "--init-groups"]
    return Terminal([*become, *command], _PATIENCE)


def play(
    sandbox: Sandbox, journald: Journald, show: Callable[[list[str]], None]
) -> tuple[bool, list[dict[str, Any]]]:
    """Whether each command ended as its owner answered, after a line on the owner's terminal; and the records."""
    records: list[dict[str, Any]] = []
    right = True
    with asking("sudo", choice="always"), RunningAgent(), running_enforcer():
        for sandbox.auto, outcome in ANSWERS.items():
            cursor = journald.cursor()
            owner = as_user(OWNER, "sh", "-c", "tty; read line")
            owner.expect("/dev/pts/[0-9]+")
            device = owner.match.group()
            shutil.chown(device, OWNER)
            os.chmod(device, 0o620)  # it takes messages, as after a login
            show([f"{AGENT}$ {' '.join(COMMAND)}"])
            agent = as_user(AGENT, *COMMAND)
            owner.expect_exact(_LINE)
            owner.expect_exact("\n")
            show([f"(terminal of {OWNER}) {line}" for line in owner.lines if _LINE in line])
            status = agent.finish()
            show([*agent.lines, f"(ended with status {status})"])
            owner.sendline("")
            owner.finish()
            found = journald.wait_for(cursor)
            right &= [(each["IAMPASS_OUTCOME"], status == 0) for each in found] == [
                (outcome, sandbox.auto == "approve")
            ]
            records += found
    return right, records

"""`make demo`: real ssh logins through IAMPASS, against the sandbox, on a copy of this machine.

Each login is shown as the person sees it, with the journal's record below. The exit status is 0 only if every
login went as it should.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pexpect

from pam_iampass.sandbox import Sandbox
from tests.support.installation import Installation
from tests.support.journald import Journald
from tests.support.sshd import PROMPT, Sshd

COLOURS = sys.stdout.isatty() and "NO_COLOR" not in os.environ
REMOTE_COMMAND = "echo You are $(id -un) on $(uname -n)."
SHOWN_FIELDS = ("OUTCOME", "RESULT", "USER", "SERVICE", "RHOST", "REASON", "ELAPSED_MS")


@dataclass(frozen=True)
class Scene:
    """One login of the demo, and what must come of it."""

    title: str
    user: str
    auto: str
    outcome: str
    gets_in: bool


SCENES = (
    Scene("Approved: the phone says yes after two seconds", "alice", "approve", "approved", True),
    Scene("Denied: the phone says no", "alice", "deny", "denied", False),
    Scene("Unanswered: nobody looks at the phone", "alice", "ignore", "timed_out", False),
    Scene("No phone: bob has a token, but no device at IAMPASS", "bob", "approve", "no_device", False),
)


def paint(text: str, code: str) -> str:
    """Colour a text where a terminal shows it."""
    return f"\x1b[{code}m{text}\x1b[0m" if COLOURS else text


def indented(lines: Iterator[str] | list[str], mark: str) -> None:
    """Print lines behind a mark."""
    for line in lines:
        print(f"  {paint(mark, '2')} {line}", flush=True)


def login(sshd: Sshd, user: str) -> tuple[list[str], int]:
    """Log in with a real ssh client, press Enter at the prompt, and return the screen and the exit status."""
    terminal = sshd.login(user, REMOTE_COMMAND)
    if terminal.expect([PROMPT, pexpect.EOF]) == 0:
        terminal.sendline("")
    status = terminal.finish()
    return terminal.lines, status


def play(scene: Scene, sandbox: Sandbox, sshd: Sshd, journald: Journald) -> bool:
    """Play one login, show it, and say whether it went as it should."""
    print("\n" + paint(scene.title, "1"))
    sandbox.auto, sandbox.delay = scene.auto, 2.0
    place = journald.cursor()
    began = time.monotonic()
    indented([f"$ ssh {scene.user}@this-machine '{REMOTE_COMMAND}'"], "|")
    screen, status = login(sshd, scene.user)
    indented(screen, "|")
    indented([f"(ssh ended with status {status} after {time.monotonic() - began:.1f} s)"], "|")
    records = journald.wait_for(place)
    for record in records:
        indented([f"{name}={record.get('IAMPASS_' + name, '')}" for name in SHOWN_FIELDS], "journal:")
    return is_right(scene, status, screen, records)


def is_right(scene: Scene, status: int, screen: list[str], records: list[dict[str, Any]]) -> bool:
    """Whether the login ended as it must, with one record that says so."""
    came_in = status == 0 and any(f"You are {scene.user} on" in line for line in screen)
    outcomes = [record.get("IAMPASS_OUTCOME") for record in records]
    right = came_in == scene.gets_in and outcomes == [scene.outcome]
    print(
        "  " + (paint("as it should be", "32") if right else paint(f"WRONG: expected {scene.outcome}", "31"))
    )
    return right


def main() -> int:
    """Set everything up, play the scenes, and give the verdict."""
    print(
        "This runs on a copy of this machine that is thrown away afterwards. It takes less than a minute.",
        flush=True,
    )
    folder = Path(tempfile.mkdtemp(dir="/var/lib"))
    with Sandbox(application_id="demo") as sandbox, Journald() as journald:
        machine = Installation()
        for user in ("alice", "bob"):
            machine.add_user(user)
        sandbox.add_user("7f3c-alice", device=True)
        sandbox.add_user("91aa-bob", device=False)
        machine.configure(sandbox, timeout="5s")
        machine.write_users("alice: 7f3c-alice\nbob: 91aa-bob\n")
        shutil.copy("config/sshd_config.d/iampass.conf", "/etc/ssh/sshd_config.d/")
        print(
            f"A sandbox plays IAMPASS at {sandbox.url}; sshd asks for a key, then for the phone (5 seconds)."
        )
        with Sshd(folder) as sshd:
            for user in ("alice", "bob"):
                sshd.admit(user)
            right = [play(scene, sandbox, sshd, journald) for scene in SCENES]
        left_open = [session for session in sandbox.sessions if session.ended_by is None]
    good = all(right) and not left_open
    verdict = f"{sum(right)} of {len(right)} logins went as they should; {len(left_open)} sessions left open"
    print("\n" + paint(verdict, "32" if good else "31"))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

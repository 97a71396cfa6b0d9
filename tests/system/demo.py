"""`make demo`: real ssh logins and a sudo through IAMPASS, against the sandbox, in an isolated root.

Each login is shown as the user sees it, followed by its audit record. The exit status is 0 only if every login had the
expected result. With `make demo PHONE=1` you approve and deny the requests on the sandbox's phone page.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pexpect

from pam_iampass.sandbox.phone import outcome as answer_on_the_phone
from pam_iampass.sandbox.state_folder import SandboxError
from tests.support.agent import RunningAgent
from tests.support.installation import ROOT, Installation
from tests.support.journald import Journald
from tests.support.pam_files import write
from tests.support.sandbox import Sandbox
from tests.support.sshd import PROMPT, Sshd
from tests.support.terminal import Terminal
from tests.system import demo_agent, demo_session

COLOURS = sys.stdout.isatty() and "NO_COLOR" not in os.environ
REMOTE_COMMAND = "echo You are $(id -un) on $(uname -n)."
SHOWN_FIELDS = ("OUTCOME", "RESULT", "USER", "APPROVER", "SERVICE", "RHOST", "REASON", "ELAPSED_MS")
PASSWORD = "correct horse"
PASSWORD_PROMPT = "password for alice: "
PAGE_PORT = 8443
PAGE_SECONDS = 300
ANSWER_SECONDS = 60


@dataclass(frozen=True)
class Scene:
    """One login of the demo, and its expected result."""

    title: str
    user: str
    auto: str
    outcome: str
    """Empty if the user decides on the phone page."""
    gets_in: bool
    sudo: bool = False
    prompt: bool = False
    """Whether sshd asks at a prompt, as after `setup sshd --prompt`."""
    answer_seconds: float = ANSWER_SECONDS
    """How long the sandbox waits for an answer."""
    before: Callable[[Sandbox, str], None] = lambda _sandbox, _user: None
    """What happens to the phone before the login."""


def lose_phone(sandbox: Sandbox, user: str) -> None:
    """What an administrator does when a phone is lost."""
    command = ["pam-iampass", "phone", "lost", user, "--yes"]
    indented([f"# {' '.join(command)}"], "|")
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    indented(done.stdout.splitlines(), "|")


def register_phone(sandbox: Sandbox, user: str) -> None:
    """What the next phone does: it opens the link that the administrator gets."""
    command = ["pam-iampass", "enroll", user, "--no-wait"]
    indented([f"# {' '.join(command)}"], "|")
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    indented(done.stdout.splitlines(), "|")
    (link,) = (line.strip() for line in done.stdout.splitlines() if "https://" in line)
    request = urllib.request.Request(link, method="POST")
    urllib.request.urlopen(request, context=ssl.create_default_context(cafile=str(sandbox.ca_file)))
    indented(["(the next phone opens the link)"], "|")


SCENES = (
    Scene("Approved: no prompt, the user approves after two seconds", "alice", "approve", "approved", True),
    Scene("Denied: the user denies", "carol", "deny", "denied", False),
    Scene("Unanswered: the user does not respond within 5 seconds", "carol", "ignore", "timed_out", False),
    Scene(
        "No phone: bob has a token, but no phone registered at IAMPASS", "bob", "approve", "no_device", False
    ),
    Scene("With a prompt (setup sshd --prompt), approved", "alice", "approve", "approved", True, prompt=True),
    Scene("sudo, approved", "alice", "approve", "approved", True, sudo=True),
    Scene("sudo, denied", "alice", "deny", "denied", False, sudo=True),
    Scene(
        "A lost phone: disabled at IAMPASS, it approves nothing",
        "alice",
        "approve",
        "no_device",
        False,
        before=lose_phone,
    ),
    Scene(
        "The next phone: registered by a new link",
        "alice",
        "approve",
        "approved",
        True,
        before=register_phone,
    ),
)

YOURS = (
    Scene("Your turn: approve this login on the phone page", "alice", "ask", "", False),
    Scene("Your turn: deny this one", "alice", "ask", "", False),
    Scene(
        "Do not respond: the request expires after 15 seconds", "carol", "ask", "", False, answer_seconds=15
    ),
    Scene("sudo: approve or deny", "alice", "ask", "", False, sudo=True),
)
OUTCOMES_OF_ANSWERS = {
    "approved": "approved",
    "denied": "denied",
    "expired": "timed_out",
    "withdrawn": "timed_out",
}


def in_container() -> bool:
    """Whether this runs in a container itself (container.py), not in a copy of the machine."""
    return os.environ.get("MACHINE_COPY") == "container"


def paint(text: str, code: str) -> str:
    """Color a text if the output is a terminal."""
    return f"\x1b[{code}m{text}\x1b[0m" if COLOURS else text


def indented(lines: Iterable[str], mark: str) -> None:
    """Print lines with a prefix."""
    for line in lines:
        print(f"  {paint(mark, '2')} {line.strip(chr(13))}", flush=True)


def log_in(sshd: Sshd, user: str) -> tuple[list[str], int]:
    """Log in with a real ssh client, press Enter at a prompt, and return the screen and the exit status."""
    indented([f"$ ssh {user}@this-machine '{REMOTE_COMMAND}'"], "|")
    return answered(sshd.login(user, REMOTE_COMMAND, timeout=ANSWER_SECONDS + 15), PROMPT, "")


def become_root(user: str) -> tuple[list[str], int]:
    """Run a command with a real sudo, type the password, and return the screen and the exit status."""
    indented(["$ sudo id"], "|")
    as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
    return answered(Terminal([*as_user, "sudo", "-k", "id"], ANSWER_SECONDS + 15), PASSWORD_PROMPT, PASSWORD)


def answered(terminal: Terminal, prompt: str, answer: str) -> tuple[list[str], int]:
    """Answer one prompt and wait for the end."""
    if terminal.expect([prompt, pexpect.EOF]) == 0:
        terminal.sendline(answer)
    status = terminal.finish()
    return terminal.lines, status


def play(
    scene: Scene, machine: Installation, sandbox: Sandbox, sshds: dict[bool, Sshd], journald: Journald
) -> bool:
    """Run one login, show it, and return whether it had the expected result."""
    print("\n" + paint(scene.title, "1"))
    write("sshd", "key" if scene.prompt else "quiet")
    machine.change(timeout="5s" if scene.auto == "ignore" else f"{ANSWER_SECONDS}s")
    sandbox.auto, sandbox.delay, sandbox.request_timeout = scene.auto, 2.0, scene.answer_seconds
    with RunningAgent():
        scene.before(sandbox, scene.user)
        cursor = journald.cursor()
        began = time.monotonic()
        screen, status = become_root(scene.user) if scene.sudo else log_in(sshds[scene.prompt], scene.user)
    indented(screen, "|")
    indented([f"(ended with status {status} after {time.monotonic() - began:.1f} s)"], "|")
    records = journald.wait_for(cursor)
    for record in records:
        fields = " ".join(f"{name}={record.get('IAMPASS_' + name, '')}" for name in SHOWN_FIELDS)
        indented([fields], "journal:")
    if not scene.outcome:
        response = answer_on_the_phone(sandbox.sessions[-1])
        print(f"  Response on the phone: {response}.")
        right = OUTCOMES_OF_ANSWERS[response]
        scene = replace(scene, outcome=right, gets_in=right == "approved")
    return is_right(scene, status, screen, records)


def play_session(machine: Installation, sandbox: Sandbox, sshd: Sshd, journald: Journald) -> bool:
    """Run the login that keeps its session, show it, and return whether it had the expected result."""
    print("\n" + paint(demo_session.TITLE, "1"))
    write("sshd", "quiet")
    machine.change(session=demo_session.SETTINGS)
    indented(["$ ssh alice@this-machine"], "|")
    right, records = demo_session.play(sandbox, sshd, journald, PASSWORD, lambda lines: indented(lines, "|"))
    return show_records(records, right)


def play_agent(machine: Installation, sandbox: Sandbox, journald: Journald) -> bool:
    """Run sudo in the account of an agent, show it, and return whether each had the expected result."""
    print("\n" + paint(demo_agent.TITLE, "1"))
    machine.change()
    right, records = demo_agent.play(sandbox, journald, lambda lines: indented(lines, "|"))
    return show_records(records, right)


def show_records(records: list[dict[str, Any]], right: bool) -> bool:
    """Show the records of a scene, and whether it had the expected result."""
    for record in records:
        names = ("OUTCOME", "EVENT", "USER", "APPROVER", "SERVICE", "COMMAND", "SESSION", "REASON")
        found = ((name, record.get("IAMPASS_" + name)) for name in names)
        indented([" ".join(f"{name}={value}" for name, value in found if value)], "journal:")
    print("  " + (paint("as expected", "32") if right else paint("WRONG", "31")))
    return right


def is_right(scene: Scene, status: int, screen: list[str], records: list[dict[str, Any]]) -> bool:
    """Whether the login had the expected result and exactly one record of it."""
    sign = "uid=0(root)" if scene.sudo else f"You are {scene.user} on"
    came_in = status == 0 and any(sign in line for line in screen)
    outcomes = [record.get("IAMPASS_OUTCOME") for record in records]
    right = came_in == scene.gets_in and outcomes == [scene.outcome]
    print("  " + (paint("as expected", "32") if right else paint(f"WRONG: expected {scene.outcome}", "31")))
    return right


def open_sandbox(phone: bool) -> Sandbox:
    """A running sandbox; for the phone page on a memorable port if that is free."""
    for port in (PAGE_PORT, 0) if phone else (0,):
        sandbox = Sandbox(application_id="demo", listen=("127.0.0.1", port))
        try:
            sandbox.start()
        except SandboxError:
            sandbox.stop()
            continue
        return sandbox
    raise SandboxError("no port of 127.0.0.1 is free")


def wait_for_person(sandbox: Sandbox) -> bool:
    """Print the address of the phone page and wait until it is opened. Returns False on a timeout."""
    print(f"\nOpen the phone page in a browser:\n\n    {paint(sandbox.phone_url, '1')}\n")
    print("The browser warns about the sandbox's own certificate. Its SHA-256 fingerprint is")
    print(f"    {sandbox.certificate_fingerprint}")
    print("From another machine, run this first:")
    print(f"    ssh -L {sandbox.port}:127.0.0.1:{sandbox.port} this-machine")
    if in_container():
        print("This is the container's own 127.0.0.1, unless it was started with --network=host.")
    print(f"\nWaiting for the page to be opened, {PAGE_SECONDS // 60} minutes at most …", flush=True)
    try:
        sandbox.wait_for_phone(PAGE_SECONDS)
    except TimeoutError:
        print(paint("The page was not opened.", "31"))
        return False
    return True


def set_up(sandbox: Sandbox) -> Installation:
    """Install, configure, and enable pam-iampass for sshd and sudo."""
    machine = Installation()
    for user in ("alice", "bob", "carol", demo_agent.AGENT):
        machine.add_user(user, PASSWORD)
    sandbox.add_user("7f3c-alice", device=True)
    sandbox.add_user("91aa-bob", device=False)
    sandbox.add_user("55d0-carol", device=True)
    machine.configure(sandbox, timeout=f"{ANSWER_SECONDS}s")
    machine.write_users("alice: 7f3c-alice\nbob: 91aa-bob\ncarol: 55d0-carol\n" + demo_agent.TABLE)
    write("sudo")
    shutil.copy(ROOT / "config/sshd_config.d/10-iampass.conf", "/etc/ssh/sshd_config.d/")
    Path("/etc/sudoers.d/alice").write_text(f"alice ALL=(ALL) ALL\n{demo_agent.SUDOERS}")
    return machine


def main() -> int:
    """Set everything up, run the scenes, and print the summary."""
    phone = sys.argv[1:] == ["--phone"]
    scenes = YOURS if phone else SCENES
    length = "as long as you need" if phone else "a minute"
    where = "" if in_container() else "runs in a temporary copy of this machine and "
    print(f"This {where}takes {length}.", flush=True)
    folder = Path(tempfile.mkdtemp(dir="/var/lib"))
    with contextlib.ExitStack() as running:
        sandbox = open_sandbox(phone)
        running.callback(sandbox.stop)
        journald = running.enter_context(Journald())
        machine = set_up(sandbox)
        print(
            f"The sandbox at {sandbox.url} stands in for IAMPASS. sshd requires a key and the phone, sudo the password"
        )
        print(
            "and the phone. sshd asks without a prompt, as after `pam-iampass setup sshd`, unless a title says so."
        )
        print(f"Requests expire after {ANSWER_SECONDS} seconds.")
        if phone and not wait_for_person(sandbox):
            return 1
        # Each login reads the PAM file anew: for a way into sshd, `play` writes it.
        with (
            Sshd(folder, way="quiet", own_pam_file=False) as quiet,
            Sshd(folder / "prompt", keys=folder, way="key", own_pam_file=False) as prompt,
        ):
            for user in ("alice", "bob", "carol"):
                quiet.admit(user)
            sshds = {False: quiet, True: prompt}
            right = [play(scene, machine, sandbox, sshds, journald) for scene in scenes]
            if not phone:
                right.append(play_session(machine, sandbox, quiet, journald))
                right.append(play_agent(machine, sandbox, journald))
        left_open = [session for session in sandbox.sessions if session.ended_by is None]
    good = all(right) and not left_open
    verdict = (
        f"{sum(right)} of {len(right)} logins as expected; {len(left_open)} sessions left open at IAMPASS"
    )
    print("\n" + paint(verdict, "32" if good else "31"))
    return 0 if good else 1


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit("Interrupted.")

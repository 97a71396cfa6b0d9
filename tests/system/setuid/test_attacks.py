"""What an unprivileged user does to a process before sudo or su begins in it changes nothing.

The attacker knows the right password; the phone denies, or approves. The variables really reach the programs: sudo
neither resets the environment nor has a `secure_path` here, and an outage lets people pass, so that whatever looks like
one would let the attacker in.
"""

from __future__ import annotations

import shutil
import subprocess
import termios
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest

from tests.support.installation import Installation
from tests.support.sandbox import Sandbox
from tests.support.setuid.people import GROUP, HOME, PROGRAMS
from tests.support.setuid.stage import Guest, Phone, Stage
from tests.support.setuid.traps import NAME_SERVER, Traps
from tests.support.terminal import Terminal
from tests.support.world import PASSWORD, PATIENCE, wait_until
from tests.system.setuid.attacks import ATTACKS, Attack, aimed

#: Only root can write into it: a file in it shows that root did.
PROOFS = Path("/root/proofs")
#: How many logins are played at the same time, and how many of them have not yet reached the phone: until then a login
#: costs CPU (the password's hash), and later none.
AT_ONCE, STARTING = 80, threading.Semaphore(8)
#: Longer than a login has, with all that pam_unix and a busy machine add. Seconds.
BOUND = 30.0 + PATIENCE


@dataclass(frozen=True)
class Login:
    """What came of one."""

    status: int
    shown: str
    seconds: float
    got_in: bool
    starts: int
    records: list[str]


Case = tuple[str, str, Phone]


CASES = [
    pytest.param(attack.name, program, phone, id=f"{attack.name}-{program}-{phone.value}")
    for attack in ATTACKS
    for program in PROGRAMS
    for phone in attack.phones
]
ATTACK = {attack.name: attack for attack in ATTACKS}


@pytest.fixture(scope="module")
def traps(sandbox: Sandbox, sudo_and_su: Installation) -> Iterator[Traps]:
    """All that an attacker has planted; IAMPASS has a name that must be looked up."""
    kept = {Path(name): Path(name).read_bytes() for name in ("/etc/resolv.conf", "/etc/nsswitch.conf")}
    Path("/etc/resolv.conf").unlink()
    Path("/etc/resolv.conf").write_text(f"nameserver {NAME_SERVER}\n")
    nsswitch = kept[Path("/etc/nsswitch.conf")].decode().splitlines()
    lines = ["hosts: files dns", *(line for line in nsswitch if not line.startswith("hosts:"))]
    Path("/etc/nsswitch.conf").write_text("\n".join(lines) + "\n")
    sudo_and_su.change(server=f"https://iampass:{sandbox.port}", timeout="30s", unavailable="ignore")
    with Traps(sandbox.port) as traps:
        yield traps
    for path, content in kept.items():
        path.write_bytes(content)


@pytest.fixture(scope="module")
def open_sudo(sudo_and_su: Installation) -> Iterator[None]:
    """sudo lets every variable through."""
    file = Path("/etc/sudoers.d/open")
    file.write_text(f"Defaults:%{GROUP} !env_reset, setenv, !secure_path\n")
    yield
    file.unlink()


@pytest.fixture(scope="module")
def played(stage: Stage, traps: Traps, open_sudo: None) -> Iterator[dict[Case, Login]]:
    """All of them, some at once."""
    PROOFS.mkdir(mode=0o700)
    cases: list[Case] = [case.values for case in CASES]  # type: ignore[misc]
    guests = [stage.guest(phone) for _, _, phone in cases]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ends = list(pool.map(lambda case, guest: play(case, guest, traps), cases, guests))
    records: dict[str, list[str]] = {}
    for text in (str(record.get("MESSAGE", "")) for record in stage.authpriv()):
        name = text.partition(" user=")[2].partition(" ")[0].removeprefix("root-")
        if "outcome=" in text and name:
            records.setdefault(name, []).append(text)
    yield {
        case: Login(*end, (PROOFS / guest.name).exists(), guest.starts(), records.get(guest.name, []))
        for case, guest, end in zip(cases, guests, ends)
    }
    shutil.rmtree(PROOFS)


def play(case: Case, guest: Guest, traps: Traps) -> tuple[int, str, float]:
    """One login, to its end: status, what was shown, seconds."""
    name, program, _ = case
    command = guest.person.to_root(program, f"/usr/bin/id -u > {PROOFS / guest.name}")
    with STARTING:
        terminal = guest.run(*command, process=aimed(ATTACK[name].process, traps.server))
        type_password(terminal)
        began = time.monotonic()
        with suppress(TimeoutError):
            wait_until(lambda: terminal.process.poll() is not None or guest.was_asked(), "the phone", 3)
    while terminal.expect([pexpect.EOF, "try again"]) != 0:
        type_password(terminal)
    return terminal.finish(), terminal.shown, time.monotonic() - began


def type_password(terminal: Terminal) -> None:
    """Answer, not when the prompt is to be seen: it may go where nobody sees it, or come in other words."""
    wait_until(
        lambda: terminal.process.poll() is not None or not echoes(terminal), "a question or an end", BOUND
    )
    terminal.sendline(PASSWORD)


def echoes(terminal: Terminal) -> bool:
    """Whether what is typed at the terminal is shown."""
    return bool(termios.tcgetattr(terminal.child_fd)[3] & termios.ECHO)


@pytest.mark.parametrize(("name", "program", "phone"), CASES)
def test_an_attack_changes_nothing(played: dict[Case, Login], name: str, program: str, phone: Phone) -> None:
    login, attack = played[name, program, phone], ATTACK[name]
    assert login.seconds < BOUND, login
    assert login.starts <= 1, "one login, one request"
    assert len(login.records) <= 1, login
    if phone is Phone.DENIES:
        assert not login.got_in, login
    if phone is Phone.DENIES and attack.harmless:
        assert login.starts == 1, login
        assert "outcome=denied result=denied " in login.records[0]
    if phone is Phone.APPROVES and attack.harmless:
        assert login.got_in, login
        assert "outcome=approved result=success " in login.records[0]


def test_no_trap_snapped(played: dict[Case, Login], traps: Traps) -> None:
    assert traps.snapped() == []


def test_logins_work_as_before_afterwards(played: dict[Case, Login], stage: Stage) -> None:
    guests = [stage.guest(Phone.APPROVES) for _ in PROGRAMS]
    with ThreadPoolExecutor(len(guests)) as pool:
        seen = list(pool.map(Guest.play, guests, PROGRAMS))
    assert all(one.got_in for one in seen), seen


@pytest.mark.parametrize(
    "attack", [attack for attack in ATTACKS if attack.snaps], ids=lambda attack: attack.name
)
def test_the_trap_would_snap(attack: Attack, traps: Traps, sandbox: Sandbox) -> None:
    """An ordinary program that does what the module does, in the attacker's environment."""
    program = f"import requests\nrequests.get('https://iampass:{sandbox.port}/')\n"
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(HOME),
        **aimed(attack.process, traps.server).environment,
    }
    drop = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    set_there = [f"{name}={value}" for name, value in environment.items()]
    command = [*drop, "env", "-i", *set_there, "/usr/bin/python3", "-c", program]
    subprocess.run(command, check=False, capture_output=True, timeout=PATIENCE, env={"PATH": "/usr/bin:/bin"})
    try:
        assert traps.snapped() != []
    finally:
        traps.reset()

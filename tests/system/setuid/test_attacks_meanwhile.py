"""What the caller can do to sudo and su, and to the module's process, while the phone rings."""

from __future__ import annotations

import signal
import subprocess
import time

import pytest

from tests.support import processes
from tests.support.agent import COMMAND
from tests.support.deadline import approve_within
from tests.support.installation import Installation
from tests.support.setuid.people import AS_ROOT, GROUP_ID, enter_password
from tests.support.setuid.side_by_side import side_by_side
from tests.support.setuid.stage import Guest
from tests.support.terminal import Terminal
from tests.support.world import PATIENCE, wait_until

SIGNALS_ANY_PROCESS_SURVIVES = (signal.SIGCONT, signal.SIGWINCH, signal.SIGURG)
#: How long the phone rings: long enough for a busy machine to answer, and stop the program. Seconds.
DEADLINE = 20
#: Longer than the phone rings, and the door's grace after it.
TOO_LATE = DEADLINE + 1.5


@pytest.fixture(autouse=True, scope="module")
def deadline(sudo_and_su: Installation) -> None:
    """The setting."""
    sudo_and_su.change(timeout=f"{DEADLINE}s")


def as_caller(guest: Guest, program: str) -> list[str]:
    """The command that runs a Python program as the caller."""
    drop = ["setpriv", f"--reuid={guest.person.uid}", f"--regid={GROUP_ID}", "--clear-groups"]
    return [*drop, "/usr/bin/python3", "-I", "-c", program]


def caller(guest: Guest, program: str) -> str:
    """Run a Python program as the caller; what it shows."""
    command = as_caller(guest, program)
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE).stdout


def send(guest: Guest, terminal: Terminal, number: int) -> None:
    """The caller sends a signal to the program: it has the caller's real user id, so the kernel lets it through."""
    caller(guest, f"import os; os.kill({terminal.process.pid}, {int(number)})")


def rings(guest: Guest, program: str) -> Terminal:
    """Begin to log in, up to where the phone rings."""
    terminal = enter_password(guest.start(program))
    terminal.expect_exact(approve_within(DEADLINE))
    guest.request()
    return terminal


def is_stopped(terminal: Terminal) -> bool:
    """Whether the program is stopped."""
    return processes.status(terminal.process.pid)["State"].startswith("T")


def stopped_until(guest: Guest, program: str, *, approve: bool, seconds: float) -> Terminal:
    """Log in, and stop the program while the phone is answered, and for this number of seconds."""
    terminal = rings(guest, program)
    send(guest, terminal, signal.SIGSTOP)
    wait_until(lambda: is_stopped(terminal), "the program stops", PATIENCE)
    answer = guest.stage.sandbox.approve if approve else guest.stage.sandbox.deny
    answer(guest.request())
    time.sleep(seconds)  # for the time to run out, which is what this is about
    send(guest, terminal, signal.SIGCONT)
    terminal.finish()
    return terminal


@side_by_side
def test_a_denial_counts_though_su_was_stopped_meanwhile(guest: Guest) -> None:
    assert AS_ROOT not in stopped_until(guest, "su", approve=False, seconds=0).shown
    assert guest.starts() == 1


@side_by_side
def test_a_denial_counts_though_sudo_was_stopped_meanwhile(guest: Guest) -> None:
    assert AS_ROOT not in stopped_until(guest, "sudo", approve=False, seconds=0).shown
    assert guest.starts() == 1


@side_by_side
def test_an_approval_counts_though_su_was_stopped_for_a_moment(guest: Guest) -> None:
    assert AS_ROOT in stopped_until(guest, "su", approve=True, seconds=0).shown


@side_by_side
def test_an_approval_is_worth_nothing_to_an_su_that_is_stopped_beyond_its_time(guest: Guest) -> None:
    assert AS_ROOT not in stopped_until(guest, "su", approve=True, seconds=TOO_LATE).shown
    assert any("reason=the module did not answer in time" in record for record in guest.records(2))


@side_by_side
def test_an_approval_is_worth_nothing_to_a_sudo_that_is_stopped_beyond_its_time(guest: Guest) -> None:
    assert AS_ROOT not in stopped_until(guest, "sudo", approve=True, seconds=TOO_LATE).shown
    assert any("reason=the module did not answer in time" in record for record in guest.records(2))


@side_by_side
def test_a_storm_of_signals_neither_shortens_nor_lengthens_the_wait(guest: Guest) -> None:
    terminal = rings(guest, "su")
    began = time.monotonic()
    numbers = [int(number) for number in SIGNALS_ANY_PROCESS_SURVIVES]
    storm = f"""
import os, time
while True:
    for number in {numbers}:
        os.kill({terminal.process.pid}, number)
    time.sleep(0.002)
"""
    with subprocess.Popen(as_caller(guest, storm), stderr=subprocess.DEVNULL) as running:
        status = terminal.finish()
        running.kill()
    assert status == 1
    assert AS_ROOT not in terminal.shown
    assert f"Nobody answered on your phone within {DEADLINE} seconds." in terminal.shown
    # The deadline, the delay that pam_unix asks for, and what a busy machine takes.
    assert 2.0 < time.monotonic() - began < DEADLINE + PATIENCE
    assert guest.starts() == 1


OUT_OF_REACH = """
import ctypes, os, signal
from pathlib import Path
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
def content(path):
    found = Path(path).read_bytes()
    if not found:  # of a process that has just ended, anybody can read no maps
        raise OSError
for pid in PIDS:
    ways = [
        lambda: Path(f"/proc/{pid}/mem").open("r+b"),
        lambda: content(f"/proc/{pid}/environ"),
        lambda: content(f"/proc/{pid}/maps"),
        lambda: os.listdir(f"/proc/{pid}/fd"),
        lambda: os.readlink(f"/proc/{pid}/fd/0"),
        lambda: os.pidfd_open(pid) and ptrace(16, pid, None, None) == 0 or (_ for _ in ()).throw(OSError()),
    ]
    for number, way in enumerate(ways):
        try:
            way()
            print("done:", pid, number)
        except OSError:
            pass
for pid in OTHERS:
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL, 0):
        try:
            os.kill(pid, number)
            print("sent:", pid, number)
        except PermissionError:
            pass
"""


@side_by_side
def test_the_caller_can_look_into_neither_the_program_nor_the_module(guest: Guest) -> None:
    terminal = rings(guest, "su")
    modules = processes.running(COMMAND[-1])
    assert modules
    program = OUT_OF_REACH.replace("PIDS", str([terminal.process.pid, *modules])).replace(
        "OTHERS", str(modules)
    )
    assert caller(guest, program) == ""
    guest.stage.sandbox.deny(guest.request())
    assert terminal.finish() == 1
    assert guest.starts() == 1

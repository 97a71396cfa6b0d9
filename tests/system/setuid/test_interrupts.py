"""sudo and su are broken off while the phone rings: the request is taken back within a second."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.in_time import BUSY
from tests.support.installation import Installation
from tests.support.setuid.people import AS_ROOT, PROGRAMS
from tests.support.setuid.stage import Guest, Stage, waiting
from tests.support.terminal import Terminal
from tests.support.world import PATIENCE


def hang_up(terminal: Terminal) -> None:
    """The terminal goes away, and with it what it would have shown."""
    Terminal.open.discard(terminal)
    terminal.close()


INTERRUPTS: dict[str, Callable[[Terminal], object]] = {
    "Ctrl-C": lambda terminal: terminal.send("\x03"),
    "Ctrl-backslash": lambda terminal: terminal.send("\x1c"),
    "SIGTERM": lambda terminal: terminal.process.send_signal(signal.SIGTERM),
    "SIGKILL": lambda terminal: terminal.process.kill(),
    "a closed terminal": hang_up,
}

Logins = dict[tuple[str, str], tuple[Guest, Terminal]]


@pytest.fixture(scope="module")
def logins(sudo_and_su: Installation, stage: Stage) -> Logins:
    """A user waits for each of them; none is measured while another starts."""
    wanted = [(program, interrupt) for program in PROGRAMS for interrupt in INTERRUPTS]
    guests = [stage.guest() for _ in wanted]
    with ThreadPoolExecutor(len(wanted)) as pool:
        terminals = list(pool.map(waiting, [program for program, _ in wanted], guests))
    return dict(zip(wanted, zip(guests, terminals)))


@pytest.mark.parametrize("interrupt", INTERRUPTS)
@pytest.mark.parametrize("program", PROGRAMS)
def test_ends_the_request_within_a_second_and_runs_nothing(
    logins: Logins, program: str, interrupt: str
) -> None:
    guest, terminal = logins[program, interrupt]
    began = time.monotonic()
    INTERRUPTS[interrupt](terminal)
    ended = guest.ended()
    assert ended.ended_at is not None
    assert ended.ended_at - began < 1.0 + BUSY
    assert guest.record().startswith("outcome=cancelled result=denied ")
    assert guest.starts() == 1
    if terminal in Terminal.open:
        terminal.finish()
    assert terminal.process.wait(PATIENCE) != 0
    assert AS_ROOT not in terminal.shown

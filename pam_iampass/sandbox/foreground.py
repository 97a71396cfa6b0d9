"""Runs a command in the foreground until a signal ends it, and reads typed lines."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Callable

_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Hold SIGTERM and SIGINT back for ``wait_for_signal``, in this thread and in those that it starts."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        while signal.sigtimedwait(_SIGNALS, 0):
            pass  # further ones must not interrupt the end of the program
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def wait_for_signal(typed: Callable[[str], None] | None) -> None:
    """Return after a signal, even if it arrived before the call.

    :param typed: called in another thread with each line of standard input; None not to read it.
    """
    if typed is not None:
        threading.Thread(target=_read_lines, args=(sys.stdin.fileno(), typed), daemon=True).start()
    signal.sigwait(_SIGNALS)


def _read_lines(descriptor: int, typed: Callable[[str], None]) -> None:
    # Not through sys.stdin: the interpreter could not close it at exit while this thread reads.
    rest = b""
    while chunk := os.read(descriptor, 4096):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            typed(line.decode("utf-8", "replace"))

"""Runs a command in the foreground until a signal ends it, and reads typed lines."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
from types import FrameType
from typing import Callable


class Foreground:
    """From its creation on, SIGTERM and SIGINT only end ``run``. For the main thread."""

    def __init__(self) -> None:
        self._woken, waker = socket.socketpair()
        waker.setblocking(False)
        self._waker = waker
        numbers = (signal.SIGTERM, signal.SIGINT)
        self._handlers = {number: signal.signal(number, _do_nothing) for number in numbers}
        self._previous_fd = signal.set_wakeup_fd(waker.fileno())

    def __enter__(self) -> Foreground:
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._previous_fd)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._woken.close()
        self._waker.close()

    def run(self, typed: Callable[[str], None] | None) -> None:
        """Returns after a signal, even if it arrived before the call.

        :param typed: called with each line of standard input; None not to read it.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            if typed is not None:
                reader = _LineReader(sys.stdin.fileno(), typed)
                selector.register(reader, selectors.EVENT_READ, reader.read)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._woken:
                        return
                    if not key.data():
                        selector.unregister(key.fileobj)


class _LineReader:
    """Splits typed text into lines."""

    def __init__(self, descriptor: int, typed: Callable[[str], None]) -> None:
        self._descriptor = descriptor
        self._typed = typed
        self._rest = b""

    def fileno(self) -> int:
        return self._descriptor

    def read(self) -> bool:
        """Read the available input; False at its end."""
        chunk = os.read(self._descriptor, 4096)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._typed(line.decode("utf-8", "replace"))
        return bool(chunk)


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """The wake-up descriptor only works with a handler."""

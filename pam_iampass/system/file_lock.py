"""Locks a file (flock(2)), so that one process at a time works on something."""

from __future__ import annotations

import fcntl
import os
import time

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_INTERVAL = 0.005  # seconds


class LockHeld(Exception):
    """Another process holds the lock."""


def acquire(folder: int | None, name: str | os.PathLike[str], patience: float) -> int:
    """A descriptor of the file, which is created if need be, under an exclusive lock that ends with the descriptor.

    `name` is relative to the descriptor `folder`, or a path where that is None. Raises LockHeld where others hold the
    lock for `patience` seconds, and OSError.
    """
    descriptor = os.open(name, _FLAGS, 0o600, dir_fd=folder)
    until = time.monotonic() + patience
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise LockHeld from None
            time.sleep(_INTERVAL)
    except BaseException:
        os.close(descriptor)
        raise

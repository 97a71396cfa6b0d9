"""Locks a file (flock(2)), so that one process at a time works on something."""

from __future__ import annotations

import fcntl
import os
import time
from typing import Callable

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_INTERVAL = 0.005  # seconds


class LockHeld(Exception):
    """Another process holds the lock."""


def lock(descriptor: int, *, exclusive: bool) -> bool:
    """Lock a file without waiting; returns whether it worked. The lock ends with the descriptor."""
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def acquire(
    folder: int | None,
    name: str | os.PathLike[str],
    patience: float,
    *,
    check: Callable[[int], None] = lambda _descriptor: None,
    flags: int = 0,
) -> int:
    """A descriptor of the file, which is created if need be, under an exclusive lock that ends with the descriptor.

    `name` is relative to the descriptor `folder`, or a path where that is None. `check` is called with the descriptor
    before it is locked; `flags` are further ones for open(2). A file that is removed while this waits is created anew:
    others would lock the new one. Raises LockHeld after `patience` seconds, and OSError.
    """
    until = time.monotonic() + patience
    while True:
        descriptor = os.open(name, _FLAGS | flags, 0o600, dir_fd=folder)
        try:
            check(descriptor)
            while not lock(descriptor, exclusive=True):
                if time.monotonic() >= until:
                    raise LockHeld
                time.sleep(_INTERVAL)
            if os.fstat(descriptor).st_nlink:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)

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

    def __init__(self, inode: int) -> None:
        super().__init__()
        self.inode = inode
        """Of the file whose lock is held."""


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
    before it is locked; `flags` are further ones for open(2). A file that is removed or replaced while this waits is
    opened anew: others would lock the new one. Raises LockHeld if one process holds the lock for `patience` seconds
    (each holder sets the file's modification time: many short holders in a row are no long one), and OSError.
    """
    while True:
        descriptor = os.open(name, _FLAGS | flags, 0o600, dir_fd=folder)
        try:
            check(descriptor)
            if _locked(descriptor, patience):
                os.utime(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _locked(descriptor: int, patience: float) -> bool:
    """Wait for the lock; returns False if the file no longer has a name. Raises LockHeld."""
    held_since = None
    while not lock(descriptor, exclusive=True):
        found = os.fstat(descriptor)
        if not found.st_nlink:
            return False
        if held_since != found.st_mtime_ns:
            held_since, until = found.st_mtime_ns, time.monotonic() + patience
        elif time.monotonic() >= until:
            raise LockHeld(found.st_ino)
        time.sleep(_INTERVAL)
    return os.fstat(descriptor).st_nlink > 0

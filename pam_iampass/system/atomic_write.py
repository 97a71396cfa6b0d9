"""Writes a file whole or not at all: as a new file in the same folder, which is then renamed.

Names are relative to a descriptor of the folder, so that a folder that is swapped meanwhile changes nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Callable

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextlib.contextmanager
def open_folder(path: str | os.PathLike[str], dir_fd: int | None = None) -> Iterator[int]:
    """A descriptor of a folder."""
    descriptor = os.open(path, _FOLDER, dir_fd=dir_fd)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def create(folder: int, name: str) -> int:
    """A descriptor of a new, empty file of mode 0600. Raises OSError."""
    return os.open(name, _NEW, 0o600, dir_fd=folder)


def write_new(
    folder: int,
    name: str,
    content: bytes,
    *,
    mode: int = 0o600,
    owner: tuple[int, int] = (-1, -1),
    durable: bool = True,
    prepare: Callable[[int], None] = lambda _descriptor: None,
) -> None:
    """Write a new file, in place of one of that name that a crash left behind. Raises OSError; no file remains then.

    `owner` is a user id and a group id, -1 for the process's. `prepare` is called with the descriptor before the mode
    is set. With `durable` the content is on the disk when this returns.
    """
    remove(folder, name)
    descriptor = create(folder, name)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if owner != (-1, -1):  # the agent may not change owners, not even to what they are (SystemCallFilter)
            os.fchown(descriptor, *owner)
        prepare(descriptor)
        os.fchmod(descriptor, mode)
        if durable:
            os.fsync(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            remove(folder, name)
        raise
    finally:
        os.close(descriptor)


def write(folder: int, name: str, content: bytes, temporary: str, *, durable: bool = True) -> None:
    """Replace a file, by way of the name `temporary`, which no other writer may use at the same time.

    Raises OSError. The file is unchanged then, unless the disk failed after the rename.
    """
    write_new(folder, temporary, content, durable=durable)
    try:
        rename(folder, temporary, name)
    except BaseException:
        with contextlib.suppress(OSError):
            remove(folder, temporary)
        raise
    if durable:
        sync(folder)


def rename(folder: int, old: str, new: str) -> None:
    """Rename a file within a folder. Raises OSError."""
    os.rename(old, new, src_dir_fd=folder, dst_dir_fd=folder)


def remove(folder: int, name: str) -> bool:
    """Remove a file; returns whether it existed. Raises OSError."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def sync(folder: int) -> None:
    """Bring the names in a folder to the disk. `folder` may be an O_PATH descriptor. Raises OSError."""
    with open_folder(".", folder) as listing:
        os.fsync(listing)

"""A folder in which the module keeps its state: one small file per user, written atomically.

The folder belongs to the user that the module runs as, and only that user can enter it. Files are reached through a
descriptor of the folder, so that what was checked is what is used. They are named by a hash of the user name: a name
can hold any character, and a listing of the folder does not show who logs in here.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from pam_iampass.errors import StateError, UntrustedFile
from pam_iampass.system import atomic_write, file_lock
from pam_iampass.system.trusted_folder import mode_of, open_trusted_folder

LIMIT = 1024 * 1024
"""The largest file that is read, in bytes."""
LOCK_PATIENCE = 2.0
"""How long to wait for a lock, in seconds. Each is held for about a millisecond. A process that holds one for longer is
stopped or hangs, perhaps because a user stops it: it loses the lock, so that no user is kept out."""

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DISK = "look at the disk: is it full, or read-only?"


def file_stem(user: str) -> str:
    """The name of the user's files, without the suffix of their kind."""
    import hashlib

    return hashlib.sha256(user.encode("utf-8", "surrogateescape")).hexdigest()


class StateDir:
    """The folder at `path`. `remedy` is the advice in an error about the folder."""

    def __init__(self, path: str, remedy: str) -> None:
        self.path = path
        self.remedy = remedy

    @contextlib.contextmanager
    def opened(self, file_remedy: str) -> Iterator[OpenStateDir]:
        """The folder, checked. `file_remedy` is the advice in an error about a file in it. Raises StateError."""
        try:
            descriptor = open_trusted_folder(self.path, os.geteuid())
        except UntrustedFile as error:
            raise StateError(str(error), self.remedy) from None
        try:
            found = os.fstat(descriptor)
            if found.st_uid != os.geteuid():
                self._refuse(
                    f"belongs to user {found.st_uid}, not to user {os.geteuid()}, who the module runs as"
                )
            if found.st_mode & 0o077:
                self._refuse(f"is open to others ({mode_of(found)})")
            yield OpenStateDir(self.path, descriptor, file_remedy)
        finally:
            os.close(descriptor)

    def _refuse(self, what: str) -> NoReturn:
        raise StateError(f"{self.path}: {what}", self.remedy)


@dataclass(frozen=True)
class HeldLock:
    """A lock on a file of a folder of state, as long as its descriptor is open and nobody has replaced the file."""

    name: str
    inode: int

    @property
    def temporary(self) -> str:
        """The name of the new file that the holder writes: no two holders have the same, not even one that lost it."""
        return f"{self.name}.{self.inode:x}"


class OpenStateDir:
    """The files in an open folder. `name` is always a plain file name."""

    def __init__(self, path: str, descriptor: int, remedy: str) -> None:
        self._path = path
        self._descriptor = descriptor
        self._remedy = remedy

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[HeldLock]:
        """Hold the lock of that name; no other process has it meanwhile, unless this one stops moving.

        Raises StateError.
        """
        try:
            descriptor = self._acquire(name)
        except file_lock.LockHeld:
            self._fail(name, "is held for too long", "find the processes that hold it (fuser)")
        except OSError as error:
            self._fail(name, f"cannot be locked: {error.strerror}", _DISK)
        try:
            yield HeldLock(name, os.fstat(descriptor).st_ino)
        finally:
            os.close(descriptor)

    def _acquire(self, name: str) -> int:
        """A descriptor under the lock. A holder that does not release it loses it. Raises LockHeld and OSError.

        The lock's file is replaced by a new one, which is locked first, so that of all who wait only one replaces it.
        The new file of the former holder is removed, so that a rename that it was just about to do fails.
        """

        def wait_for(file: str) -> int:
            return file_lock.acquire(
                self._descriptor, file, LOCK_PATIENCE, check=lambda descriptor: self._check(descriptor, name)
            )

        try:
            return wait_for(name)
        except file_lock.LockHeld as held:
            former = HeldLock(name, held.inode)
        descriptor = wait_for(f"{name}.next")
        try:
            if self._is_current(former):
                atomic_write.rename(self._descriptor, f"{name}.next", name)
                atomic_write.remove(self._descriptor, former.temporary)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return wait_for(name)

    def names(self) -> list[str]:
        """The names of all files. Raises StateError."""
        try:
            with atomic_write.open_folder(".", self._descriptor) as listing:
                return os.listdir(listing)
        except OSError as error:
            self._fail("", f"cannot be read: {error.strerror}")

    def read(self, name: str) -> bytes | None:
        """The content of a file, None where there is none. Raises StateError."""
        try:
            descriptor = os.open(name, _READ, dir_fd=self._descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._fail(name, f"cannot be read: {error.strerror}")
        try:
            self._check(descriptor, name)
            return self._all_of(descriptor, name)
        finally:
            os.close(descriptor)

    def write(self, name: str, data: bytes, lock: HeldLock, *, durable: bool = False) -> None:
        """Replace a file in one step, under a lock.

        With `durable` it is on the disk when this returns. Raises StateError; nothing has changed then, unless the
        disk failed after the rename.
        """

        def confirm() -> None:
            if not self._is_current(lock):
                self._fail(name, "was not written: this process was stopped for too long", "try again")

        try:
            atomic_write.write(self._descriptor, name, data, lock.temporary, durable=durable, confirm=confirm)
        except OSError as error:
            self._fail(name, f"cannot be written: {error.strerror}", _DISK)

    def create(self, name: str) -> int:
        """A descriptor of a new, empty file. Raises StateError."""
        try:
            return atomic_write.create(self._descriptor, name)
        except OSError as error:
            self._fail(name, f"cannot be written: {error.strerror}", _DISK)

    def existing(self, name: str) -> int | None:
        """A descriptor to write to an existing file, None where there is none. Raises StateError."""
        try:
            return os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._fail(name, f"cannot be opened: {error.strerror}")

    def remove(self, name: str) -> bool:
        """Remove a file; returns whether it existed. Raises OSError."""
        return atomic_write.remove(self._descriptor, name)

    def _is_current(self, lock: HeldLock) -> bool:
        return os.stat(lock.name, dir_fd=self._descriptor, follow_symlinks=False).st_ino == lock.inode

    def _check(self, descriptor: int, name: str) -> None:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            self._fail(name, "is not a regular file")
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            self._fail(name, f"belongs to user {found.st_uid}, or is open to others ({mode_of(found)})")

    def _all_of(self, descriptor: int, name: str) -> bytes:
        data = bytearray()
        while chunk := os.read(descriptor, LIMIT + 1 - len(data)):
            data += chunk
            if len(data) > LIMIT:
                self._fail(name, "is too large")
        return bytes(data)

    def _fail(self, name: str, what: str, remedy: str | None = None) -> NoReturn:
        raise StateError(f"{self._path}/{name}: {what}", remedy or self._remedy)

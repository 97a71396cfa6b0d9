"""A folder in which the module remembers things: one small file a user, written whole or not at all.

The folder belongs to the user that the module runs as, and to nobody else. Everything is reached through a
descriptor of it, so that what was checked is what is used. The files are named by a hash of the user's name: names
can hold anything, and a list of the folder tells nobody who logs in here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from typing import NoReturn

from pam_iampass.errors import StateError, UntrustedFile
from pam_iampass.system.trusted_folder import mode_of, trusted_folder

LIMIT = 1024 * 1024
"""The largest file that is read, in bytes."""
LOCK_PATIENCE = 3.0
"""How long a lock is waited for, in seconds. Each is held for about a millisecond."""

_LOCK_INTERVAL = 0.005
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def file_stem(user: str) -> str:
    """The name of the user's files, without what tells one kind from another."""
    import hashlib

    return hashlib.sha256(user.encode("utf-8", "surrogateescape")).hexdigest()


class StateDir:
    """The folder at `path`. `remedy` is what to do where it is not as it must be."""

    def __init__(self, path: str, remedy: str) -> None:
        self.path = path
        self.remedy = remedy

    @contextlib.contextmanager
    def opened(self, file_remedy: str) -> Iterator[OpenStateDir]:
        """The folder, checked. Raises StateError.

        `file_remedy` is what to do where a file in it is not as it must be.
        """
        with contextlib.ExitStack() as stack:
            try:
                descriptor = stack.enter_context(trusted_folder(self.path, os.geteuid()))
            except UntrustedFile as error:
                raise StateError(str(error), self.remedy) from None
            found = os.fstat(descriptor)
            if found.st_uid != os.geteuid():
                self._refuse(
                    f"belongs to user {found.st_uid}, not to user {os.geteuid()}, who the module runs as"
                )
            if found.st_mode & 0o077:
                self._refuse(f"is open to others ({mode_of(found)})")
            yield OpenStateDir(self.path, descriptor, file_remedy)

    def _refuse(self, what: str) -> NoReturn:
        raise StateError(f"{self.path}: {what}", self.remedy)


class OpenStateDir:
    """The files in a folder that is open. `name` is always a plain file name."""

    def __init__(self, path: str, descriptor: int, remedy: str) -> None:
        self._path = path
        self._descriptor = descriptor
        self._remedy = remedy

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Nobody else is in here with the same name. Raises StateError."""
        until = time.monotonic() + LOCK_PATIENCE
        descriptor = self._locked(name, until)
        while os.fstat(descriptor).st_nlink == 0:  # removed meanwhile: others lock the one that is there now
            os.close(descriptor)
            descriptor = self._locked(name, until)
        try:
            yield
        finally:
            os.close(descriptor)

    def _locked(self, name: str, until: float) -> int:
        descriptor = self._open(name, _LOCK, "locked")
        try:
            self._check(descriptor, name)
            while not lock(descriptor, exclusive=True):
                if time.monotonic() >= until:
                    self._fail(name, "is held by another login for too long", "look at what holds it (fuser)")
                time.sleep(_LOCK_INTERVAL)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

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

    def write(self, name: str, data: bytes, *, durable: bool = False) -> None:
        """Put a file in the place of the one that is there, in one step; the caller has it `locked`.

        With `durable` it is on the disk when this returns. Raises StateError, and then nothing has changed, unless
        the disk failed in the very last step.
        """
        temporary = f"{name}.new"
        try:
            self.remove(temporary)  # of somebody who died in here
            descriptor = os.open(temporary, _NEW, 0o600, dir_fd=self._descriptor)
            try:
                _write_all(descriptor, data)
                if durable:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(temporary, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
            if durable:
                self._sync()
        except OSError as error:
            with contextlib.suppress(OSError):
                self.remove(temporary)
            self._fail(
                name, f"cannot be written: {error.strerror}", "look at the disk: is it full, or read-only?"
            )

    def create(self, name: str) -> int:
        """A descriptor of a new, empty file. Raises StateError."""
        return self._open(name, _NEW, "written")

    def existing(self, name: str) -> int | None:
        """A descriptor to write to a file that is there, None where it is not. Raises StateError."""
        try:
            return os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._fail(name, f"cannot be opened: {error.strerror}")

    def remove(self, name: str) -> bool:
        """Take a file away; whether it was there. Raises OSError."""
        try:
            os.unlink(name, dir_fd=self._descriptor)
        except FileNotFoundError:
            return False
        return True

    def _open(self, name: str, flags: int, what: str) -> int:
        try:
            return os.open(name, flags, 0o600, dir_fd=self._descriptor)
        except OSError as error:
            self._fail(
                name, f"cannot be {what}: {error.strerror}", "look at the disk: is it full, or read-only?"
            )

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

    def _sync(self) -> None:
        """The name, too, is on the disk. What was opened with O_PATH cannot be synchronised."""
        folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._descriptor)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _fail(self, name: str, what: str, remedy: str | None = None) -> NoReturn:
        raise StateError(f"{self._path}/{name}: {what}", remedy or self._remedy)


def lock(descriptor: int, *, exclusive: bool) -> bool:
    """Whether the lock could be had at once (flock(2)). It ends with the descriptor, and with the process."""
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]

"""The rate limit's state of one person on the disk: a file below /run, which is empty after each boot.

Each pending login holds a lease: a lock on a file of its own, which ends with the process.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Callable

from pam_iampass.errors import StateError
from pam_iampass.login.rate_limit_json import CorruptState, decoded, encoded
from pam_iampass.login.rate_limit_state import RateLimitState
from pam_iampass.system.boot import since_boot
from pam_iampass.system.file_lock import lock
from pam_iampass.system.state_dir import OpenStateDir, StateDir, file_stem
from pam_iampass.system.trusted_folder import shell_word


class RateLimitFile:
    """The state of one person. `user` is the account's name, as NSS has it."""

    def __init__(self, directory: StateDir, user: str, clock: Callable[[], float] = since_boot) -> None:
        self._directory = directory
        self._stem = file_stem(user)
        self._remedy = f"pam-iampass throttle clear {shell_word(user)}"
        self.now = clock

    def read(self) -> RateLimitState:
        """The state as the last change left it. Raises StateError."""
        with self._opened() as directory:
            return self._read(directory)

    @contextlib.contextmanager
    def changed(self) -> Iterator[RateLimitState]:
        """The state, to be changed: it is written when the block ends, unless that raises. Raises StateError."""
        with self._opened() as directory, directory.locked(f"{self._stem}.lock") as lock:
            state = self._read(directory)
            for login in list(state.pending):
                if not self._is_held(directory, login.lease):
                    state.end(login, self.now())
                    with contextlib.suppress(OSError):
                        directory.remove(self._file(login.lease))
            yield state
            directory.write(f"{self._stem}.json", encoded(state), lock)

    def remove(self) -> None:
        """Remove the state, whatever it is. Raises StateError."""
        with self._opened() as directory:
            try:
                for suffix in ("json", "lock", "lock.next"):
                    directory.remove(f"{self._stem}.{suffix}")
            except OSError as error:
                what = f"{self._directory.path}/{self._stem}.json cannot be removed: {error.strerror}"
                raise StateError(what, "check whether the file system is read-only") from None

    @contextlib.contextmanager
    def lease(self) -> Iterator[str]:
        """The name of a new lease, which is held until the block ends. Raises StateError."""
        name = os.urandom(8).hex()
        with self._opened() as directory:
            descriptor = directory.create(self._file(name))
        try:
            lock(descriptor, exclusive=True)
            yield name
        finally:
            with contextlib.suppress(StateError, OSError), self._opened() as directory:
                directory.remove(self._file(name))
            os.close(descriptor)

    def is_held(self, lease: str) -> bool:
        """Whether the process that took a lease still has it. Raises StateError."""
        with self._opened() as directory:
            return self._is_held(directory, lease)

    def _is_held(self, directory: OpenStateDir, lease: str) -> bool:
        descriptor = directory.existing(self._file(lease))
        if descriptor is None:
            return False
        try:
            return not lock(descriptor, exclusive=False)
        finally:
            os.close(descriptor)

    def _read(self, directory: OpenStateDir) -> RateLimitState:
        data = directory.read(f"{self._stem}.json")
        if data is None:
            return RateLimitState(salt=os.urandom(16).hex())
        try:
            state = decoded(data)
        except CorruptState:
            what = f"{self._directory.path}/{self._stem}.json is corrupt"
            raise StateError(what, self._remedy) from None
        state.forget(self.now())
        return state

    def _opened(self) -> contextlib.AbstractContextManager[OpenStateDir]:
        return self._directory.opened(self._remedy)

    def _file(self, lease: str) -> str:
        return f"{self._stem}.{lease}"

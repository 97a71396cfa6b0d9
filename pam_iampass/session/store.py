"""The files of kept sessions: `ID.json` for each, and `ID.end` where an administrator wants it ended.

Only the agent writes `ID.json`. The folder is below /run: no session outlasts the boot.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from pam_iampass.errors import StateError
from pam_iampass.session.kept_session import KeptSession, decode, encode, is_id
from pam_iampass.system import paths
from pam_iampass.system.state_dir import OpenStateDir, StateDir

FOLDER_REMEDY = "systemctl restart pam-iampass-agent; without systemd: remove the folder, it is made again"
FILE_REMEDY = "remove the file: the session is not kept any more, and expires at IAMPASS"
_LOCK = "lock"
_CLOCK_TICK = 20_000_000
"""Nanoseconds, at most, between two times that the kernel gives to files (one divided by CONFIG_HZ)."""


class SessionStore:
    """The kept sessions in the folder at `path`. Every method raises StateError."""

    def __init__(self, path: str = paths.SESSIONS) -> None:
        self.path = path
        self._folder = StateDir(path, FOLDER_REMEDY)

    def make(self) -> None:
        """Make the folder if it does not exist."""
        try:
            os.mkdir(self.path, 0o700)
        except FileExistsError:
            return
        except OSError as error:
            raise StateError(f"{self.path}: {error.strerror}", FOLDER_REMEDY) from None

    def write(self, kept: KeptSession) -> None:
        """Store a session."""
        with self._opened() as folder, folder.locked(_LOCK) as lock:
            folder.write(f"{kept.id}.json", encode(kept), lock)

    def remove(self, ident: str) -> None:
        """Forget a session."""
        with self._opened() as folder:
            for name in (f"{ident}.json", f"{ident}.end"):
                with contextlib.suppress(OSError):
                    folder.remove(name)

    def all(self) -> tuple[list[KeptSession], list[str]]:
        """All sessions, the oldest first, and the names of files that cannot be read."""
        found, broken = [], []
        with self._opened() as folder:
            for name in sorted(folder.names()):
                ident, dot, kind = name.partition(".")
                if (dot, kind) != (".", "json") or not is_id(ident):
                    continue
                try:
                    kept = decode(folder.read(name) or b"")
                    if kept.id != ident:
                        raise ValueError("it has the id of another session")
                    found.append(kept)
                except (StateError, ValueError):
                    broken.append(name)
        return sorted(found, key=lambda kept: kept.began), broken

    def request_end(self, ident: str) -> None:
        """Have the agent end the session and what it is attached to."""
        if not is_id(ident):
            raise ValueError("this is not the id of a session")
        with self._opened() as folder, folder.locked(_LOCK) as lock:
            folder.write(f"{ident}.end", b"", lock)

    def to_end(self) -> list[str]:
        """The ids of the sessions that an administrator wants ended."""
        with self._opened() as folder:
            names = [name.partition(".") for name in folder.names()]
        return [ident for ident, _dot, kind in names if kind == "end" and is_id(ident)]

    def end_is_seen(self, ident: str) -> None:
        """The agent knows that the session is to be ended."""
        with self._opened() as folder, contextlib.suppress(OSError):
            folder.remove(f"{ident}.end")

    def version(self) -> int | None:
        """A number that changes when a file is made or removed; 0 if the folder cannot be examined.

        None if one has just been made or removed: another one in the same tick of the clock would leave the number.
        """
        try:
            changed = os.stat(self.path).st_mtime_ns
        except OSError:
            return 0
        return changed if changed + _CLOCK_TICK < time.time_ns() else None

    @contextlib.contextmanager
    def _opened(self) -> Iterator[OpenStateDir]:
        with self._folder.opened(FILE_REMEDY) as folder:
            yield folder

"""Remembers, next to a file of people to enrol, who was sent a message, so that nobody gets it twice.

Each entry is written to the disk before its message goes out: after a crash it is not certain that the message was
sent, but it is certain that it is not sent again.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from types import TracebackType

from pam_iampass.errors import EditRefused
from pam_iampass.system import file_lock

SUFFIX = ".sent"


class SentMessages:
    """The messages sent for one file; a context in which nobody else sends for it. Raises EditRefused."""

    def __init__(self, applicants: Path) -> None:
        self.path = applicants.with_name(applicants.name + SUFFIX)
        self._sent: set[tuple[str, str]] = set()
        self._descriptor = -1

    def __enter__(self) -> SentMessages:
        try:
            self._descriptor = file_lock.acquire(None, self.path, 0.0, check=self._check, flags=os.O_APPEND)
            self._read()
        except file_lock.LockHeld:
            self._close()
            what = f"{self.path}: somebody is enrolling from this file right now"
            raise EditRefused(what, "wait until that is done") from None
        except OSError as error:
            self._close()
            what = f"{self.path}: cannot remember here who was sent a message: {error.strerror}"
            raise EditRefused(what, "copy the file to a folder where root can write") from None
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def __contains__(self, message: tuple[str, str]) -> bool:
        return message in self._sent

    def add(self, token: str, phone_number: str) -> None:
        """A message to this number, with a link for this token, is about to be sent."""
        self._write("sent", token, phone_number)
        self._sent.add((token, phone_number))

    def take_back(self, token: str, phone_number: str) -> None:
        """It was not sent, for certain."""
        self._write("not sent", token, phone_number)
        self._sent.discard((token, phone_number))

    def forget(self) -> None:
        """Nobody is waited for any more: take the file away."""
        self.path.unlink()

    def _write(self, what: str, token: str, phone_number: str) -> None:
        # The line end in front finishes what a crash may have cut off.
        entry = ("\n" + json.dumps([what, token, phone_number]) + "\n").encode("ascii")
        if os.write(self._descriptor, entry) != len(entry):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        os.fsync(self._descriptor)

    def _check(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        whose = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1
        if not whose or found.st_mode & 0o077:
            what = f"{self.path}: is not a file that only root can write and read"
            raise EditRefused(what, "look at what it is, and take it away")

    def _read(self) -> None:
        with os.fdopen(os.dup(self._descriptor), encoding="ascii", errors="replace") as file:
            file.seek(0)
            for line in file:
                try:
                    what, token, phone_number = json.loads(line)
                except ValueError:
                    continue  # empty, or cut off by a crash: nothing was sent yet
                if what == "sent":
                    self._sent.add((token, phone_number))
                else:
                    self._sent.discard((token, phone_number))

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

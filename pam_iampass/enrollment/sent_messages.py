"""Records in a file which messages were sent to the users of a file of requests, so that none is sent twice.

Each entry is on the disk before its message is sent. After a crash the message may not have been sent, but it is never
sent again.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

from pam_iampass.errors import EditRefused
from pam_iampass.system import file_lock

SUFFIX = ".sent"


class SentMessages:
    """The messages sent for one file. As a context it locks the file. Raises EditRefused."""

    def __init__(self, requests: Path) -> None:
        self.path = requests.with_name(requests.name + SUFFIX)
        self._sent: set[tuple[str, str]] = set()
        self._descriptor = -1

    def __enter__(self) -> SentMessages:
        try:
            self._descriptor = file_lock.acquire(None, self.path, 0.0, check=self._check, flags=os.O_APPEND)
        except file_lock.LockHeld:
            what = f"{self.path}: another process is enrolling users from this file"
            raise EditRefused(what, "wait until it is finished") from None
        except OSError as error:
            what = f"{self.path}: cannot record sent messages: {error.strerror}"
            raise EditRefused(what, "copy the file to a folder that root can write to") from None
        try:
            self._read()
        except BaseException:
            os.close(self._descriptor)
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._descriptor)

    def __contains__(self, message: tuple[str, str]) -> bool:
        return message in self._sent

    def add(self, token: str, phone_number: str) -> None:
        """Record that a message to this number, with a link for this token, is about to be sent."""
        self._write("sent", token, phone_number)
        self._sent.add((token, phone_number))

    def take_back(self, token: str, phone_number: str) -> None:
        """Record that the message was certainly not sent."""
        self._write("not sent", token, phone_number)
        self._sent.discard((token, phone_number))

    def delete(self) -> None:
        """Delete the file: all users have a phone."""
        self.path.unlink()

    def _write(self, what: str, token: str, phone_number: str) -> None:
        # The first newline ends a line that a crash may have cut off.
        entry = ("\n" + json.dumps([what, token, phone_number]) + "\n").encode("ascii")
        if os.write(self._descriptor, entry) != len(entry):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        os.fsync(self._descriptor)

    def _check(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1
        if not ours or found.st_mode & 0o077:
            what = f"{self.path}: is not a file that only root can read and write"
            raise EditRefused(what, "look at the file, and remove it")

    def _read(self) -> None:
        with os.fdopen(os.dup(self._descriptor), encoding="ascii", errors="replace") as file:
            file.seek(0)
            for line in file:
                try:
                    what, token, phone_number = json.loads(line)
                except ValueError:
                    continue  # empty, or cut off by a crash: nothing was sent yet
                change = self._sent.add if what == "sent" else self._sent.discard
                change((token, phone_number))

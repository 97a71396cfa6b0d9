"""Walks to a folder that nobody but root could have put there or could change.

The path is walked by hand from `/`, one descriptor after another (openat(2)), so that what was checked is
what is used. Every folder passed through, those of links too, must belong to root and be writable by nobody
else: whoever may write a folder can put another file, or another folder, in its place. The sticky bit does
not help, since it stops nobody from making a name that is not there yet. An access control list that lets
somebody else write shows in the group bits (acl(5)), so it needs no look of its own.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pam_iampass.errors import MissingFile, UnreadableFile, UntrustedFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Set

_MOST_LINKS = 40  # what Linux itself allows: path_resolution(7)
_FOLDER_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@contextmanager
def trusted_folder(path: str, owner: int) -> Iterator[int]:
    """An O_PATH descriptor of the folder at `path`: it, and all above it, only root (or `owner`) can write.

    Raises UntrustedFile, MissingFile and UnreadableFile.
    """
    with explained("/", folder=True):
        walk = _Walk({0, owner})
    try:
        with explained(path, folder=True):
            walk.to(path)
        yield walk.descriptor
    finally:
        os.close(walk.descriptor)


class _Walk:
    """From `/` down, one folder after another, with links resolved by hand."""

    def __init__(self, owners: Set[int]) -> None:
        self.owners = owners
        self.links = 0
        self.here = "/"
        self.descriptor = os.open("/", _FOLDER_FLAGS)

    def to(self, path: str) -> None:
        self._check(os.fstat(self.descriptor), "/")
        steps = _steps(path)
        while steps:
            step = steps.pop()
            where = os.path.join(self.here, step)
            with explained(where, folder=True):
                target = self._step(step, where)
            if target is not None:
                steps.extend(_steps(target))

    def _step(self, step: str, where: str) -> str | None:
        """Go one step; for a link stay, and return what it says."""
        with opened(step, _FOLDER_FLAGS, self.descriptor) as descriptor:
            found = os.fstat(descriptor)
            if stat.S_ISLNK(found.st_mode):
                return self._target(descriptor, where)
            self._check(found, where)
            self._move(os.dup(descriptor), where)
        return None

    def _target(self, link: int, where: str) -> str:
        self.links += 1
        if self.links > _MOST_LINKS:
            raise UntrustedFile(where, "is one symbolic link too many", "name the folder itself")
        target = os.readlink("", dir_fd=link)  # an empty path means the link that is open: readlinkat(2)
        if target.startswith("/"):
            self._move(os.open("/", _FOLDER_FLAGS), "/")
        return target

    def _move(self, descriptor: int, where: str) -> None:
        os.close(self.descriptor)
        self.descriptor = descriptor
        self.here = where

    def _check(self, found: os.stat_result, where: str) -> None:
        if not stat.S_ISDIR(found.st_mode):
            raise UntrustedFile(
                where, f"is {kind_of(found.st_mode)}, not a folder", "name a file in a folder"
            )
        if found.st_uid not in self.owners:
            what = f"is a folder that belongs to user {found.st_uid}, not to root"
            raise UntrustedFile(where, what, _folder_remedy(found, where))
        if found.st_mode & 0o022:
            what = f"is a folder that others than root can write ({mode_of(found)})"
            raise UntrustedFile(where, what, _folder_remedy(found, where))


def _folder_remedy(found: os.stat_result, path: str) -> str:
    elsewhere = "keep the file in a folder that only root can write, such as /etc/iampass"
    if found.st_mode & stat.S_ISVTX:  # /tmp and its like are meant to be so
        return elsewhere
    return f"chown root {shell_word(path)}; chmod go-w {shell_word(path)}; or {elsewhere}"


def _steps(path: str) -> list[str]:
    """The steps of a path, the last one first."""
    return [step for step in reversed(path.split("/")) if step not in ("", ".")]


@contextmanager
def opened(name: str, flags: int, folder: int) -> Iterator[int]:
    """A descriptor of `name` in the folder that the descriptor `folder` stands for."""
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def explained(path: str, *, folder: bool = False) -> Iterator[None]:
    """What the system says, as an error of ours."""
    try:
        yield
    except FileNotFoundError:
        remedy = f"create the {'folder' if folder else 'file'}, or name another"
        raise MissingFile(path, "is not there", remedy, folder=folder) from None
    except PermissionError:
        word = shell_word(path)
        remedy = f"chmod o+x {word}" if folder else f"chown root:iampass {word}; chmod 0640 {word}"
        what = f"cannot be {'entered' if folder else 'read'} by user {os.geteuid()}, group {os.getegid()}"
        raise UnreadableFile(path, what, remedy) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UntrustedFile(path, "is a symbolic link", "put the file itself there") from None
        what = f"cannot be read: {error.strerror}"
        raise UnreadableFile(path, what, "look at the disk and the path") from None
    except ValueError:  # a NUL, or something that no file name can hold
        raise UntrustedFile(path, "is not a possible path", "write another path") from None


def kind_of(mode: int) -> str:
    """What st_mode says the thing is, in words."""
    return next((name for is_it, name in _KINDS if is_it(mode)), "a file")


def mode_of(found: os.stat_result) -> str:
    """The permissions, in words."""
    return f"mode {stat.S_IMODE(found.st_mode):04o}"


def shell_word(path: str) -> str:
    """`path` as a shell takes it. Not by shlex: an error is told even where no module can be loaded."""
    if path.isascii() and path.replace("/", "").replace("-", "").replace(".", "").replace("_", "").isalnum():
        return path
    return "'" + path.replace("'", "'\\''") + "'"

"""Opens a folder that only root can have created, and that only root can change.

The path is resolved step by step from `/`, each descriptor opened below the previous one (openat(2)), so that the
folder used is the folder checked. Every folder on the way, including those of links, must belong to root and be
writable by root alone: a user who can write a folder can replace the files and folders in it. The sticky bit does not
help, since users can still create missing names. An access control list that lets other users write shows in the group
bits (acl(5)), so it needs no separate check.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Set
from contextlib import contextmanager

from pam_iampass.errors import RUN_AS_ROOT, MissingFile, UnreadableFile, UntrustedFile
from pam_iampass.system.accounts import group_name, user_name
from pam_iampass.system.service_user import SERVICE_USER

_MOST_LINKS = 40  # what Linux itself allows: path_resolution(7)
_FOLDER_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_TYPES = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@contextmanager
def trusted_folder(path: str, owner: int, *, sticky: bool = False) -> Iterator[int]:
    """An O_PATH descriptor of the folder at `path`; only root or `owner` can write it and its parents.

    With `sticky`, others may write folders with the sticky bit, such as /tmp: they can create names there, but not
    exchange the names of root or `owner`. Raises UntrustedFile, MissingFile and UnreadableFile.
    """
    descriptor = open_trusted_folder(path, owner, sticky=sticky)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_trusted_folder(path: str, owner: int, *, sticky: bool = False) -> int:
    """The descriptor of `trusted_folder`, which the caller closes."""
    walk = _Walk({0, owner}, sticky)
    try:
        walk.to(path)
    except BaseException as error:  # whatever it is, no descriptor stays open
        if walk.descriptor >= 0:
            os.close(walk.descriptor)
        if isinstance(error, (OSError, ValueError)):
            raise _explanation(error, walk.at, folder=True) from None
        raise
    return walk.descriptor


class _Walk:
    """A walk down from `/`, one folder at a time, that resolves links itself."""

    def __init__(self, owners: Set[int], sticky: bool) -> None:
        self.owners = owners
        self.sticky = sticky
        self.links = 0
        self.here = ""
        """The path of the folder with `descriptor`, without a slash at its end."""
        self.at = "/"
        """The path of what is examined."""
        self.descriptor = -1

    def to(self, path: str) -> None:
        self.descriptor = os.open("/", _FOLDER_FLAGS)
        self._check(os.fstat(self.descriptor), self.at)
        steps = _steps(path)
        while steps:
            step = steps.pop()
            self.at = f"{self.here}/{step}"
            target = self._step(step, self.at)
            if target is not None:
                steps.extend(_steps(target))

    def _step(self, step: str, where: str) -> str | None:
        """Enter a folder; at a link stay, and return its target."""
        descriptor = os.open(step, _FOLDER_FLAGS, dir_fd=self.descriptor)
        try:
            status = os.fstat(descriptor)
            if stat.S_ISLNK(status.st_mode):
                if self.sticky:  # elsewhere only a trusted user can have put it there
                    self._check_owner(status, where, "symbolic link")
                return self._target(descriptor, where)
            self._check(status, where)
            self.descriptor, descriptor = descriptor, self.descriptor
            self.here = where
        finally:
            os.close(descriptor)
        return None

    def _target(self, link: int, where: str) -> str:
        self.links += 1
        if self.links > _MOST_LINKS:
            raise UntrustedFile(where, "follows too many symbolic links", "name the folder itself")
        target = os.readlink("", dir_fd=link)  # the empty path names the open link: readlinkat(2)
        if target.startswith("/"):
            root = os.open("/", _FOLDER_FLAGS)
            os.close(self.descriptor)
            self.descriptor, self.here = root, ""
        return target

    def _check(self, status: os.stat_result, where: str) -> None:
        if not stat.S_ISDIR(status.st_mode):
            what = f"is {kind_of(status.st_mode)}, not a folder"
            raise UntrustedFile(where, what, "name a file in a folder")
        self._check_owner(status, where, "folder")
        if status.st_mode & 0o022 and not (self.sticky and status.st_mode & stat.S_ISVTX):
            what = f"is a folder that users other than root can write ({mode_of(status)})"
            raise UntrustedFile(where, what, _folder_remedy(status, where))

    def _check_owner(self, status: os.stat_result, where: str, kind: str) -> None:
        if status.st_uid not in self.owners:
            what = f"is a {kind} that belongs to user {user_name(status.st_uid)}, not to root"
            raise UntrustedFile(where, what, _folder_remedy(status, where))


def _folder_remedy(status: os.stat_result, path: str) -> str:
    move = "keep the file in a folder that only root can write, such as /etc/iampass"
    if status.st_mode & stat.S_ISVTX:  # shared on purpose, as /tmp
        return move
    return f"chown root {shell_word(path)}; chmod go-w {shell_word(path)}; or {move}"


def _steps(path: str) -> list[str]:
    """The steps of a path, the last one first."""
    return [step for step in reversed(path.split("/")) if step not in ("", ".")]


@contextmanager
def opened(name: str, flags: int, folder: int | None = None) -> Iterator[int]:
    """A descriptor of `name`, in the folder with the descriptor `folder`."""
    descriptor = os.open(name, flags, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def looked_at(file: str) -> Iterator[tuple[os.stat_result, str]]:
    """The status of a file, and a path that leads to this file, whatever `file` names by then.

    It is not opened for that: opening a device has effects, and a pipe of another user's waits.
    """
    with opened(file, os.O_PATH | os.O_CLOEXEC) as found:
        yield os.fstat(found), f"/proc/self/fd/{found}"


@contextmanager
def explained(path: str, *, folder: bool = False) -> Iterator[None]:
    """Raise an UntrustedFile, or one of its kinds, for an error of the system."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise _explanation(error, path, folder=folder) from None


def _explanation(error: OSError | ValueError, path: str, *, folder: bool) -> UntrustedFile:
    if isinstance(error, FileNotFoundError):
        remedy = f"create the {'folder' if folder else 'file'}, or name another"
        return MissingFile(path, "does not exist", remedy, folder=folder)
    if isinstance(error, PermissionError):
        word = shell_word(path)
        remedy = f"chmod o+x {word}" if folder else f"chown root:_iampass {word}; chmod 0640 {word}"
        if user_name(os.getuid()) not in ("root", SERVICE_USER):
            remedy = RUN_AS_ROOT
        user, group = user_name(os.geteuid()), group_name(os.getegid())
        what = f"cannot be {'entered' if folder else 'read'} by user {user}, group {group}"
        return UnreadableFile(path, what, remedy)
    if isinstance(error, ValueError):  # a NUL, or a character that cannot be encoded
        return UntrustedFile(path, "is not a valid path", "write another path")
    if error.errno == errno.ELOOP:
        return UntrustedFile(path, "is a symbolic link", "replace it with the file")
    return UnreadableFile(path, f"cannot be read: {error.strerror}", "check the disk and the path")


def kind_of(mode: int) -> str:
    """The file type of an st_mode, in words."""
    return next((name for is_type, name in _TYPES if is_type(mode)), "a file")


def mode_of(status: os.stat_result) -> str:
    """The permissions, as in `mode 0644`."""
    return f"mode {stat.S_IMODE(status.st_mode):04o}"


def shell_word(path: str) -> str:
    """`path` quoted for a shell. Without shlex: errors must be readable even if no module can be loaded."""
    if path.isascii() and path.replace("/", "").replace("-", "").replace(".", "").replace("_", "").isalnum():
        return path
    return "'" + path.replace("'", "'\\''") + "'"

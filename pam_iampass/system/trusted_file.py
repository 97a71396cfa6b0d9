"""Reads a file only if no user but root can have written it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Set
from typing import NoReturn, Union

from pam_iampass.errors import UntrustedFile
from pam_iampass.system.accounts import group_name, user_name
from pam_iampass.system.service_user import SERVICE_USER
from pam_iampass.system.trusted_folder import explained, kind_of, mode_of, opened, shell_word, trusted_folder

LIMIT = 64 * 1024 * 1024
"""The largest file that is read, in bytes."""

_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_CHUNK = 1024 * 1024

PathLike = Union[str, "os.PathLike[str]"]


def read(
    path: PathLike,
    *,
    secret: bool = False,
    limit: int = LIMIT,
    owner: int = 0,
    readers: Set[int] | None = None,
) -> bytes:
    """The content of the regular file at the absolute `path`, which must not be a link.

    `owner` is a user id that is trusted like root. With `secret`, only the owner, root's group and the groups with ids
    in `readers` (by default this process's effective group) may have access to the file, which has no access control
    list. A file of more than `limit` bytes is refused.

    Raises UntrustedFile, or its kinds MissingFile and UnreadableFile, and nothing else.
    """
    text = _absolute(path)
    folder, name = os.path.split(text)
    if name in ("", ".", ".."):
        raise UntrustedFile(text, "is a folder", "name a regular file")
    check = _Check(text, secret, limit, owner, readers)
    with trusted_folder(folder, owner) as descriptor, explained(text):
        # Checked before it is opened, because opening a device can have effects, such as rewinding a tape.
        check(os.stat(name, dir_fd=descriptor, follow_symlinks=False))
        with opened(name, _FILE_FLAGS, descriptor) as file:
            check(os.fstat(file))
            if secret and has_access_list(file):
                raise UntrustedFile(text, f"is a secret that {ACCESS_LIST}", access_list_remedy(text))
            return _all_of(file, text, limit)


def names(path: PathLike, *, owner: int = 0) -> list[str]:
    """The sorted names in the folder at the absolute `path`, including hidden ones.

    Raises UntrustedFile, or its kinds MissingFile and UnreadableFile, and nothing else.
    """
    text = _absolute(path)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC  # an O_PATH descriptor cannot be listed
    with trusted_folder(text, owner) as folder, explained(text), opened(".", flags, folder) as listing:
        return sorted(os.listdir(listing))


def version(path: PathLike, *, owner: int = 0) -> tuple[int, ...]:
    """Numbers that change when the file at `path` is replaced or written, or its owner or permissions change.

    The first is the time of its last change in nanoseconds (st_ctime). The folders are checked as in `read`.
    Raises UntrustedFile, or its kinds MissingFile and UnreadableFile, and nothing else.
    """
    return versions([path], owner=owner)[0]


def versions(paths: Iterable[PathLike], *, owner: int = 0) -> list[tuple[int, ...]]:
    """The version of each file, as in `version`; the way to a folder is checked once for all files in it."""
    files = [_absolute(path) for path in paths]
    found = {}
    for folder in dict.fromkeys(map(os.path.dirname, files)):
        with trusted_folder(folder, owner) as descriptor:
            for file in files:
                if os.path.dirname(file) == folder:
                    found[file] = _version_in(descriptor, file)
    return [found[file] for file in files]


def _version_in(folder: int, path: str) -> tuple[int, ...]:
    with explained(path):
        status = os.stat(os.path.basename(path), dir_fd=folder, follow_symlinks=False)
    return (status.st_ctime_ns, status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev)


def is_missing(path: PathLike) -> bool:
    """Whether nothing is at `path`. What cannot be examined is not missing: opening it explains why."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False


def _absolute(path: PathLike) -> str:
    text = os.fspath(path)
    if not text.startswith("/"):
        raise UntrustedFile(text, "is not an absolute path", "write a path that begins with /")
    return "/" + "/".join(step for step in text.split("/") if step not in ("", "."))


class _Check:
    """Checks the file that a path leads to."""

    def __init__(self, path: str, secret: bool, limit: int, owner: int, readers: Set[int] | None) -> None:
        self.path = path
        self.secret = secret
        self.limit = limit
        self.owners = {0, owner}
        self.readers = readers if readers is not None else frozenset({os.getegid()})

    def __call__(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            self._refuse(
                f"is {kind_of(status.st_mode)}, not a regular file", "replace it with a regular file"
            )
        if status.st_uid not in self.owners:
            self._refuse(f"belongs to user {user_name(status.st_uid)}, not to root", self._proper())
        if status.st_mode & 0o022:
            self._refuse(f"is writable by users other than root ({mode_of(status)})", self._proper())
        if self.secret:
            self._check_secret(status)
        if status.st_size > self.limit:
            self._refuse(_too_large(self.limit), "make it smaller")

    def _check_secret(self, status: os.stat_result) -> None:
        others = others_with_access(status, self.readers)
        if others:
            self._refuse(f"is a secret that {others} can access ({mode_of(status)})", self._proper())

    def _proper(self) -> str:
        word = shell_word(self.path)
        if not self.secret:
            return f"chown root {word}; chmod go-w {word}"
        return readers_remedy(self.path) if self.readers else f"chown root:root {word}; chmod 0600 {word}"

    def _refuse(self, what: str, remedy: str) -> NoReturn:
        raise UntrustedFile(self.path, what, remedy)


def others_with_access(status: os.stat_result, readers: Set[int]) -> str:
    """Say who has access to a file beside its owner, root and the groups `readers`; empty if nobody has."""
    if status.st_mode & 0o007:
        return "every user"
    if status.st_mode & 0o040 and status.st_gid not in {0, *readers}:
        return f"the group {group_name(status.st_gid)}"
    return ""


ACCESS_LIST = "has an access control list: its mode does not say who can read it"


def has_access_list(file: PathLike | int) -> bool:
    """Whether a file has an access control list, with which the group bits of its mode are a mask (acl(5)).

    Raises OSError.
    """
    try:
        os.getxattr(file, "system.posix_acl_access")
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise
    return True


def access_list_remedy(path: str) -> str:
    """The command that takes the access control list away."""
    return f"setfacl -b {shell_word(path)}"


def readers_remedy(path: str) -> str:
    """The command after which only root and the module can read the file."""
    word = shell_word(path)
    return f"chown root:{SERVICE_USER} {word}; chmod 0640 {word}"


def _all_of(descriptor: int, path: str, limit: int) -> bytes:
    """The whole content, with the limit enforced while reading: the file may have grown since it was checked."""
    chunks: list[bytes] = []
    left = limit + 1
    while left > 0:
        chunk = os.read(descriptor, min(left, _CHUNK))
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        left -= len(chunk)
    raise UntrustedFile(path, _too_large(limit), "make it smaller")


def _too_large(limit: int) -> str:
    mebibyte = 1024 * 1024
    return f"is larger than {limit // mebibyte} MiB" if limit >= mebibyte else f"is larger than {limit} bytes"

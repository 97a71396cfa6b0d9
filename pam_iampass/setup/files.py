"""Puts files in their places, each of them whole or not at all.

All new files of one change are written next to their places first (`stage`), so that a full disk is found out before
anything is replaced; then they are moved there (`Staged.commit`). Names of files on their way are fixed, so that those
that a killed process left are found and removed. None of sshd, sudo and PAM reads such a name by itself.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.setup.snapshot import Snapshot
from pam_iampass.system import programs

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Staged:
    """A change that is ready: one rename or one unlink away."""

    path: Path
    temporary: Path | None
    """None: the file goes."""

    def commit(self) -> None:
        """Do it, for good even if the power fails next."""
        if self.temporary is None:
            self.path.unlink(missing_ok=True)
        else:
            os.rename(self.temporary, self.path)
            _label(self.path)
        sync_folder(self.path.parent)

    def discard(self) -> None:
        """Forget it."""
        if self.temporary is not None:
            self.temporary.unlink(missing_ok=True)


def on_its_way(path: Path) -> Path:
    """The name of a file before it is in its place."""
    return path.with_name(f".{path.name}.iampass-new")


def stage(wanted: Iterable[tuple[Path, Snapshot]]) -> list[Staged]:
    """Get every file ready. Raises OSError, and then nothing is left of any."""
    staged: list[Staged] = []
    try:
        for path, snapshot in wanted:
            staged.append(Staged(path, None if snapshot.content is None else _written(path, snapshot)))
    except BaseException:
        for ready in staged:
            ready.discard()
        raise
    return staged


def remove_left_over(paths: Iterable[Path]) -> None:
    """Take away what a killed process left on its way to these places."""
    for path in paths:
        on_its_way(path).unlink(missing_ok=True)


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace one file of root's own."""
    for ready in stage([(path, Snapshot(content, mode))]):
        ready.commit()


def sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _written(path: Path, snapshot: Snapshot) -> Path:
    assert snapshot.content is not None  # noqa: S101
    temporary = on_its_way(path)
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, _NEW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(snapshot.content)
            file.flush()
            os.fchown(file.fileno(), snapshot.uid, snapshot.gid)
            _copy_attributes(path, temporary)
            os.fchmod(file.fileno(), snapshot.mode)
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _copy_attributes(path: Path, temporary: Path) -> None:
    """Access control lists and labels of the file that is replaced stay."""
    with contextlib.suppress(OSError):  # no file there, or a file system without any
        for name in os.listxattr(path, follow_symlinks=False):
            os.setxattr(temporary, name, os.getxattr(path, name))


def _label(path: Path) -> None:
    """Give a file the SELinux label of its place, where the machine has SELinux."""
    if programs.find("restorecon") and os.path.isdir("/sys/fs/selinux"):
        programs.run(["restorecon", str(path)])

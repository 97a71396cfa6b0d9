"""Files: what they are at one moment and what changed since; replacing and removing them, each atomically.

All new files of one change are written next to the old ones first (`stage`), so that a full disk shows before anything
is replaced; then they are renamed (`Staged.commit`). Temporary names are fixed, so that what a killed process left
behind is found and removed. Neither sshd nor sudo nor PAM reads a file of such a name.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.errors import MissingFile
from pam_iampass.setup.errors import SetupRefused
from pam_iampass.system import atomic_write, programs, trusted_file
from pam_iampass.text import clean

_LIMIT = 1024 * 1024


@dataclass(frozen=True)
class Snapshot:
    """What a path held. `content` is None if there was no file; the rest then means nothing."""

    content: bytes | None
    mode: int = 0o644
    uid: int = 0
    gid: int = 0

    @property
    def digest(self) -> str | None:
        """The SHA-256 of the content; None if there was no file."""
        return None if self.content is None else hashlib.sha256(self.content).hexdigest()


ABSENT = Snapshot(None)


def text_of(content: bytes | None) -> str:
    """The text of a file, from which `content_of` makes the same bytes."""
    return (content or b"").decode("utf-8", "surrogateescape")


def content_of(text: str) -> bytes:
    """The bytes of a text."""
    return text.encode("utf-8", "surrogateescape")


def take(path: Path) -> Snapshot:
    """What `path` holds now.

    Raises UntrustedFile if others than root could have written it, SetupRefused if its folder does not exist.
    """
    try:
        content = trusted_file.read(path, limit=_LIMIT)
    except MissingFile as missing:
        if missing.folder:
            what = f"{path.parent}: no such folder"
            raise SetupRefused(what, f"create it: mkdir {path.parent}") from None
        return ABSENT
    found = os.stat(path, follow_symlinks=False)
    return Snapshot(content, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)


def diff(path: Path, before: bytes | None, after: bytes | None) -> list[str]:
    """The lines of a unified diff, safe to print on a terminal; None stands for no file."""
    old, new = ("/dev/null" if content is None else str(path) for content in (before, after))
    return [
        clean(line, 300)
        for line in difflib.unified_diff(_lines(before), _lines(after), old, new, lineterm="")
    ]


def _lines(content: bytes | None) -> list[str]:
    return text_of(content).splitlines()


@dataclass(frozen=True)
class Staged:
    """A change that is ready: one rename or one unlink away."""

    path: Path
    removes: bool

    def commit(self) -> None:
        """Make the change; it is on the disk when this returns."""
        with atomic_write.open_folder(self.path.parent) as folder:
            if self.removes:
                atomic_write.remove(folder, self.path.name)
            else:
                atomic_write.rename(folder, temporary(self.path).name, self.path.name)
                _restore_label(self.path)
            atomic_write.sync(folder)

    def discard(self) -> None:
        """Give the change up, if it has not been made."""
        if not self.removes:
            temporary(self.path).unlink(missing_ok=True)


def temporary(path: Path) -> Path:
    """Where the new content of a file is written first."""
    return path.with_name(f".{path.name}.iampass-new")


def stage(wanted: Iterable[tuple[Path, Snapshot]]) -> list[Staged]:
    """Get every file ready. Raises OSError; no temporary file remains then."""
    staged: list[Staged] = []
    try:
        for path, snapshot in wanted:
            if snapshot.content is not None:
                _write_temporary(path, snapshot.content, snapshot)
            staged.append(Staged(path, snapshot.content is None))
    except BaseException:
        for ready in staged:
            ready.discard()
        raise
    return staged


def remove_temporary(paths: Iterable[Path]) -> None:
    """Remove what a killed process left next to these files."""
    for path in paths:
        temporary(path).unlink(missing_ok=True)


def write(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a single file, which belongs to root."""
    for ready in stage([(path, Snapshot(content, mode))]):
        ready.commit()


def _write_temporary(path: Path, content: bytes, snapshot: Snapshot) -> None:
    def copy_attributes(descriptor: int) -> None:
        """Keep the access control list and the label of the file that is replaced."""
        with contextlib.suppress(OSError):  # there is none, or the file system has no attributes
            for name in os.listxattr(path, follow_symlinks=False):
                os.setxattr(descriptor, name, os.getxattr(path, name))

    owner = (snapshot.uid, snapshot.gid)
    with atomic_write.open_folder(path.parent) as folder:
        atomic_write.write_new(
            folder, temporary(path).name, content, mode=snapshot.mode, owner=owner, prepare=copy_attributes
        )


def _restore_label(path: Path) -> None:
    """Give a file the SELinux label of its path."""
    if programs.find("restorecon") and os.path.isdir("/sys/fs/selinux"):
        programs.run(["restorecon", str(path)])

"""The files of the machine that setup reads and writes: what they hold, and changing them, each atomically.

All new files of one setup are written next to the old ones first (`prepare`), so that a full disk shows before anything
is replaced; then they are renamed (`Change.commit`). Temporary names are fixed, so that what a killed process left
behind is found and removed. Neither sshd nor sudo nor PAM reads a file of such a name.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.errors import MissingFile, SetupRefused
from pam_iampass.pam.stack import FOLDERS, PamFiles, dialect
from pam_iampass.system import atomic_write, paths, programs, trusted_file
from pam_iampass.text import clean

SYSTEMD = Path("/run/systemd/system")
"""Exists if systemd runs (sd_booted(3))."""
_LIMIT = 1024 * 1024


class Paths:
    """The files and folders below `root`."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        self.pam = root / "etc/pam.d"
        self.vendor_pam = tuple(root / str(folder).lstrip("/") for folder in FOLDERS[1:])
        """Folders of PAM files that those in /etc/pam.d override."""
        self.sshd_config = root / "etc/ssh/sshd_config"
        self.sshd_drop_ins = root / "etc/ssh/sshd_config.d"
        self.units = root / "etc/systemd/system"
        self.state = root / paths.SETUP_STATE.lstrip("/")
        self.figures = root / paths.PAM_FIGURES.lstrip("/")
        clone = Path(__file__).resolve().parents[2]
        in_clone = (clone / "pyproject.toml").is_file()
        self.templates = clone / "config" if in_clone else Path(paths.TEMPLATES)
        """The files that setup copies: the installed ones or, in a clone of the repository, the ones in `config/`."""

    def pam_files(self, instead: Mapping[Path, str] | None = None) -> PamFiles:
        """The PAM files of the machine, some of them with other contents."""
        folders = (self.pam, *self.vendor_pam)
        return PamFiles(folders, dialect(self.root / "etc/debian_version"), instead)


@dataclass(frozen=True)
class Snapshot:
    """The state of a path. `content` is None if there was no file; the rest then means nothing."""

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
    """Return the state of `path` now.

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
class Change:
    """One file that has to change. Once it is prepared it is one rename or one unlink away."""

    path: Path
    now: Snapshot
    then: Snapshot

    @property
    def diff(self) -> list[str]:
        """The change as a unified diff."""
        return diff(self.path, self.now.content, self.then.content)

    def prepare(self) -> None:
        """Write the new content next to the file. Raises OSError."""
        if self.then.content is None:
            return

        def copy_attributes(descriptor: int) -> None:
            """Keep the access control list and the label of the file that is replaced."""
            with contextlib.suppress(OSError):  # there is none, or the file system has no attributes
                for name in os.listxattr(self.path, follow_symlinks=False):
                    os.setxattr(descriptor, name, os.getxattr(self.path, name))

        with atomic_write.open_folder(self.path.parent) as folder:
            atomic_write.write_new(
                folder,
                temporary(self.path).name,
                self.then.content,
                mode=self.then.mode,
                owner=(self.then.uid, self.then.gid),
                prepare=copy_attributes,
            )

    def commit(self) -> None:
        """Make the change; it is on the disk when this returns."""
        with atomic_write.open_folder(self.path.parent) as folder:
            if self.then.content is None:
                atomic_write.remove(folder, self.path.name)
            else:
                atomic_write.rename(folder, temporary(self.path).name, self.path.name)
                _restore_label(self.path)
            atomic_write.sync(folder)


def temporary(path: Path) -> Path:
    """Where the new content of a file is written first."""
    return path.with_name(f".{path.name}.iampass-new")


def prepare(changes: Iterable[Change]) -> None:
    """Get all changes ready. Raises OSError; no temporary file remains then."""
    ready: list[Path] = []
    try:
        for change in changes:
            change.prepare()
            ready.append(change.path)
    except BaseException:
        remove_temporary(ready)
        raise


def remove_temporary(paths: Iterable[Path]) -> None:
    """Remove what was prepared next to these files, also by a process that was killed."""
    for path in paths:
        temporary(path).unlink(missing_ok=True)


def write(path: Path, content: bytes, mode: int = 0o600, uid: int = 0, gid: int = 0) -> None:
    """Replace a single file."""
    change = Change(path, ABSENT, Snapshot(content, mode, uid, gid))
    prepare([change])
    change.commit()


def _restore_label(path: Path) -> None:
    """Give a file the SELinux label of its path."""
    if programs.find("restorecon") and os.path.isdir("/sys/fs/selinux"):
        programs.run(["restorecon", str(path)])

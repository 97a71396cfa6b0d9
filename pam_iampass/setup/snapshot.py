"""A file at one moment: its bytes, owners and permissions, or that it does not exist; and what changed since."""

from __future__ import annotations

import difflib
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.errors import MissingFile
from pam_iampass.setup.errors import SetupRefused
from pam_iampass.system import trusted_file
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

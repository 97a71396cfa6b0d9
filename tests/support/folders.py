"""Directories whose files are trusted. (Everything below /tmp is refused because /tmp is world-writable.)"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT_ONLY = "/var/lib"


@contextmanager
def root_only_folder() -> Iterator[Path]:
    """A new directory that only root can write, like all its parents; removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="pam-iampass-test-", dir=ROOT_ONLY))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def trusted_folder() -> Iterator[Path]:
    """A new directory that only root can write, like all its parents."""
    with root_only_folder() as folder:
        yield folder


def put(path: Path, content: str | bytes = "content\n", mode: int = 0o644) -> Path:
    """Write a file with exactly this mode, independent of the umask."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


def let_read(path: Path, uid: int) -> None:
    """Have an access control list let a user read a file of mode 0640, which its mode does not show (acl(5))."""
    user_obj, user, group_obj, mask, other = 0x01, 0x02, 0x04, 0x10, 0x20  # linux/posix_acl.h
    entries = [(user_obj, 6, -1), (user, 4, uid), (group_obj, 4, -1), (mask, 4, -1), (other, 0, -1)]
    packed = [struct.pack("<HHI", tag, bits, of & 0xFFFFFFFF) for tag, bits, of in entries]
    os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + b"".join(packed))
    assert path.stat().st_mode & 0o777 == 0o640

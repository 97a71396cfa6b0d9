"""Directories whose files are trusted. (Everything below /tmp is refused because /tmp is world-writable.)"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from pam_iampass.errors import UntrustedFile
from pam_iampass.system.trusted_folder import trusted_folder as folder_of_owner

#: Who owns the files that the tests write, and so is trusted with them (`owner` of `trusted_file.read`).
OWNER = os.geteuid()
ROOT_ONLY = "/var/lib"


@contextmanager
def new_own_folder() -> Iterator[Path]:
    """A new directory that only who runs the tests and root can write, like all its parents; removed afterwards."""
    for place in (ROOT_ONLY,) if OWNER == 0 else (str(Path.home()), str(Path(__file__).parents[2])):
        with suppress(UntrustedFile), folder_of_owner(place, OWNER):
            break
    else:
        pytest.skip("needs a home directory that nobody else can write")
    folder = Path(tempfile.mkdtemp(prefix="pam-iampass-test-", dir=place))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """A new directory of the user who runs the tests, for code with a parameter for the trusted owner."""
    with new_own_folder() as folder:
        yield folder


@pytest.fixture
def trusted_folder(own_folder: Path) -> Path:
    """A new directory that only root can write, like all its parents: its tests need root."""
    return own_folder


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

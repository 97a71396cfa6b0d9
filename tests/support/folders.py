"""Directories whose files are trusted. (Everything below /tmp is refused because /tmp is world-writable.)"""

from __future__ import annotations

import shutil
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

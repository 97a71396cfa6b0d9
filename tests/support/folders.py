"""Folders that files are trusted in: everything below /tmp is writable by anybody, and so refused."""

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
    """A fresh folder that only root can write, all the way up; gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="pam-iampass-test-", dir=ROOT_ONLY))
    try:
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def trusted_folder() -> Iterator[Path]:
    """A fresh folder that only root can write, all the way up."""
    with root_only_folder() as folder:
        yield folder


def put(path: Path, content: str | bytes = "content\n", mode: int = 0o644) -> Path:
    """Write a file with exactly that mode, whatever the umask."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path

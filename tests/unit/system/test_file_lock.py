"""One process at a time has a lock."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pam_iampass.system import file_lock


def test_a_lock_is_held_until_its_descriptor_is_closed(tmp_path: Path) -> None:
    first = file_lock.acquire(None, tmp_path / "lock", 0.0)
    for patience in (0.0, 0.02):
        with pytest.raises(file_lock.LockHeld):
            file_lock.acquire(None, tmp_path / "lock", patience)
    os.close(first)
    os.close(file_lock.acquire(None, tmp_path / "lock", 0.0))


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to("target")
    with pytest.raises(OSError, match="symbolic links"):
        file_lock.acquire(None, tmp_path / "lock", 0.0)
    assert not (tmp_path / "target").exists()

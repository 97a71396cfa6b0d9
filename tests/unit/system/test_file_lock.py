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


def test_a_file_that_is_removed_before_it_is_locked_is_created_anew(tmp_path: Path) -> None:
    path, checked = tmp_path / "lock", []

    def remove_once(descriptor: int) -> None:
        checked.append(descriptor)
        if len(checked) == 1:
            path.unlink()

    descriptor = file_lock.acquire(None, path, 0.0, check=remove_once)
    assert len(checked) == 2
    assert os.fstat(descriptor).st_ino == path.stat().st_ino
    os.close(descriptor)


def test_what_fails_the_check_is_not_kept_open(tmp_path: Path) -> None:
    seen = []

    def refuse(descriptor: int) -> None:
        seen.append(descriptor)
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - the one that was raised above
        file_lock.acquire(None, tmp_path / "lock", 0.0, check=refuse)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(seen[0])


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to("target")
    with pytest.raises(OSError, match="symbolic links"):
        file_lock.acquire(None, tmp_path / "lock", 0.0)
    assert not (tmp_path / "target").exists()

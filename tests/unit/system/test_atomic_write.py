"""A file is replaced as a whole or stays as it was."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_iampass.system import atomic_write


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    with atomic_write.open_folder(tmp_path) as descriptor:
        yield descriptor


def fail(*_arguments: object, **_named: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("durable", [True, False])
def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path, folder: int, durable: bool) -> None:
    (tmp_path / "file").write_text("old")
    atomic_write.write(folder, "file", b"new", "file.new", durable=durable)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file": "new"}


@pytest.mark.parametrize("step", ["write", "fchmod", "fsync", "rename"])
def test_a_failure_leaves_the_old_file_alone(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    (tmp_path / "file").write_text("old")
    with monkeypatch.context() as disk:
        disk.setattr(os, step, fail)
        with pytest.raises(OSError, match="No space left"):
            atomic_write.write(folder, "file", b"new", "file.new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file": "old"}


@pytest.mark.parametrize("name", ["file", "file.new"])
def test_a_link_is_replaced_and_not_followed(tmp_path: Path, folder: int, name: str) -> None:
    (tmp_path / "target").write_text("untouched")
    (tmp_path / name).symlink_to("target")
    atomic_write.write(folder, "file", b"new", "file.new")
    assert (tmp_path / "target").read_text() == "untouched"
    assert not (tmp_path / "file").is_symlink()


def test_a_folder_that_is_swapped_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "other").mkdir()
    with atomic_write.open_folder(tmp_path / "real") as folder:
        (tmp_path / "real").rename(tmp_path / "moved")
        (tmp_path / "real").symlink_to("other")
        atomic_write.write(folder, "file", b"new", "file.new")
    assert list((tmp_path / "other").iterdir()) == []
    assert (tmp_path / "moved/file").read_bytes() == b"new"


def test_mode_and_owner_are_set_whatever_the_umask(tmp_path: Path, folder: int) -> None:
    before = os.umask(0o077)
    try:
        atomic_write.write_new(folder, "file", b"", mode=0o644, owner=(os.geteuid(), os.getegid()))
    finally:
        os.umask(before)
    found = (tmp_path / "file").stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o644, os.geteuid())


def test_a_descriptor_of_a_path_can_be_synchronised(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_PATH)
    try:
        atomic_write.sync(descriptor)
    finally:
        os.close(descriptor)


def test_no_owner_is_set_unless_one_is_wanted(
    folder: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system call filter of the agent's unit forbids it (`tests/packages` runs the agent with the real filter)."""
    with monkeypatch.context() as unit:
        unit.setattr(os, "fchown", fail)
        atomic_write.write(folder, "file", b"new", "file.new")
        with pytest.raises(OSError, match="No space left"):
            atomic_write.write_new(folder, "other", b"new", owner=(0, 0))
    assert {path.name for path in tmp_path.iterdir()} == {"file"}

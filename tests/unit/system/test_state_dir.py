"""What the files in a folder of state can be instead of files, and who holds a lock on them."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest

from pam_iampass.errors import StateError
from pam_iampass.system import file_lock, state_dir
from pam_iampass.system.state_dir import HeldLock, OpenStateDir, StateDir
from tests.support.state_files import STEPS, resume, stopped_before


@pytest.fixture
def opened(trusted_folder: Path) -> Iterator[OpenStateDir]:
    trusted_folder.chmod(0o700)
    with StateDir(str(trusted_folder), "look at the folder").opened("look at the file") as folder:
        yield folder


def _lock(folder: OpenStateDir) -> None:
    with folder.locked("file"):
        pass


@pytest.mark.parametrize(
    ("use", "what"),
    [
        (_lock, "cannot be locked"),
        (lambda folder: folder.read("file"), "cannot be read"),
        (lambda folder: folder.existing("file"), "cannot be opened"),
    ],
    ids=["lock", "read", "write to it"],
)
def test_a_link_is_not_followed(
    opened: OpenStateDir, trusted_folder: Path, use: Callable[[OpenStateDir], object], what: str
) -> None:
    (trusted_folder / "elsewhere").write_text("")
    (trusted_folder / "file").symlink_to("elsewhere")
    with pytest.raises(StateError, match=what):
        use(opened)


def test_a_folder_in_the_place_of_a_file_is_not_replaced(opened: OpenStateDir, trusted_folder: Path) -> None:
    (trusted_folder / "file").mkdir()
    (trusted_folder / "lock").touch()
    lock = HeldLock("lock", (trusted_folder / "lock").stat().st_ino)
    for make in (lambda: opened.create("file"), lambda: opened.write("file", b"new", lock)):
        with pytest.raises(StateError, match="cannot be written"):
            make()
    assert os.listdir(trusted_folder / "file") == []


def _add(folder: Path, word: bytes) -> None:
    with StateDir(str(folder), "").opened("") as files, files.locked("lock") as lock:
        files.write("file", (files.read("file") or b"") + word, lock)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_dir, "LOCK_PATIENCE", 0.2)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.usefixtures("impatient")
def test_a_holder_that_is_stopped_is_passed_by_and_overwrites_nothing_when_it_wakes(
    trusted_folder: Path, step: str
) -> None:
    trusted_folder.chmod(0o700)
    with stopped_before(step, _add, trusted_folder, b"stopped") as holder:
        _add(trusted_folder, b"one ")
        _add(trusted_folder, b"two")
        assert resume(holder) == 1
    assert (trusted_folder / "file").read_bytes() == b"one two"
    assert sorted(os.listdir(trusted_folder)) == ["file", "lock"]


def test_of_many_who_pass_a_stopped_holder_by_none_loses_its_change(
    trusted_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than those who are not stopped can take on a busy machine.
    monkeypatch.setattr(state_dir, "LOCK_PATIENCE", 6.0)
    trusted_folder.chmod(0o700)
    with stopped_before(STEPS[0], _add, trusted_folder, b"stopped") as holder:
        waiting = [threading.Thread(target=_add, args=(trusted_folder, b"x")) for _ in range(20)]
        for thread in waiting:
            thread.start()
        for thread in waiting:
            thread.join(60)
        assert resume(holder) == 1
    assert (trusted_folder / "file").read_bytes() == b"x" * 20


@pytest.mark.usefixtures("impatient")
def test_of_two_who_pass_a_stopped_holder_by_at_the_same_moment_one_waits_for_the_other(
    trusted_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted_folder.chmod(0o700)
    acquire = file_lock.acquire
    with contextlib.ExitStack() as first, StateDir(str(trusted_folder), "").opened("") as files:
        first.enter_context(stopped_before(STEPS[0], _add, trusted_folder, b"x"))

        def overtaken(*arguments: Any, **options: Any) -> int:
            try:
                return acquire(*arguments, **options)
            except file_lock.LockHeld:
                monkeypatch.setattr(file_lock, "acquire", acquire)
                first.enter_context(files.locked("lock"))
                raise

        monkeypatch.setattr(file_lock, "acquire", overtaken)
        with pytest.raises(StateError, match="is held for too long"), files.locked("lock"):
            pass


@pytest.mark.usefixtures("impatient")
def test_two_holders_in_a_row_that_are_stopped_are_an_error_and_no_wait_without_end(
    trusted_folder: Path,
) -> None:
    trusted_folder.chmod(0o700)
    with (
        stopped_before(STEPS[0], _add, trusted_folder, b"x"),
        StateDir(str(trusted_folder), "").opened("") as files,
        files.locked("lock.next"),
        pytest.raises(StateError, match="is held for too long"),
    ):
        _add(trusted_folder, b"y")

"""What the files in a folder of state can be instead of files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Callable

import pytest

from pam_iampass.errors import StateError
from pam_iampass.system.state_dir import OpenStateDir, StateDir


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
    for make in (lambda: opened.create("file"), lambda: opened.write("file", b"new")):
        with pytest.raises(StateError, match="cannot be written"):
            make()
    assert os.listdir(trusted_folder / "file") == []

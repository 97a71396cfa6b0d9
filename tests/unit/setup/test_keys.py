"""The look for a key of the user who sets up sshd: the file is that user's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pam_iampass.setup.checks.sshd import _has_line

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 alice\n"


@pytest.mark.parametrize(("text", "found"), [(KEY, True), ("# " + KEY, False), ("\n \n", False), ("", False)])
def test_a_line_that_is_no_comment_is_a_key(tmp_path: Path, text: str, found: bool) -> None:
    file = tmp_path / "authorized_keys"
    file.write_text(text)
    assert _has_line(file) is found
    assert not _has_line(tmp_path / "none")


@pytest.mark.timeout(60)
def test_neither_a_pipe_nor_an_endless_device_holds_it_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert not _has_line(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    assert not _has_line(tmp_path / "link")
    assert not _has_line(tmp_path)

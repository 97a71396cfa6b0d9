"""The look for a key of the user who sets up sshd: the file is that user's own."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

import pytest

from pam_iampass.setup.sshd import _has_line
from tests.support.folders import put

ME = getpass.getuser()
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 alice\n"


@pytest.mark.parametrize(("text", "found"), [(KEY, True), ("# " + KEY, False), ("\n \n", False), ("", False)])
def test_a_line_that_is_no_comment_is_a_key(tmp_path: Path, text: str, found: bool) -> None:
    file = tmp_path / "authorized_keys"
    file.write_text(text)
    assert _has_line(file, ME) is found
    assert not _has_line(tmp_path / "none", ME)


@pytest.mark.timeout(60)
def test_neither_a_pipe_nor_an_endless_device_holds_it_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert not _has_line(tmp_path / "pipe", ME)
    (tmp_path / "link").symlink_to("/dev/zero")
    assert not _has_line(tmp_path / "link", ME)
    assert not _has_line(tmp_path, ME)


def test_a_link_of_the_user_leads_root_to_nothing_that_only_root_can_read(trusted_folder: Path) -> None:
    file, link = put(trusted_folder / "of-root", KEY, 0o600), trusted_folder / "authorized_keys"
    link.symlink_to(file)
    assert not _has_line(link, "nobody")
    file.chmod(0o644)
    assert _has_line(link, "nobody")
    assert os.geteuid() == 0

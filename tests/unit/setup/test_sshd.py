"""sshd: a key of the user who sets it up, whose file is that user's own; the folder in which settings are tried."""

from __future__ import annotations

import getpass
import os
import stat
from pathlib import Path

import pytest

from pam_iampass.setup.sshd import scratch
from pam_iampass.system import trusted_file
from pam_iampass.system.sshd import lines_as
from tests.support.folders import put

ME = getpass.getuser()
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 alice\n"


@pytest.mark.parametrize(("text", "found"), [(KEY, True), ("# " + KEY, False), ("\n \n", False), ("", False)])
def test_a_line_that_is_no_comment_is_a_key(tmp_path: Path, text: str, found: bool) -> None:
    file = tmp_path / "authorized_keys"
    file.write_text(text)
    assert bool(lines_as(file, ME)) is found
    assert not lines_as(tmp_path / "none", ME)


@pytest.mark.timeout(60)
def test_neither_a_pipe_nor_an_endless_device_holds_it_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert not lines_as(tmp_path / "pipe", ME)
    (tmp_path / "link").symlink_to("/dev/zero")
    assert not lines_as(tmp_path / "link", ME)
    assert not lines_as(tmp_path, ME)


def test_a_link_of_the_user_leads_root_to_nothing_that_only_root_can_read(trusted_folder: Path) -> None:
    file, link = put(trusted_folder / "of-root", KEY, 0o600), trusted_folder / "authorized_keys"
    link.symlink_to(file)
    assert not lines_as(link, "nobody")
    file.chmod(0o644)
    assert lines_as(link, "nobody")
    assert os.geteuid() == 0


@pytest.mark.needs_root
def test_what_is_tried_is_where_nobody_else_can_put_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)  # as at the start of a process
    with scratch() as folder:
        (folder / "su").write_text("auth required pam_deny.so\n")
        assert list(tmp_path.iterdir()) == []
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert trusted_file.read(folder / "su"), "no folder above belongs to anybody else"
    assert not folder.exists()

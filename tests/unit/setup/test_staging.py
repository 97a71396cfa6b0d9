"""The folder in which settings are tried before they are in force."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pam_iampass.setup.sshd import scratch
from pam_iampass.system import trusted_file


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

"""`pam-iampass set` on the shipped settings."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.installation import ROOT
from tests.support.shipped_settings import Installed


def typed(installed: Installed, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pam_iampass.cli", "set", *arguments, "--config", str(installed.file)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_setting_is_written_with_all_comments_owner_and_mode_as_they_were(for_root: Installed) -> None:
    before, status = for_root.file.read_text(), for_root.file.stat()
    shown = typed(for_root, "session.keep", "true", "--dry-run")
    assert (shown.returncode, for_root.file.read_text()) == (0, before), shown.stderr
    assert "-  keep: false\n+  keep: true\n" in shown.stdout
    assert typed(for_root, "session.keep", "true").returncode == 0
    now = for_root.file.stat()
    assert for_root.file.read_text() == before.replace("  keep: false\n", "  keep: true\n")
    assert (now.st_mode, now.st_uid, now.st_gid) == (status.st_mode, status.st_uid, status.st_gid)
    assert for_root.check().returncode == 0
    assert "Nothing to change" in typed(for_root, "session.keep", "true").stdout


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("timeout", "60", '"60" has no unit'),
        ("session.keeps", "true", "did you mean keep?"),
        ("asked.users", "[no-such-user]", "users who are not listed are denied"),
        ("timeout", "30s\nserver: https://evil.example.com", "is not one value"),
    ],
)
def test_a_setting_with_which_logins_would_be_denied_is_not_written(
    for_root: Installed, key: str, value: str, told: str
) -> None:
    before = for_root.file.read_text()
    shown = typed(for_root, key, value)
    assert shown.returncode == 1
    assert told in shown.stdout + shown.stderr
    assert for_root.file.read_text() == before
    assert not [name for name in os.listdir(for_root.folder) if "iampass-new" in name]


def test_one_error_does_not_keep_another_from_being_mended(for_root: Installed) -> None:
    for_root.set("application_id", "")
    for_root.set("timeout", "60")
    assert typed(for_root, "application_id", "app").returncode == 0
    assert typed(for_root, "timeout", "60s").returncode == 0
    assert for_root.check().returncode == 0

"""Which program of sshd shows a text at once: only one that is installed, and whose version says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pam_iampass.system.sshd_session import installed_shows_text, shows_text

PATTERNS = b"OpenSSH_3.*\0OpenSSH_6.6.1*\0OpenSSH_7.0*,OpenSSH_7.1*\0"
"""Of other versions, as sshd-session has them."""


def identity(path: Path) -> str:
    """As a door names a program that runs."""
    status = path.stat()
    return f"{status.st_dev}:{status.st_ino}:{status.st_ctime_ns}"


def program(folder: Path, *releases: str, name: str = "sshd-session") -> Path:
    """A program in which these texts stand."""
    path = folder / name
    path.write_bytes(b"\x7fELF\0" + PATTERNS + b"".join(f"{release}\0".encode() for release in releases))
    return path


@pytest.mark.parametrize(
    ("releases", "shows"),
    [
        (("OpenSSH_10.3", "OpenSSH_10.3p1"), True),
        (("OpenSSH_10.6", "OpenSSH_10.6p1", "OpenSSH_10.6p1 Debian-1"), True),
        (("OpenSSH_11.0p1",), True),
        (("OpenSSH_10.0", "OpenSSH_10.0p2", "OpenSSH_10.0p2 Debian-7+deb13u4"), False),
        (("OpenSSH_10.2p1",), False),
        (("OpenSSH_9.8p1",), False),
        (("OpenSSH_10.6",), False),
        (("OpenSSH_10.6p1", "OpenSSH_10.0p2"), False),
        (("OpenSSH_10.6p1", "OpenSSH_10.7p1"), False),
        ((), False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_the_version_in_the_program_says_whether_it_shows_a_text_at_once(
    tmp_path: Path, releases: tuple[str, ...], shows: bool
) -> None:
    found = program(tmp_path, *releases)
    assert shows_text(identity(found), ["/none", str(found)]) is shows
    assert installed_shows_text(["/none", str(found)]) is shows


def test_a_program_that_is_not_the_installed_one_is_not_believed(tmp_path: Path) -> None:
    installed = program(tmp_path, "OpenSSH_10.6p1")
    other = program(tmp_path, "OpenSSH_10.6p1", name="sudo")
    device, inode, time = identity(installed).split(":")
    assert shows_text(identity(installed), [str(installed)])
    changed = (f"{int(device) + 1}:{inode}:{time}", f"{device}:{inode}:{int(time) + 1}", "", identity(other))
    for unequal in changed:
        assert not shows_text(unequal, [str(installed)])
    assert not shows_text("", [str(tmp_path / "none")])
    assert not installed_shows_text([str(tmp_path / "none")])


def test_after_an_upgrade_the_program_that_still_runs_is_not_believed_and_the_new_one_is(
    tmp_path: Path,
) -> None:
    installed = program(tmp_path, "OpenSSH_10.0p2")
    with installed.open("rb"):  # its inode is in use as long as it runs
        runs = identity(installed)
        assert not shows_text(runs, [str(installed)])
        os.replace(program(tmp_path, "OpenSSH_10.6p1", name="new"), installed)
        assert not shows_text(runs, [str(installed)])
        assert shows_text(identity(installed), [str(installed)])


def test_a_program_that_could_not_be_read_is_read_the_next_time(tmp_path: Path) -> None:
    folder = tmp_path / "sshd-session"
    folder.mkdir()
    assert not shows_text(identity(folder), [str(folder)])
    folder.rmdir()
    found = program(tmp_path, "OpenSSH_10.6p1")
    assert shows_text(identity(found), [str(found)])

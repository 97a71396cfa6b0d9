"""Only what nobody but root could have written is read."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pam_iampass.errors import MissingFile, PamIampassError, UnreadableFile, UntrustedFile
from pam_iampass.system import trusted_file
from tests.support.folders import let_read, put

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534


def refusal(path: Path | str, **how: object) -> UntrustedFile:
    with pytest.raises(UntrustedFile) as caught:
        trusted_file.read(path, **how)  # type: ignore[arg-type]
    return caught.value


@contextmanager
def as_nobody() -> Iterator[None]:
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


# What may be read


def test_a_file_that_only_root_can_write_is_read(trusted_folder: Path) -> None:
    assert trusted_file.read(put(trusted_folder / "file", b"\x00bytes")) == b"\x00bytes"


def test_a_file_of_the_given_owner_is_read(trusted_folder: Path) -> None:
    file = put(trusted_folder / "file")
    os.chown(file, NOBODY, NOBODY)
    os.chown(trusted_folder, NOBODY, NOBODY)
    assert trusted_file.read(file, owner=NOBODY) == b"content\n"


def test_a_folder_may_be_reached_through_links(trusted_folder: Path) -> None:
    (trusted_folder / "real" / "deep").mkdir(parents=True)
    put(trusted_folder / "real" / "deep" / "file")
    (trusted_folder / "relative").symlink_to("real/../real")
    (trusted_folder / "absolute").symlink_to(trusted_folder / "relative" / "deep")
    assert trusted_file.read(trusted_folder / "absolute" / "file") == b"content\n"


# The file itself


def test_a_file_of_another_user_is_refused(trusted_folder: Path) -> None:
    file = put(trusted_folder / "file")
    os.chown(file, NOBODY, 0)
    error = refusal(file)
    assert error.path == file
    assert "belongs to user nobody" in error.what
    assert error.remedy == f"chown root {file}; chmod go-w {file}"


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o620, 0o602, 0o4664])
def test_a_file_that_others_can_write_is_refused(trusted_folder: Path, mode: int) -> None:
    error = refusal(put(trusted_folder / "file", mode=mode))
    assert f"is writable by users other than root (mode {mode:04o})" in error.what


def test_an_access_list_that_lets_another_user_write_is_refused(trusted_folder: Path) -> None:
    file = put(trusted_folder / "file", mode=0o600)
    acl = b"\x02\0\0\0" + b"".join(
        tag.to_bytes(2, "little") + bits.to_bytes(2, "little") + who.to_bytes(4, "little")
        for tag, bits, who in (
            (0x01, 6, 0xFFFFFFFF),
            (0x02, 6, NOBODY),
            (0x04, 0, 0xFFFFFFFF),
            (0x10, 6, 0xFFFFFFFF),
            (0x20, 0, 0xFFFFFFFF),
        )
    )
    os.setxattr(file, "system.posix_acl_access", acl)
    assert "is writable by users other" in refusal(file).what


def test_a_link_in_the_last_step_is_refused(trusted_folder: Path) -> None:
    put(trusted_folder / "file")
    (trusted_folder / "link").symlink_to("file")
    assert "is a symbolic link" in refusal(trusted_folder / "link").what


def test_a_named_pipe_is_refused_without_waiting(trusted_folder: Path) -> None:
    os.mkfifo(trusted_folder / "pipe", 0o644)
    assert "is a named pipe" in refusal(trusted_folder / "pipe").what


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/full", "/dev/tty"])
def test_a_device_is_refused(path: str) -> None:
    assert "is a device" in refusal(path).what


def test_a_device_is_not_even_opened() -> None:
    """Without a controlling terminal, opening /dev/tty says ENXIO (tty(4)), whether or not devices can be made here."""
    run = subprocess.run(
        [sys.executable, "-c", _READS_TTY],
        start_new_session=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines() == ["ENXIO", "is a device, not a regular file"]


_READS_TTY = """
import errno, os
from pam_iampass.errors import UntrustedFile
from pam_iampass.system import trusted_file
for read in (lambda path: os.open(path, os.O_RDONLY), trusted_file.read):
    try:
        read("/dev/tty")
    except UntrustedFile as error:
        print(error.what)
    except OSError as error:
        print(errno.errorcode[error.errno])
"""


@pytest.mark.parametrize("name", ["inner", "inner/", "inner/..", "."])
def test_a_folder_is_refused(trusted_folder: Path, name: str) -> None:
    (trusted_folder / "inner").mkdir()
    assert "is a folder" in refusal(f"{trusted_folder}/{name}").what


def test_64_mebibytes_are_read_and_one_byte_more_is_refused(trusted_folder: Path) -> None:
    file = put(trusted_folder / "file", b"")
    os.truncate(file, trusted_file.LIMIT)
    assert len(trusted_file.read(file)) == 64 * 1024 * 1024
    os.truncate(file, trusted_file.LIMIT + 1)
    assert refusal(file).what == "is larger than 64 MiB"


def test_a_file_that_is_larger_than_its_size_says_is_refused() -> None:
    """As a file that grows while it is read: those of /proc have no size until they are read."""
    assert Path("/proc/cpuinfo").stat().st_size == 0
    assert refusal("/proc/cpuinfo", limit=20).what == "is larger than 20 bytes"
    assert trusted_file.read("/proc/cpuinfo")


# What lies above the file


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777, 0o1777])
def test_a_folder_above_that_others_can_write_is_refused(trusted_folder: Path, mode: int) -> None:
    (trusted_folder / "outer" / "inner").mkdir(parents=True)
    file = put(trusted_folder / "outer" / "inner" / "file")
    (trusted_folder / "outer").chmod(mode)
    error = refusal(file)
    assert error.path == trusted_folder / "outer"
    assert "is a folder that users other than root can write" in error.what


def test_nobody_is_advised_to_change_the_modes_of_tmp() -> None:
    error = refusal("/tmp/file")
    assert error.path == Path("/tmp")
    assert "chmod" not in error.remedy


def test_a_folder_above_of_another_user_is_refused(trusted_folder: Path) -> None:
    (trusted_folder / "outer").mkdir()
    file = put(trusted_folder / "outer" / "file")
    os.chown(trusted_folder / "outer", NOBODY, 0)
    assert "belongs to user nobody" in refusal(file).what
    assert refusal(file).path == trusted_folder / "outer"


def test_a_link_through_a_folder_that_others_can_write_is_refused(trusted_folder: Path) -> None:
    """The link leads to a trusted folder, but by way of one where another could stand tomorrow."""
    (trusted_folder / "real").mkdir()
    put(trusted_folder / "real" / "file")
    (trusted_folder / "loose").mkdir()
    (trusted_folder / "loose" / "hop").symlink_to(trusted_folder / "real")
    (trusted_folder / "loose").chmod(0o777)
    (trusted_folder / "link").symlink_to(trusted_folder / "loose" / "hop")
    assert refusal(trusted_folder / "link" / "file").path == trusted_folder / "loose"


def test_a_way_back_out_of_a_folder_that_others_can_write_is_refused(trusted_folder: Path) -> None:
    put(trusted_folder / "file")
    (trusted_folder / "loose").mkdir()
    (trusted_folder / "loose").chmod(0o777)
    assert refusal(f"{trusted_folder}/loose/../file").path == trusted_folder / "loose"


def test_forty_links_are_followed_and_no_more(trusted_folder: Path) -> None:
    put(trusted_folder / "file")
    (trusted_folder / "link0").symlink_to(".")
    for number in range(1, 41):
        (trusted_folder / f"link{number}").symlink_to(f"link{number - 1}")
    assert trusted_file.read(trusted_folder / "link39" / "file")
    assert "too many symbolic links" in refusal(trusted_folder / "link40" / "file").what


def test_a_file_in_place_of_a_folder_is_refused(trusted_folder: Path) -> None:
    put(trusted_folder / "file")
    assert "not a folder" in refusal(trusted_folder / "file" / "inner").what


def test_no_descriptor_is_left_open(trusted_folder: Path) -> None:
    file = put(trusted_folder / "file")
    (trusted_folder / "loop").symlink_to("loop")
    (trusted_folder / "link").symlink_to(trusted_folder)
    before = opened()
    trusted_file.read(trusted_folder / "link" / "file")
    trusted_file.names(trusted_folder)
    refusal(trusted_folder / "loop" / "file")
    refusal(trusted_folder / "missing" / "file")
    refusal(file / "file")
    refusal("/tmp/file")
    assert opened() == before


def opened() -> list[str]:
    """The files and folders that this process has open, without the sockets of other threads."""
    paths = (os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd"))
    return sorted(filter(os.path.exists, paths))


# Secrets


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o601])
def test_a_secret_that_everybody_can_use_is_refused(trusted_folder: Path, mode: int) -> None:
    error = refusal(put(trusted_folder / "secret", mode=mode), secret=True)
    assert error.what == f"is a secret that every user can access (mode {mode:04o})"


@pytest.mark.parametrize(
    ("group", "readers", "is_read"),
    [
        (0, frozenset(), True),
        (0, None, True),
        (1234, frozenset({1234}), True),
        (1234, frozenset({1235}), False),
        (1234, frozenset(), False),
        (1234, None, False),
    ],
)
def test_a_secret_is_read_where_its_group_may_know_it(
    trusted_folder: Path, group: int, readers: frozenset[int] | None, is_read: bool
) -> None:
    file = put(trusted_folder / "secret", mode=0o640)
    os.chown(file, 0, group)
    if is_read:
        assert trusted_file.read(file, secret=True, readers=readers)
    else:
        assert (
            "is a secret that the group 1234 can access" in refusal(file, secret=True, readers=readers).what
        )


def test_a_secret_may_belong_to_any_group_that_cannot_read_it(trusted_folder: Path) -> None:
    file = put(trusted_folder / "secret", mode=0o600)
    os.chown(file, 0, 1234)
    assert trusted_file.read(file, secret=True)


def test_the_own_group_may_read_the_secret(trusted_folder: Path) -> None:
    file = put(trusted_folder / "secret", mode=0o640)
    os.chown(file, 0, NOBODY)
    with as_nobody():
        assert trusted_file.read(file, secret=True)


def test_a_secret_with_an_access_control_list_is_refused_although_its_mode_is_right(
    trusted_folder: Path,
) -> None:
    file = put(trusted_folder / "secret", mode=0o640)
    let_read(file, 1234)
    error = refusal(file, secret=True)
    assert "access control list" in error.what
    assert error.remedy == f"setfacl -b {file}"
    assert trusted_file.read(file)
    os.removexattr(file, "system.posix_acl_access")
    assert trusted_file.read(file, secret=True)


# What is not there, or cannot be read


def test_a_missing_file_is_distinguished_from_a_missing_folder(trusted_folder: Path) -> None:
    file = refusal(trusted_folder / "missing")
    assert isinstance(file, MissingFile)
    assert not file.folder
    folder = refusal(trusted_folder / "missing" / "deeper" / "file")
    assert isinstance(folder, MissingFile)
    assert folder.folder
    assert folder.path == trusted_folder / "missing"


def test_a_file_that_this_process_may_not_read_is_reported_with_a_remedy(trusted_folder: Path) -> None:
    file = put(trusted_folder / "file", mode=0o600)
    with as_nobody():
        error = refusal(file)
    assert isinstance(error, UnreadableFile)
    assert error.what == "cannot be read by user nobody, group nogroup"
    assert error.remedy == f"chown root:_iampass {file}; chmod 0640 {file}"


def test_a_folder_that_this_process_may_not_enter_is_reported(trusted_folder: Path) -> None:
    (trusted_folder / "closed" / "inner").mkdir(parents=True)
    file = put(trusted_folder / "closed" / "inner" / "file")
    (trusted_folder / "closed").chmod(0o700)
    with as_nobody():
        error = refusal(file)
    assert isinstance(error, UnreadableFile)
    assert "cannot be entered by user nobody" in error.what


@pytest.mark.parametrize(
    "path",
    ["", "relative/file", "/etc/with\0nul", "/etc/" + "a" * 300, "/" + "a/" * 3000 + "b", "/etc/\ud800"],
)
def test_an_impossible_path_is_an_error_of_ours(path: str) -> None:
    assert isinstance(refusal(path), PamIampassError)
    assert refusal(path).diagnostics()


@pytest.mark.parametrize("name", ["plain", "with space", "it's", "$(reboot)", "-rf", "ü", "a;b", '"'])
def test_the_remedy_names_the_file_as_a_shell_takes_it(trusted_folder: Path, name: str) -> None:
    file = put(trusted_folder / name, mode=0o666)
    subprocess.run(["/bin/sh", "-c", refusal(file).remedy], check=True)
    assert trusted_file.read(file)


# Names and versions


def test_the_names_in_a_trusted_folder_are_listed_in_order(trusted_folder: Path) -> None:
    for name in ("b", "a", ".hidden"):
        put(trusted_folder / name)
    assert trusted_file.names(trusted_folder) == [".hidden", "a", "b"]


def test_the_names_in_a_folder_that_others_can_write_are_refused(trusted_folder: Path) -> None:
    trusted_folder.chmod(0o777)
    with pytest.raises(UntrustedFile):
        trusted_file.names(trusted_folder)


def test_the_version_changes_when_a_file_is_written_replaced_or_opened_up(trusted_folder: Path) -> None:
    file = put(trusted_folder / "file", "one")
    versions = [trusted_file.version(file)]
    put(trusted_folder / "other", "one")
    os.utime(trusted_folder / "other", ns=(0, file.stat().st_mtime_ns))
    os.replace(trusted_folder / "other", file)
    versions.append(trusted_file.version(file))
    os.truncate(file, 2)
    versions.append(trusted_file.version(file))
    assert len(set(versions)) == 3
    assert trusted_file.version(file) == versions[-1]


def test_the_version_of_a_file_in_a_folder_that_others_can_write_is_refused(trusted_folder: Path) -> None:
    put(trusted_folder / "file")
    trusted_folder.chmod(0o777)
    with pytest.raises(UntrustedFile):
        trusted_file.version(trusted_folder / "file")

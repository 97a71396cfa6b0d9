"""What is read of sudoers: each setting and each NOPASSWD, its line, and whom it names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pam_iampass.system import sudoers
from pam_iampass.system.programs import CommandUnavailable
from pam_iampass.system.sudoers import SudoersLine, SudoersRejected

pytestmark = pytest.mark.needs_program("cvtsudoers")

HOST = os.uname().nodename


def read(folder: Path, *lines: str) -> list[SudoersLine]:
    file = folder / "sudoers"
    file.write_text("\n".join(lines) + "\n")
    file.chmod(0o440)
    return list(sudoers.read(file).lines)


@pytest.mark.parametrize(
    ("users", "accounts"),
    [
        *(("daemon", {"daemon"}), ("#1", {"daemon"}), ("%daemon", {"daemon"}), ("%#1", {"daemon"})),
        *(("daemon,bin", {"daemon", "bin"}), ("root,bin", {"bin"}), ("root", set())),
        *(("ALL", None), ("ALL,!bin", None), ("bin,+netgroup", None), ("!bin", None)),
        *(("nobody-of-that-name", None), ("%no-such-group", None), ("BIN", None), ("%:plugin", None)),
    ],
)
def test_the_accounts_of_a_line_are_known_or_may_be_all(
    tmp_path: Path, users: str, accounts: set[str] | None
) -> None:
    setting, rule = read(tmp_path, f"Defaults:{users} !authenticate", f"{users} ALL=(ALL) NOPASSWD: ALL")
    assert (setting.accounts, rule.accounts) == (accounts, accounts)
    assert [str(member) for member in setting.members] == users.split(",")


@pytest.mark.parametrize("bound", ["", "@ALL", ">bin", "!/bin/ls"])
def test_a_line_that_is_not_bound_to_users_may_be_for_all(tmp_path: Path, bound: str) -> None:
    (line,) = read(tmp_path, f"Defaults{bound} !authenticate")
    assert line.users == ()
    assert line.accounts is None
    assert str(line) == f"Defaults{bound} !authenticate"


def test_an_exempt_group_names_its_members(tmp_path: Path) -> None:
    (line,) = read(tmp_path, "Defaults exempt_group=daemon")
    assert line.accounts == frozenset(["daemon"])


@pytest.mark.parametrize(
    ("host", "counts"),
    [
        *((HOST, True), (HOST.upper(), True), (f"{HOST}.example.com", True), ("ALL", True), ("+hosts", True)),
        *((f"not-{HOST}", False), ("10.0.0.0/8", True), (f"not-{HOST},10.0.0.0/8", True), ("*", True)),
        *(("ALL,!10.0.0.0/8", True), (f"!not-{HOST}", True)),
    ],
)
def test_lines_for_other_hosts_do_not_count(tmp_path: Path, host: str, counts: bool) -> None:
    found = read(tmp_path, f"Defaults@{host} !authenticate", f"bin {host}=NOPASSWD: ALL")
    assert [line.name for line in found] == (["authenticate", "NOPASSWD"] if counts else [])


def test_aliases_are_expanded_and_each_tag_is_a_line_of_its_own(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "User_Alias PEOPLE = bin, %daemon",
        "Cmnd_Alias LOOK = /bin/ls, /bin/cat",
        "PEOPLE ALL=(ALL) NOPASSWD: LOOK, PASSWD: /bin/true, (bin) NOPASSWD: /bin/sh",
    )
    assert [str(line) for line in found] == [
        "bin, %daemon NOPASSWD: /bin/ls, /bin/cat",
        "bin, %daemon NOPASSWD: /bin/sh",
    ]
    assert {line.place.partition(":")[2].partition(":")[0] for line in found} == {"3"}


def test_a_line_is_found_by_its_binding_and_others_are_not_taken_for_it(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "# Defaults:bin !authenticate is a comment",
        "Defaults:daemon !authenticate",
        "Defaults:bin \\",
        "  !authenticate",
        "Defaults authenticate",
    )
    places = {str(line): line.place for line in found}
    assert places == {
        "Defaults:daemon !authenticate": f"{tmp_path}/sudoers:2: Defaults:daemon !authenticate",
        "Defaults:bin !authenticate": f"{tmp_path}/sudoers:3: Defaults:bin !authenticate",
        "Defaults authenticate": f"{tmp_path}/sudoers:5: Defaults authenticate",
    }


def test_settings_of_included_files_and_of_targets_are_read(tmp_path: Path) -> None:
    (tmp_path / "more").write_text("Defaults>bin pam_service=b\n")
    found = read(tmp_path, "Defaults pam_service=a", f"@include {tmp_path}/more")
    assert [str(line) for line in found] == ["Defaults pam_service=a", "Defaults>bin pam_service=b"]
    assert found[1].place == f"{tmp_path}/more:1: Defaults>bin pam_service=b"
    assert sudoers.read(tmp_path / "sudoers").services == ("a", "sudo-i", "b")


PLUGINS = """\
# Plugin commented_out other.so
Plugin sudoers_policy sudoers.so sudoers_file={file}
plugin sudoers_audit /usr/libexec/sudo/sudoers.so
Path noexec /usr/libexec/sudo/sudo_noexec.so
  Plugin   my_policy\tmine.so   argument # a comment
PLUGIN sudoers_policy other_sudoers.so
Plugin sudoers_policy \\
    continued.so
"""


def test_plug_ins_of_sudo_other_than_its_own_are_known_however_they_are_written(tmp_path: Path) -> None:
    configuration, file = tmp_path / "sudo.conf", tmp_path / "sudoers"
    configuration.write_text(PLUGINS.format(file=file))
    assert sudoers.other_plugins(configuration) == [
        "Plugin my_policy mine.so argument # a comment",
        "PLUGIN sudoers_policy other_sudoers.so",
        "Plugin sudoers_policy continued.so",
    ]
    assert sudoers._in_force(configuration) == file
    configuration.write_text(f"plugin sudoers_policy \\\n sudoers.so sudoers_file={file}\n")
    assert sudoers._in_force(configuration) == file
    configuration.unlink()
    assert (sudoers.other_plugins(configuration), sudoers._in_force(configuration)) == ([], sudoers.SUDOERS)


@pytest.mark.parametrize(
    ("line", "sources"),
    [
        ("sudoers: files", []),
        ("sudoers:files [SUCCESS=return] sss # ldap", ["sss"]),
        (" sudoers:\tldap files", ["ldap"]),
        ("# sudoers: sss", []),
        ("passwd: files sss", []),
    ],
)
def test_sources_of_rules_other_than_files_are_known(tmp_path: Path, line: str, sources: list[str]) -> None:
    nsswitch = tmp_path / "nsswitch.conf"
    nsswitch.write_text(f"{line}\n")
    assert sudoers.directories(nsswitch) == sources


def test_what_cannot_be_read_is_an_error_and_never_without_lines(tmp_path: Path) -> None:
    with pytest.raises(SudoersRejected, match="syntax error"):
        read(tmp_path, "this is no line")
    with pytest.raises((SudoersRejected, CommandUnavailable)):
        sudoers.read(tmp_path / "missing")

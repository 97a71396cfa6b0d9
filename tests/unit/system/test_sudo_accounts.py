"""Which rules and settings of sudoers hold for an account."""

from __future__ import annotations

import grp
import os
from pathlib import Path

import pytest

from pam_iampass.system import sudoers
from pam_iampass.system.programs import find
from pam_iampass.system.sudo_accounts import SudoAccount, sudo_accounts
from pam_iampass.system.sudoers import Sudoers

pytestmark = pytest.mark.skipif(find("cvtsudoers") is None, reason="needs cvtsudoers")

ALICE = SudoAccount("alice", 5001, 5001)
ALL = "alice ALL=(ALL:ALL) ALL"
HOST = os.uname().nodename


def read(folder: Path, *lines: str) -> Sudoers:
    file = folder / "sudoers"
    file.write_text("\n".join(lines) + "\n")
    file.chmod(0o440)
    return sudoers.read(file, sudoers.check(file))


@pytest.mark.parametrize(
    "users",
    [
        *("alice", "ALICE", "#5001", "%#5001", "ALL", "bob,alice", "!bob,alice", "!alice,ALL", "+netgroup"),
        *("alice,!+netgroup", "ALL,!bob"),
    ],
)
def test_a_list_of_users_means_the_account(tmp_path: Path, users: str) -> None:
    found = read(tmp_path, f"Defaults:{users} !authenticate")
    assert ALICE.settings(found, "authenticate")


@pytest.mark.parametrize("users", ["bob", "#5002", "%no-such-group", "!alice", "ALL,!alice", "alice,!#5001"])
def test_a_list_of_users_means_others(tmp_path: Path, users: str) -> None:
    found = read(tmp_path, f"Defaults:{users} !authenticate")
    assert not ALICE.settings(found, "authenticate")


def test_the_last_line_that_applies_holds(tmp_path: Path) -> None:
    found = read(
        tmp_path, "Defaults !authenticate", "Defaults:alice authenticate", "Defaults:bob !authenticate"
    )
    assert [default.value for default in ALICE.settings(found, "authenticate")] == [True]


@pytest.mark.parametrize(
    "later", ["Defaults>bob authenticate", "Defaults!/bin/ls authenticate", "Defaults:+x authenticate"]
)
def test_a_line_that_may_apply_replaces_nothing(tmp_path: Path, later: str) -> None:
    found = read(tmp_path, "Defaults !authenticate", later)
    assert [default.value for default in ALICE.settings(found, "authenticate")] == [False, True]


def test_settings_for_targets_hold_after_those_for_users(tmp_path: Path) -> None:
    found = read(tmp_path, "Defaults>root pam_service=a", "Defaults:alice pam_service=b")
    assert [default.value for default in ALICE.settings(found, "pam_service")] == ["b", "a"]


@pytest.mark.parametrize(
    ("host", "counts"), [(HOST, True), ("ALL", True), ("not-" + HOST, False), ("10.0.0.0/8", True)]
)
def test_settings_and_rules_of_other_hosts_do_not_count(tmp_path: Path, host: str, counts: bool) -> None:
    found = read(tmp_path, f"Defaults@{host} !authenticate", f"alice {host}=ALL")
    assert bool(ALICE.settings(found, "authenticate")) is counts
    assert bool(ALICE.rules(found)) is counts


@pytest.mark.parametrize(
    "later",
    ["alice ALL=(ALL) ALL", "ALL ALL=(ALL:ALL) PASSWD: ALL"],
)
def test_a_later_rule_for_everything_replaces_a_tag(tmp_path: Path, later: str) -> None:
    found = read(tmp_path, "alice ALL=(ALL) NOPASSWD: ALL", later)
    assert [rule.authenticate for rule in ALICE.rules(found)] == [True if "PASSWD" in later else None]


@pytest.mark.parametrize(
    "later",
    [
        *(
            "bob ALL=(ALL) ALL",
            "alice ALL=(root) ALL",
            "alice ALL=(ALL) /bin/ls",
            "alice elsewhere=(ALL) ALL",
        ),
        *(
            "alice ALL=(ALL) ALL, !/bin/ls",
            "alice ALL=(ALL) NOTAFTER=20200101000000Z ALL",
            "+x ALL=(ALL) ALL",
        ),
    ],
)
def test_a_later_rule_for_less_replaces_no_tag(tmp_path: Path, later: str) -> None:
    found = read(tmp_path, "alice ALL=(ALL) NOPASSWD: ALL", later)
    assert False in [rule.authenticate for rule in ALICE.rules(found)]


def test_the_accounts_are_those_of_the_machine_but_root(tmp_path: Path) -> None:
    names = [account.name for account in sudo_accounts(read(tmp_path, ALL))]
    assert "daemon" in names
    assert "root" not in names


def test_an_account_is_in_its_own_group_and_in_those_that_list_it() -> None:
    groups = {group.gr_name: group for group in grp.getgrall()}
    assert SudoAccount("x", 5, groups["daemon"].gr_gid).is_in("daemon")
    assert not SudoAccount("x", 5, 5001).is_in("daemon")


def test_a_line_is_found_by_its_binding_and_others_are_not_taken_for_it(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "# Defaults:alice !authenticate is a comment",
        "Defaults:bob !authenticate",
        "Defaults:alice \\",
        "  !authenticate",
        ALL,
    )
    (mine,) = ALICE.settings(found, "authenticate")
    assert found.places("authenticate", mine) == f"{tmp_path}/sudoers:3: Defaults:alice !authenticate"
    assert found.places("ALL") == f"{tmp_path}/sudoers:5: {ALL}"

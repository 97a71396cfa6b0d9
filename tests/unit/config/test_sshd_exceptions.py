"""The Match blocks for exempt accounts: what sshd takes them to mean is shown with a real one in tests/system."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from pam_iampass.config.settings import AskedSettings, ExemptSettings
from pam_iampass.config.sshd_exceptions import criteria_in, exceptions, is_plain, without_blocks
from pam_iampass.config.value_types import Approver, exempt_rule
from tests.unit.login.test_policy import SERVICE


def exempting(**exempt: object) -> tuple[str, ...]:
    return exceptions(replace(SERVICE, exempt=ExemptSettings(**exempt))).criteria  # type: ignore[arg-type]


def test_users_groups_networks_and_rules_have_a_block_each() -> None:
    rules = (exempt_rule("user backup from 192.0.2.0/24"), exempt_rule("group dev ops from 2001:db8::/32"))
    assert exempting(
        users=frozenset({"deploy", "backup"}),
        groups=frozenset({"domain users"}),
        networks=(ipaddress.ip_network("198.51.100.0/24"),),
        rules=rules,
    ) == (
        "User backup,deploy",
        'Group "domain users"',
        "Address 198.51.100.0/24",
        "User backup Address 192.0.2.0/24",
        'Group "dev ops" Address 2001:db8::/32',
    )


@pytest.mark.parametrize(
    "name", ["*", "a*", "a?", "!root", "a,root", 'a"b', "a'b", "a#b", "a\\", "a\\ b", " a", ""]
)
def test_a_name_that_sshd_takes_for_something_else_is_left_out(name: str) -> None:
    assert not is_plain(name)
    assert exempting(users=frozenset({name, "backup"})) == ("User backup",)
    assert exempting(groups=frozenset({name})) == ()
    found = exceptions(replace(SERVICE, exempt=ExemptSettings(users=frozenset({name}))))
    assert found.left_out == (name,)


@pytest.mark.parametrize("name", ["backup", "DOM\\eve", "x@y.z", "a b", "host$", "a-b_c.d+e", "zoë", "-a"])
def test_other_names_are_written_as_they_are(name: str) -> None:
    assert is_plain(name)


def test_where_only_some_are_asked_everybody_else_is_spared() -> None:
    def spared(*users: str, groups: tuple[str, ...] = ()) -> tuple[str, ...]:
        return exceptions(replace(SERVICE, asked=AskedSettings(frozenset(users), frozenset(groups)))).criteria

    assert spared() == ()
    assert spared("bob", "alice") == ("User !alice,!bob,*",)
    assert spared(groups=("staff",)) == ("Group !staff,*",)
    assert spared("alice", groups=("staff", "dev ops")) == ('User !alice,* Group "!dev ops,!staff,*"',)
    assert spared("alice", "b*") == ()
    assert spared("alice", groups=("a,b",)) == ()


def test_where_a_key_names_the_person_no_account_is_spared_for_not_being_asked() -> None:
    asked = AskedSettings(frozenset({"alice"}), frozenset())
    exempt = ExemptSettings(users=frozenset({"backup"}))
    by_key = replace(SERVICE, approver=Approver.KEY, asked=asked, exempt=exempt)
    assert exceptions(by_key).criteria == ("User backup",)


def test_the_blocks_end_and_are_read_back() -> None:
    found = exceptions(replace(SERVICE, exempt=ExemptSettings(users=frozenset({"backup"}))))
    text = "UsePAM yes\n" + found.blocks("publickey")
    assert text.endswith("Match User backup\n    AuthenticationMethods publickey\nMatch all\n")
    assert criteria_in(text) == found.criteria
    assert without_blocks(text).startswith("UsePAM yes\n")
    assert "AuthenticationMethods" not in without_blocks(text)
    assert exceptions(SERVICE).blocks("publickey") == ""

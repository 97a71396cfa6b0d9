"""Must a login be approved, and by whom: the rules, with a directory that ignores case and can be out of reach."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest

from pam_iampass.config.settings import AskedSettings, ExemptSettings, ServiceSettings
from pam_iampass.config.user_table import Entry, UserTable
from pam_iampass.config.value_types import Approver, Prompt, UnlistedUsers, WhenUnavailable, exempt_rule
from pam_iampass.login import policy
from pam_iampass.outcome import Login
from pam_iampass.system.accounts import Account, Accounts, LookupFailed, UnknownAccount

ALICE, BOB, ROOT = Account("alice", 1000, 100), Account("bob", 1001, 100), Account("root", 0, 0)
SERVICE = ServiceSettings(
    timeout=60.0,
    methods=("acceptance",),
    prompt=Prompt.AUTO,
    unlisted_users=UnlistedUsers.DENY,
    unavailable=WhenUnavailable.DENY,
    approver=Approver.USER,
)
LOGIN = Login("alice", "sshd")


class Directory(Accounts):
    """Accounts as Active Directory has them: case does not matter, and Alice has another name."""

    people: ClassVar[dict[str, Account]] = {
        **{"alice": ALICE, "a.lice@example.com": ALICE, "bob": BOB},
        **{"root": ROOT, "toor": Account("toor", 0, 0)},
    }
    members: ClassVar[dict[str, int]] = {"operators": 500, "users": 100, "projects": 600}
    reachable = True

    def named(self, name: str) -> Account:
        try:
            return self.people[name.lower()]
        except KeyError:
            raise UnknownAccount from None

    def with_uid(self, uid: int) -> Account:
        for account in self.people.values():
            if account.uid == uid:
                return account
        raise UnknownAccount

    def groups(self, account: Account) -> frozenset[int]:
        if not self.reachable:
            raise LookupFailed("looking up the groups failed")
        return frozenset({account.gid, 500} if account == ALICE else {account.gid})

    def group_id(self, name: str) -> int | None:
        return self.members.get(name)

    def lists(self, group: str, account: Account) -> bool:
        return (group, account) == ("projects", BOB)


class Table(UserTable):
    """A user table."""

    def __init__(self, **entries: Entry) -> None:
        self.entries = entries

    def find(self, name: str) -> Entry | None:
        return self.entries.get(name)


def exempt(settings: ExemptSettings, who: Account = ALICE, rhost: str | None = None) -> str | None:
    return policy.exemption(who, replace(LOGIN, rhost=rhost), replace(SERVICE, exempt=settings), Directory())


# Who is exempt


@pytest.mark.parametrize("name", ["alice", "ALICE", "a.lice@example.com"])
def test_a_user_is_exempt_under_any_name_that_the_directory_knows(name: str) -> None:
    settings = ExemptSettings(users=frozenset({"no-such", name}))
    assert exempt(settings) == "alice is exempt"
    assert exempt(settings, BOB) is None


@pytest.mark.parametrize(
    ("group", "who"), [("operators", ["alice"]), ("users", ["alice", "bob"]), ("nobodys", [])]
)
def test_a_group_is_exempt_whether_it_is_primary_or_supplementary(group: str, who: list[str]) -> None:
    settings = ExemptSettings(groups=frozenset({group}))
    found = [
        account.name
        for account in (ALICE, BOB)
        if exempt(settings, account) == f"{account.name} is in the exempt group {group}"
    ]
    assert found == who


def test_groups_that_cannot_be_looked_up_exempt_nobody_and_let_nobody_pass() -> None:
    class Away(Directory):
        reachable = False

    operators = ExemptSettings(groups=frozenset({"operators"}))
    with pytest.raises(LookupFailed):
        policy.exemption(ALICE, LOGIN, replace(SERVICE, exempt=operators), Away())


@pytest.mark.parametrize(
    ("rule", "who", "rhost", "found"),
    [
        ("user alice from 192.0.2.0/24", ALICE, "192.0.2.1", True),
        ("user ALICE from 192.0.2.0/24", ALICE, "192.0.2.1", True),
        ("group operators from 192.0.2.0/24", ALICE, "192.0.2.1", True),
        ("user alice from 192.0.2.0/24", ALICE, "192.0.3.1", False),
        ("user alice from 192.0.2.0/24", ALICE, None, False),
        ("user alice from 192.0.2.0/24", BOB, "192.0.2.1", False),
        ("group operators from 192.0.2.0/24", BOB, "192.0.2.1", False),
        ("group nobodys from 192.0.2.0/24", ALICE, "192.0.2.1", False),
    ],
)
def test_a_rule_exempts_its_user_or_group_in_its_network_only(
    rule: str, who: Account, rhost: str | None, found: bool
) -> None:
    settings = ExemptSettings(rules=(exempt_rule(rule),))
    assert exempt(settings, who, rhost) == (f"exempt by the rule: {rule}" if found else None)


# Who is asked


def asked(who: Account, *, users: tuple[str, ...] = (), groups: tuple[str, ...] = ()) -> bool:
    service = replace(SERVICE, asked=AskedSettings(frozenset(users), frozenset(groups)))
    found = policy.exemption(who, LOGIN, service, Directory())
    assert found in (None, f"{who.name} is not one of `asked`")
    return found is None


@pytest.mark.parametrize("name", ["alice", "ALICE", "a.lice@example.com"])
def test_named_users_are_asked_and_all_others_are_exempt(name: str) -> None:
    assert asked(ALICE, users=(name,))
    assert not asked(BOB, users=(name,))


def test_members_of_a_named_group_are_asked_primary_supplementary_or_listed() -> None:
    assert asked(ALICE, groups=("operators",))
    assert not asked(BOB, groups=("operators",))
    assert asked(BOB, groups=("operators", "users"))
    assert asked(BOB, groups=("projects",)), "the entry lists bob, though getgrouplist does not say so"
    assert not asked(ALICE, groups=("projects",))


@pytest.mark.parametrize(
    "unknown", [{"users": ("no-such", "alice")}, {"groups": ("nobodys", "operators")}], ids=str
)
def test_while_a_name_is_unknown_only_those_who_are_listed_otherwise_are_not_denied(
    unknown: dict[str, tuple[str, ...]],
) -> None:
    assert asked(ALICE, **unknown)
    with pytest.raises(policy.PolicyError, match=r"`asked` names the .*, which this machine does not know"):
        asked(BOB, **unknown)


def test_while_groups_cannot_be_looked_up_nobody_passes_as_not_asked() -> None:
    class Away(Directory):
        reachable = False

    class Incomplete(Directory):
        def check_groups(self, account: Account) -> None:
            raise LookupFailed("the name service is unavailable")

    service = replace(SERVICE, asked=AskedSettings(groups=frozenset({"operators"})))
    for directory in (Away(), Incomplete()):
        with pytest.raises(LookupFailed):
            policy.exemption(BOB, LOGIN, service, directory)
    assert policy.exemption(ALICE, LOGIN, service, Incomplete()) is None


def test_a_user_who_is_exempt_is_not_asked_though_they_are_named() -> None:
    service = replace(
        SERVICE, exempt=ExemptSettings(users=frozenset({"alice"})), asked=AskedSettings(frozenset({"alice"}))
    )
    assert policy.exemption(ALICE, LOGIN, service, Directory()) == "alice is exempt"


# Whose phone, and by which token


def test_the_methods_of_the_user_go_before_the_general_ones() -> None:
    table = Table(alice=Entry("t-alice", ("facial",)), bob=Entry("t-bob", None))
    assert policy.phone("alice", SERVICE, table) == policy.Phone("t-alice", ("facial",))
    assert policy.phone("bob", SERVICE, table) == policy.Phone("t-bob", ("acceptance",))


@pytest.mark.parametrize("methods", [("acceptance",), (), None])
def test_the_methods_that_a_service_names_hold_whatever_the_users_are(
    methods: tuple[str, ...] | None,
) -> None:
    service = replace(SERVICE, own_methods=("device",))
    assert policy.phone("alice", service, Table(alice=Entry("t", methods))) == policy.Phone("t", ("device",))


def test_an_empty_list_of_methods_leaves_the_choice_to_iampass() -> None:
    assert policy.phone("alice", SERVICE, Table(alice=Entry("t", ()))) == policy.Phone("t", ())


@pytest.mark.parametrize("name", ["alice", "{user}", "%s", "\\1", "{0.__class__}", "jo@example.com"])
def test_a_template_is_a_replacement_and_nothing_more(name: str) -> None:
    service = replace(SERVICE, unlisted_users=UnlistedUsers(template="x-{user}@example.com"))
    found = policy.phone(name, service, Table())
    assert found == policy.Phone(f"x-{name}@example.com", ("acceptance",), listed=False)


@pytest.mark.parametrize(
    ("template", "name"),
    [("{user}", ".."), ("{user}", "."), (".{user}", "."), ("{user}", "a\n"), ("{user}", "x" * 257)],
)
def test_a_token_that_a_template_makes_is_checked(template: str, name: str) -> None:
    service = replace(SERVICE, unlisted_users=UnlistedUsers(template=template))
    with pytest.raises(policy.PolicyError, match="the token that unlisted_users makes for this user"):
        policy.phone(name, service, Table())


def test_the_user_approves_unless_the_setting_says_otherwise() -> None:
    assert policy.approver(replace(LOGIN, ruser="bob", real_uid=1001), ALICE, SERVICE, Directory()) == ALICE


CALLER_APPROVES = replace(SERVICE, approver=Approver.CALLER)


@pytest.mark.parametrize("ruser", ["bob", "BOB"])
@pytest.mark.parametrize("target", ["root", "toor"])
def test_the_caller_approves_for_root_where_the_process_is_theirs(target: str, ruser: str) -> None:
    login = Login(target, "su", ruser=ruser, real_uid=1001)
    assert policy.approver(login, Directory.people[target], CALLER_APPROVES, Directory()) == BOB


@pytest.mark.parametrize("target", ["root", "toor", "alice", "bob"])
@pytest.mark.parametrize("service", ["sudo", "sudo-i"])
def test_in_sudo_the_caller_approves_whatever_user_pam_names(service: str, target: str) -> None:
    login = Login(target, service, ruser="bob", real_uid=1001)
    assert policy.approver(login, Directory.people[target], CALLER_APPROVES, Directory()) == BOB


@pytest.mark.parametrize(("ruser", "real_uid"), [("bob", 1001), ("root", 0), ("alice", 1000), (None, None)])
def test_nobody_but_the_target_approves_for_a_target_other_than_root(
    ruser: str | None, real_uid: int | None
) -> None:
    login = Login("alice", "su", ruser=ruser, real_uid=real_uid)
    assert policy.approver(login, ALICE, CALLER_APPROVES, Directory()) == ALICE


@pytest.mark.parametrize(
    ("ruser", "real_uid"),
    [
        (None, 1001),
        ("", 1001),
        ("bob", None),
        ("bob", 1000),
        ("bob", 4711),
        ("no-such", 1001),
        ("alice", 1001),
    ],
)
def test_a_caller_who_is_only_claimed_is_nobody(ruser: str | None, real_uid: int | None) -> None:
    for service, target in (("su", ROOT), ("sudo", ROOT), ("sudo", ALICE)):
        login = Login(target.name, service, ruser=ruser, real_uid=real_uid)
        with pytest.raises(policy.PolicyError, match="the caller must approve, but "):
            policy.approver(login, target, CALLER_APPROVES, Directory())


# Who called, for the record


@pytest.mark.parametrize(
    ("ruser", "real_uid", "rhost", "caller"),
    [
        ("bob", 1001, None, "bob"),
        ("alice", 1001, None, "bob"),
        (None, 1001, None, "bob"),
        ("bob", 1001, "192.0.2.1", "bob"),
        (None, 4711, None, "4711"),
        ("root", 0, None, "root"),
        ("root", 0, "192.0.2.1", ""),
        ("bob", 0, None, ""),
        (None, 0, "192.0.2.1", ""),
        ("bob", None, None, ""),
    ],
)
def test_the_owner_of_the_process_is_the_caller_and_pam_ruser_alone_names_nobody(
    ruser: str | None, real_uid: int | None, rhost: str | None, caller: str
) -> None:
    login = Login("alice", "su", rhost, ruser=ruser, real_uid=real_uid)
    assert policy.caller_name(login, Directory()) == caller


def test_a_caller_who_cannot_be_looked_up_is_a_number() -> None:
    class Away(Directory):
        def with_uid(self, uid: int) -> Account:
            raise LookupFailed("looking up the user id failed")

    assert policy.caller_name(Login("root", "su", ruser="bob", real_uid=1001), Away()) == "1001"

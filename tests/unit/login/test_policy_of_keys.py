"""Whose key is it: who approves logins to an account that several people share (`approver: key`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pam_iampass.config.settings import AskedSettings, ExemptSettings
from pam_iampass.config.ssh_keys import AcceptedKey
from pam_iampass.config.user_table import UserTable
from pam_iampass.config.value_types import Approver, Otherwise, SecondPerson, UnlistedUsers
from pam_iampass.login import policy
from pam_iampass.login.policy import Exempt, Nobody, Person
from pam_iampass.outcome import Login, PamCode, Phase
from tests.support.folders import OWNER, put
from tests.support.setting import ME, Setting
from tests.support.ssh_keys import accepted, listed, make_key, sign
from tests.unit.login.test_policy import ALICE, BOB, ROOT, SERVICE, Directory, Table

KEYED = replace(SERVICE, approver=Approver.KEY)


class People:
    """Alice and Bob have keys. Carol, who has no account, has a key and certificates; Dave's key is in no table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        names = ("alice", "bob", "carol", "dave", "ca", "other-ca")
        self.public = {name: make_key(folder / name) for name in names}
        ca = listed(self.public["ca"], folder)
        put(
            folder / "users.yaml",
            "".join(f"{name}: {{keys: ['{self.public[name]}']}}\n" for name in ("alice", "bob"))
            + f"carol: {{keys: [{listed(self.public['carol'], folder)}, {{ca: {ca}, key_id: carol-1}},"
            f" {{ca: {ca}, principal: carol}}]}}\n",
        )
        self.table = UserTable(folder / "users.yaml", owner=OWNER)

    def certificate(self, key: str, key_id: str, principals: str = "", ca: str = "ca") -> str:
        return sign(self.folder / ca, self.folder / key, key_id, principals)

    def who(self, *keys: str, **changes: object) -> Person | Exempt | Nobody:
        """Who approves a login to root after sshd has accepted these."""
        service = replace(KEYED, **changes)  # type: ignore[arg-type]
        login = Login("root", "sshd", real_uid=0, ssh_auth_info=accepted(*keys))
        return policy.who_approves(login, ROOT, service, Directory(), self.table)


@pytest.fixture
def people(own_folder: Path) -> People:
    return People(own_folder)


def test_the_person_whose_key_it_is_approves_with_or_without_an_account(people: People) -> None:
    assert people.who(people.public["alice"]) == Person("alice", ALICE)
    assert people.who(people.public["carol"]) == Person("carol", None)


def test_a_person_is_no_account_that_has_another_spelling(people: People) -> None:
    put(people.folder / "users.yaml", f"ALICE: {{keys: ['{people.public['alice']}']}}\n")
    assert people.who(people.public["alice"]) == Person("ALICE", None)


def test_an_unknown_key_names_nobody_or_the_account_if_the_setting_says_so(people: People) -> None:
    unknown = people.who(people.public["dave"])
    assert isinstance(unknown, Nobody)
    assert listed(people.public["dave"], people.folder) in unknown.reason
    assert isinstance(people.who(), Nobody)
    assert people.who(people.public["dave"], otherwise=Otherwise.USER) == Person("root", ROOT)
    assert people.who(otherwise=Otherwise.USER) == Person("root", ROOT)


def test_a_certificate_names_a_person_by_its_ca_and_what_that_has_signed(people: People) -> None:
    carol = Person("carol", None)
    assert people.who(people.certificate("dave", "carol-1")) == carol
    assert people.who(people.certificate("dave", "?", "root,carol")) == carol


@pytest.mark.parametrize(
    ("key", "key_id", "ca"),
    [
        ("dave", "carol-1", "other-ca"),
        ("dave", "carol-2", "ca"),
        ("alice", "?", "ca"),
        ("alice", "alice", "ca"),
    ],
)
def test_a_certificate_of_another_ca_or_with_another_id_names_nobody_whosever_key_is_in_it(
    people: People, key: str, key_id: str, ca: str
) -> None:
    found = people.who(people.certificate(key, key_id, ca=ca))
    assert isinstance(found, Nobody)
    assert key_id in found.reason


def test_several_keys_must_all_be_of_one_person(people: People) -> None:
    alice, bob, dave, carol = (people.public[name] for name in ("alice", "bob", "dave", "carol"))
    assert people.who(carol, people.certificate("dave", "carol-1")) == Person("carol", None)
    with pytest.raises(policy.PolicyError, match='name several people: "alice", "bob"'):
        people.who(alice, bob)
    assert isinstance(people.who(alice, dave), Nobody)
    assert isinstance(people.who(dave, alice), Nobody)


def test_a_key_of_two_people_is_denied_whatever_the_setting_says(people: People) -> None:
    with (people.folder / "users.yaml").open("a") as file:
        file.write(f"dave: {{keys: ['{people.public['alice']}']}}\n")
    for otherwise in Otherwise:
        with pytest.raises(policy.PolicyError, match="several people"):
            people.who(people.public["alice"], otherwise=otherwise)


@pytest.mark.parametrize(
    "changes",
    [{"ssh_auth_info": None}, {"phase": Phase.ACCOUNT}, {"ssh_auth_info": "publickey ssh-ed25519 AAAA\n"}],
)
def test_what_sshd_does_not_say_names_nobody(people: People, changes: dict[str, object]) -> None:
    login = Login("root", "sshd", real_uid=0, ssh_auth_info=accepted(people.public["alice"]))
    service = replace(KEYED, otherwise=Otherwise.USER)
    with pytest.raises(policy.PolicyError):
        policy.who_approves(
            replace(login, **changes),  # type: ignore[arg-type]
            ROOT,
            service,
            Directory(),
            people.table,
        )


def users(*names: str) -> ExemptSettings:
    return ExemptSettings(frozenset(names))


def test_the_account_or_the_person_can_be_exempt(people: People) -> None:
    alice, carol = people.public["alice"], people.public["carol"]
    assert people.who(alice, exempt=users("root")) == Exempt("root is exempt")
    assert people.who(alice, exempt=users("alice")) == Exempt("alice is exempt")
    assert people.who(alice, exempt=users("bob")) == Person("alice", ALICE)
    assert people.who(carol, exempt=users("carol")) == Person(
        "carol", None
    )  # of whom nobody knows the groups


def test_an_exempt_account_needs_no_key_in_the_table(people: People) -> None:
    class Unread(UserTable):
        def people(self, key: AcceptedKey) -> frozenset[str]:
            pytest.fail("the table is read")

    login = Login("root", "sshd", real_uid=0, phase=Phase.ACCOUNT, ssh_auth_info="")
    table = Unread(people.folder / "users.yaml")
    found = policy.who_approves(login, ROOT, replace(KEYED, exempt=users("root")), Directory(), table)
    assert found == Exempt("root is exempt")


@pytest.mark.parametrize(
    ("asked", "key", "expected"),
    [
        (("root",), "alice", Person("alice", ALICE)),
        (("alice",), "alice", Person("alice", ALICE)),
        (("bob",), "alice", Exempt("alice is not one of `asked`")),
        (("bob",), "bob", Person("bob", BOB)),
        (("bob",), "carol", Person("carol", None)),
    ],
)
def test_whoever_is_asked_as_the_account_or_as_the_person_is_asked(
    people: People, asked: tuple[str, ...], key: str, expected: Person | Exempt
) -> None:
    assert people.who(people.public[key], asked=AskedSettings(frozenset(asked))) == expected


def test_a_key_of_nobody_asks_the_account_although_it_is_not_one_of_asked(people: People) -> None:
    changes = {"asked": AskedSettings(frozenset({"alice"})), "otherwise": Otherwise.USER}
    assert people.who(people.public["dave"], **changes) == Person("root", ROOT)


def test_nobody_passes_for_lack_of_a_token() -> None:
    service = replace(KEYED, unlisted_users=UnlistedUsers.IGNORE)
    assert policy.phone("carol", service, Table()) == policy.NotListed(ignore=False)
    assert policy.phone("carol", replace(SERVICE, unlisted_users=UnlistedUsers.IGNORE), Table()).ignore  # type: ignore[union-attr]


# A login


def test_the_phone_of_the_person_is_asked_and_limits_and_records_are_theirs(world: Setting) -> None:
    public = make_key(world.folder / "key")
    world.write("users.yaml", f"7 carol: {{token: {world.token}, keys: ['{public}']}}\n")
    world.configure(services="{sshd: {approver: key, prompt: never, unlisted_users: ignore}}")

    def login(key: str) -> int | None:
        return world.login(service="sshd", uid="0", ssh_auth_info=accepted(key)).code

    assert login(public) == PamCode.SUCCESS
    record = world.only_record()
    assert (record["IAMPASS_USER"], record["IAMPASS_APPROVER"]) == (ME, "7 carol")
    assert world.state.throttle.state("7 carol").turns
    assert not world.state.throttle.state(ME).turns

    world.records.fields.clear()
    stranger = make_key(world.folder / "stranger")
    assert login(stranger) == PamCode.MAXTRIES
    assert world.outcome() == ("unlisted", "denied")
    assert listed(stranger, world.folder) in world.only_record()["IAMPASS_REASON"]

    world.records.fields.clear()
    world.write("users.yaml", f"7 carol: {{keys: ['{public}']}}\n")
    assert login(public) == PamCode.MAXTRIES
    assert world.outcome() == ("unlisted", "denied")


def test_a_key_names_a_person_if_it_says_who_must_approve_or_for_whom_a_second_person_does(
    people: People, own_folder: Path
) -> None:
    nobodys = UserTable(own_folder / "none.yaml", owner=OWNER)
    second = replace(SERVICE, approver=SecondPerson(("carol",)))
    named = {
        (service.approver, table): policy.key_names_person(service, table)
        for service in (SERVICE, KEYED, second)
        for table in (people.table, nobodys)
    }
    assert [pair for pair, by_key in named.items() if by_key] == [
        (Approver.KEY, people.table),
        (Approver.KEY, nobodys),
        (SecondPerson(("carol",)), people.table),
    ]

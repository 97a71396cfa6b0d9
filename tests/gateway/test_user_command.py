"""`pam-iampass-gateway user` and `phone show`, as an administrator types them."""

from __future__ import annotations

import pytest

from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person, PersonStatus, Source
from tests.support.folders import put
from tests.support.gateway_command import GatewayCommand
from tests.support.sandbox import HttpStatus


@pytest.fixture
def place(gateway_command: GatewayCommand) -> GatewayCommand:
    """A gateway with alice, and bob from the directory."""

    async def fill(gateway: Gateway, connection: Connection) -> None:
        await people.add(gateway, connection, Person("alice", "a1", ("staff",), "Alice A.", "+15551234567"))
        await people.add(gateway, connection, Person("bob", "b1", source=Source.LDAP))

    gateway_command.transaction(fill)
    gateway_command.sandbox.add_user("a1")
    gateway_command.sandbox.add_user("b1", device=False)
    return gateway_command


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_everybody_is_listed_with_groups_and_phones(place: GatewayCommand) -> None:
    assert words(place.said("user", "list")) == [
        ["USER", "GROUPS", "FROM", "LOGIN"],
        ["alice", "staff", "here", "can", "log", "in"],
        ["bob", "-", "the", "directory", "can", "log", "in"],
        ["2", "users."],
    ]
    shown = place.said("user", "list", "--check-phones")
    assert words(shown)[1:3] == [
        ["alice", "staff", "here", "registered", "can", "log", "in"],
        ["bob", "-", "the", "directory", "none", "needs", "a", "phone,", "and", "has", "none"],
    ]
    assert "1 user without a phone: pam-iampass-gateway enroll USER" in shown
    found = place.told("user", "list", "--check-phones")
    assert [(each["user"], each["phone"]) for each in found["users"]] == [
        ("alice", "registered"),
        ("bob", "none"),
    ]
    place.sandbox.misbehave("has_device", HttpStatus(503), times=None)
    assert "IAMPASS did not answer" in place.said("user", "list", "--check-phones", status=1)


def test_one_is_shown_without_the_token(place: GatewayCommand) -> None:
    shown = place.said("user", "show", "alice")
    assert ["phone", "number", "+15551234567"] in words(shown)
    found = place.told("user", "show", "alice")
    assert (found["groups"], found["display_name"], found["source"]) == (["staff"], "Alice A.", "local")
    assert "a1" not in shown + str(found)
    assert '"carol" is not known here' in place.said("user", "show", "carol", status=1)


def test_a_new_person_has_a_random_token_that_iampass_knows(place: GatewayCommand) -> None:
    shown = place.said(
        "user", "add", "carol", "--group", "staff", "--group", "oncall", "--phone", "+44 20 12345678"
    )
    carol = place.person("carol")
    assert (carol.groups, carol.phone_number, carol.source) == (
        ("staff", "oncall"),
        "+442012345678",
        Source.LOCAL,
    )
    assert len(carol.token) == 22
    assert place.sandbox.users[carol.token] is False
    assert "carol was added: groups staff, oncall." in shown
    assert place.records == [("user_add", "carol", "groups staff, oncall")]
    assert carol.token not in shown


def test_nobody_is_added_twice_or_changed_by_mistake(place: GatewayCommand) -> None:
    before = place.person("alice")
    assert "already exists" in place.said("user", "add", "alice", status=1)
    number = place.said("user", "add", "alice", "--group", "admins", "--phone", "+15550000000", status=1)
    assert "give --replace" in number
    assert place.person("alice") == before
    assert place.records == []
    place.said("user", "add", "alice", "--group", "admins", "--replace")
    after = place.person("alice")
    assert after == Person(**{**vars(before), "groups": ("admins",), "changed_at": after.changed_at})
    assert place.records == [("user_change", "alice", "groups staff to admins")]
    place.said("user", "add", "alice", "--no-groups", status=2)
    place.said("user", "add", "alice", "--no-groups", "--replace")
    assert place.person("alice").groups == ()
    assert "comes from the directory" in place.said(
        "user", "add", "bob", "--group", "x", "--replace", status=1
    )


def test_a_group_is_added_to_the_groups_of_a_person(place: GatewayCommand) -> None:
    assert "groups staff, oncall" in place.said(
        "user", "add", "alice", "--group", "oncall", "--group", "staff"
    )
    assert place.records == [("user_change", "alice", "groups staff to staff, oncall")]
    place.said("user", "add", "alice", "--group", "staff")
    assert place.person("alice").groups == ("staff", "oncall")
    assert len(place.records) == 1
    assert "comes from the directory" in place.said("user", "add", "bob", "--group", "x", status=1)


@pytest.mark.parametrize("name", ["..", "a/b", "a\nb", ""])
def test_what_cannot_be_a_name_is_refused_before_anything_is_done(place: GatewayCommand, name: str) -> None:
    assert "Usage:" in place.said("user", "add", name, status=2)
    assert place.names == ["alice", "bob"]


@pytest.mark.parametrize("name", ["1000", "-x", "a:b", " alice"])
def test_nobody_is_added_under_a_name_that_no_account_can_have(place: GatewayCommand, name: str) -> None:
    for verb in (("user", "add"), ("enroll", "--no-wait")):
        assert "is the name of no account" in place.said(*verb, "--", name, status=1)
    assert place.names == ["alice", "bob"]
    assert len(place.sandbox.users) == 2


def test_a_name_that_differs_from_a_known_one_by_case_only_is_added_with_a_warning(
    place: GatewayCommand,
) -> None:
    assert "Warning: alice is known here, and Alice is another person" in place.said("user", "add", "Alice")
    assert "Warning" not in place.said("user", "add", "alice", "--replace", "--group", "staff")


def test_without_iampass_nobody_is_added(place: GatewayCommand) -> None:
    place.sandbox.misbehave("add_users", HttpStatus(503), times=None)
    assert "503" in place.said("user", "add", "carol", status=1)
    assert place.names == ["alice", "bob"]


@pytest.mark.parametrize("status", [PersonStatus.LEAVING, PersonStatus.REMOVING])
def test_who_is_leaving_is_not_changed_back_by_adding(place: GatewayCommand, status: PersonStatus) -> None:
    place.transaction(lambda g, c: people.change(g, c, "alice", status=status))
    for verb in (("user", "add"), ("enroll",)):
        refused = place.said(*verb, "alice", "--group", "staff", "--replace", status=1)
        assert "has left the directory" in refused or "is being removed" in refused
    assert place.person("alice").status is status
    assert place.sent == []


def test_a_row_that_no_gateway_has_written_is_shown_as_such_and_nobody(place: GatewayCommand) -> None:
    place.rows("UPDATE person SET groups = '{staff,admins}' WHERE name = 'bob'")
    shown = place.said("user", "list", status=1)
    assert words(shown)[2][:7] == ["bob", "?", "?", "was", "not", "written", "by"]
    assert place.told("user", "list", status=1)["users"][1] == {"user": "bob", "status": "tampered"}
    for arguments in (
        ("user", "show", "bob"),
        ("user", "add", "bob", "--group", "admins", "--replace"),
        ("enroll", "bob", "--no-wait"),
        ("phone", "show", "bob"),
    ):
        assert "was not written by a gateway" in place.said(*arguments, status=1)


def test_it_shows_who_has_a_phone(place: GatewayCommand) -> None:
    shown = place.said("phone", "show", "alice", "bob")
    assert words(shown) == [["USER", "PHONE"], ["alice", "registered"], ["bob", "none"]]
    found = place.told("phone", "show", "alice", "bob")
    assert found == {"ok": True, "phones": {"alice": "registered", "bob": "none"}}
    assert '"carol" is not known here' in place.said("phone", "show", "carol", status=1)


def test_a_database_that_is_away_is_said(place: GatewayCommand) -> None:
    place.conninfo = "host=127.0.0.1 port=1 dbname=x"
    place.configure()
    said = place.said("user", "list", status=1)
    assert 'connection to server at "127.0.0.1", port 1 failed: Connection refused' in said


# The table of a host that was on its own


def table_of_a_host(place: GatewayCommand, text: str, mode: int = 0o640) -> str:
    file = place.folder / "web1" / "users.yaml"
    file.parent.mkdir(exist_ok=True)
    return str(put(file, text, mode))


def test_people_of_a_host_keep_their_phones(place: GatewayCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    for token, device in (("c1", True), ("d1", False)):
        place.sandbox.add_user(token, device)
    file = table_of_a_host(place, "carol: {token: c1, methods: [device]}\n")
    (place.folder / "web1/users.d").mkdir()
    put(place.folder / "web1/users.d/dave.yaml", "dave: d1\n", 0o640)
    shown = place.said("user", "import", file, "--group", "staff")
    assert words(shown)[1:3] == [
        ["carol", "registered", "added"],
        ["dave", "none", "added"],
    ]
    assert "2 of 2 users are here, with the token of the table and the groups of --group." in shown
    assert place.person("carol").token == "c1"
    assert (place.person("dave").token, place.person("dave").groups) == ("d1", ("staff",))
    assert ("user_add", "carol", "groups staff; with the token of a host") in place.records
    assert place.sent == []
    monkeypatch.chdir(place.folder)
    again = place.said("user", "import", "web1/users.yaml", "--group", "staff")
    assert again.count("was here already") == 2
    assert "c1" not in shown + again


def test_accounts_of_a_host_that_act_for_a_person_are_taken_over(place: GatewayCommand) -> None:
    place.sandbox.add_user("c1")
    table = "carol: c1\nclaude: {acts_for: carol}\n"
    for status in ("added", "was here already"):
        shown = place.said("user", "import", table_of_a_host(place, table), "--group", "staff")
        assert words(shown)[2] == ["claude", "of", "carol", *status.split()]
        assert "2 of 2 users are here" in shown
    claude = place.told("user", "show", "claude")
    assert (claude["acts_for"], claude["groups"]) == ("carol", ["staff"])
    place.said("user", "add", "erin")
    table += "erin: {acts_for: carol}\n"
    shown = place.said("user", "import", table_of_a_host(place, table), "--group", "oncall", status=1)
    assert shown.count("not changed: ") == 2
    assert 'not added: "erin" is a person here' in shown
    assert "Accounts that act for a person, but differ from the table: 2." in shown
    assert "0 of 3 users are here" in shown


def test_who_is_here_otherwise_is_told_from_who_is_not_here(place: GatewayCommand) -> None:
    for token in ("c1", "d1"):
        place.sandbox.add_user(token)
    place.said("user", "import", table_of_a_host(place, "dave: d1\n"), "--group", "staff")
    table = table_of_a_host(place, "alice: c1\ncarol: unknown\ndave: d1\nerin: c1\n")
    shown = place.said("user", "import", table, "--group", "oncall", status=1)
    assert shown.count("not changed: ") == shown.count("not added: ") == 2
    assert "0 of 4 users are here" in shown
    assert "Here, with another token or other groups: 2." in shown
    assert "Not here: 2." in shown
    assert place.person("dave").groups == ("staff",)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("carol: unknown\n", "IAMPASS does not know the token"),
        ("alice: c1\n", "already exists, with another token"),
        ("mallory: a1\n", '"alice" has the same token'),
        ("carol: c1\nmallory: c1\n", '"carol" has the same token'),
    ],
)
def test_a_token_that_is_not_that_of_one_person_alone_is_not_taken_over(
    place: GatewayCommand, table: str, says: str
) -> None:
    place.sandbox.add_user("c1")
    before = place.person("alice")
    assert says in place.said("user", "import", table_of_a_host(place, table), status=1)
    assert place.person("alice") == before
    assert "mallory" not in place.names
    assert place.sandbox.users == {"a1": True, "b1": False, "c1": True}


def test_of_a_table_that_others_could_have_written_nobody_is_taken_over(place: GatewayCommand) -> None:
    place.sandbox.add_user("c1")
    file = table_of_a_host(place, "carol: c1\n", 0o666)
    assert "chmod" in place.said("user", "import", file, status=1)
    assert place.names == ["alice", "bob"]


def test_without_iampass_nobody_is_taken_over(place: GatewayCommand) -> None:
    place.sandbox.add_user("c1")
    place.sandbox.misbehave("has_device", HttpStatus(503), times=None)
    file = table_of_a_host(place, "carol: c1\n")
    assert "IAMPASS did not answer" in place.said("user", "import", file, status=1)
    assert place.names == ["alice", "bob"]

"""People from LDAP, from a real slapd: people who join, change, leave and return; and what changes nothing."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pam_iampass.gateway.acts.act import perform
from pam_iampass.gateway.acts.phones import ReportLostPhone
from pam_iampass.gateway.base.settings import load
from pam_iampass.gateway.check import restored
from pam_iampass.gateway.people import directory, people
from pam_iampass.gateway.people.people import Person, PersonStatus, Source
from tests.gateway.test_acts import ROOT
from tests.gateway.test_user_command import words
from tests.support.folders import put
from tests.support.gateway import HOST, HostCaller, RunningGateway, settings_for
from tests.support.gateway_command import GatewayCommand
from tests.support.sandbox import HttpStatus
from tests.support.slapd import GROUPS, PEOPLE, READER, READERS_PASSWORD, SUFFIX, Slapd
from tests.support.world import wait_until

NUMBER = "+15551234567"
NO_ANSWER, TOO_MANY = 3, 4


@pytest.fixture
def slapd() -> Iterator[Slapd]:
    server = Slapd(Path(tempfile.mkdtemp()))
    try:
        yield server
    finally:
        server.remove()


class Place(GatewayCommand):
    """A gateway with a directory."""

    slapd: Slapd

    def use(self, **changes: str) -> None:
        """Write the settings of the directory, with changes of single keys."""
        keys = {
            "url": self.slapd.url,
            "ca_file": f"{self.folder}/ldap-ca.pem",
            "bind_dn": f'"{READER}"',
            "password_file": f"{self.folder}/directory-password",
            "base": f'"{PEOPLE}"',
            "groups_base": f'"{GROUPS}"',
            **changes,
        }
        lines = [f"  {key}: {value}\n" for key, value in keys.items() if value]
        self.configure(f"directory:\n{''.join(lines)}")

    def sync(self, *arguments: str, status: int = 0) -> Any:
        """What it says in JSON."""
        return self.told("user", "sync", *arguments, status=status)

    def people(self) -> dict[str, Person]:
        return {name: self.person(name) for name in self.names}


@pytest.fixture
def place(gateway_command: GatewayCommand, slapd: Slapd) -> Place:
    """A gateway and a directory with alice and bob, alice in a group."""
    place = gateway_command
    place.__class__ = Place
    assert isinstance(place, Place)
    place.slapd = slapd
    put(place.folder / "directory-password", READERS_PASSWORD + "\n", 0o600)
    shutil.copy(slapd.folder / "ca.pem", place.folder / "ldap-ca.pem")
    place.use()
    slapd.add_person("alice", mobile=NUMBER)
    slapd.add_person("bob")
    slapd.add_group("staff", "alice")
    return place


def test_people_join_with_their_groups_and_random_tokens(place: Place) -> None:
    shown = place.said("user", "sync")
    assert words(shown)[:3] == [
        ["USER", "CHANGE"],
        ["alice", "joins", "groups", "staff"],
        ["bob", "joins", "no", "groups"],
    ]
    alice, bob = place.people().values()
    assert (alice.groups, alice.display_name, alice.phone_number) == (("staff",), "Alice", NUMBER)
    assert alice.source is bob.source is Source.LDAP
    assert set(place.sandbox.users) == {alice.token, bob.token}
    assert len(alice.token) == 22
    assert place.sent == []
    assert ("user_add", "alice", "from the directory: groups staff") in place.records
    assert "nothing changes" in place.said("user", "sync")
    assert place.people() == {"alice": alice, "bob": bob}


def test_a_dry_run_changes_nothing(place: Place) -> None:
    found = place.sync("--dry-run")
    assert (found["joining"], found["changed"]) == (["alice", "bob"], False)
    assert place.names == []
    assert place.sandbox.users == {}


def test_changes_are_taken_over_and_neither_name_nor_number_stands_in_the_records(place: Place) -> None:
    place.sync()
    before = place.person("alice")
    place.slapd.change("alice", "cn", "Alice Again")
    place.slapd.change("alice", "mobile", "+442012345678")
    place.slapd.add_group("oncall", "alice", "bob")
    found = place.sync()
    assert found["changing"] == ["alice", "bob"]
    after = place.person("alice")
    assert (after.groups, after.display_name) == (("oncall", "staff"), "Alice Again")
    assert (after.phone_number, after.token) == ("+442012345678", before.token)
    assert place.records[-2:] == [
        (
            "user_change",
            "alice",
            "by the directory: groups staff to oncall, staff; display name; phone number",
        ),
        ("user_change", "bob", "by the directory: groups none to oncall"),
    ]


def test_who_leaves_cannot_log_in_and_is_removed_after_the_grace_time(place: Place) -> None:
    place.sync()
    token = place.person("bob").token
    place.slapd.delete("bob")
    assert re.search(
        r"bob +leaves +logins are denied; removed at IAMPASS after 20", place.said("user", "sync")
    )
    assert place.person("bob").status is PersonStatus.LEAVING
    assert place.records[-1] == ("user_leave", "bob", "logins are denied from now on; sessions to end: 0")
    assert token in place.sandbox.users
    assert place.sync()["removed"] == []
    place.use(grace="0s")
    assert place.sync()["removed"] == ["bob"]
    assert place.names == ["alice"]
    assert token not in place.sandbox.users


def test_who_returns_in_time_has_the_same_phone(place: Place) -> None:
    place.sync()
    before = place.person("bob")
    # Another filter, rather than another entry, which would be another person.
    place.use(filter="(&(objectClass=inetOrgPerson)(!(uid=bob)))")
    assert place.sync()["leaving"] == ["bob"]
    place.use()
    assert place.sync()["returning"] == ["bob"]
    after = place.person("bob")
    assert (after.token, after.status) == (before.token, PersonStatus.ACTIVE)
    assert place.records[-1][:2] == ("user_return", "bob")


def test_a_person_who_is_renamed_joins_under_the_new_name_and_leaves_under_the_old_one(place: Place) -> None:
    place.sync()
    token = place.person("bob").token
    place.slapd.rename("bob", "robert")
    found = place.sync()
    assert (found["joining"], found["leaving"]) == (["robert"], ["bob"])
    assert place.person("bob").status is PersonStatus.LEAVING
    assert place.person("robert").token != token
    place.said("user", "remove", "bob", "--yes")
    assert place.names == ["alice", "robert"]
    assert "nothing changes" in place.said("user", "sync")


@pytest.mark.parametrize("between", [True, False])
def test_another_person_of_the_same_name_gets_neither_token_nor_phone(place: Place, between: bool) -> None:
    place.sync()
    old = place.person("bob").token
    place.sandbox.add_user(old)
    place.slapd.delete("bob")
    if between:
        place.sync()
    place.slapd.add_person("bob")
    assert place.sync()["replaced"] == ["bob"]
    new = place.person("bob").token
    assert new != old
    assert old not in place.sandbox.users
    assert place.sandbox.users[new] is False


def test_local_people_are_left_alone(place: Place) -> None:
    place.said("user", "add", "bob", "--group", "local")
    place.said("user", "add", "zoe")
    before = place.people()
    found = place.sync(status=1)
    assert found["joining"] == ["alice"]
    assert ["was added here, and is left alone" in problem for problem in found["problems"]] == [True]
    after = place.people()
    assert {name: after[name] for name in before} == before


def test_a_name_that_stands_twice_is_nobodys_and_both_entries_are_named(place: Place) -> None:
    place.sync()
    before = place.person("bob")
    dn = place.slapd.add_person("BOB", rdn="cn=other")
    place.slapd.add_person("carol", rdn="cn=one")
    place.slapd.add_person("carol", rdn="cn=two")
    place.slapd.add_group("admins", dn)
    found = place.sync(status=1)
    text = "\n".join(found["problems"])
    for part in (f"uid=bob,{PEOPLE}", dn, f"cn=one,{PEOPLE}", f"cn=two,{PEOPLE}"):
        assert part in text
    assert place.people() == {"alice": place.person("alice"), "bob": before}


@pytest.mark.parametrize("own", ["ALICE", "\uff41lice", "alice ", " alice"])
def test_a_name_that_a_directory_does_not_tell_from_another_one_is_nobodys(place: Place, own: str) -> None:
    """A person who can write their own `uid` writes that of another one, but for case, form or spaces."""
    place.slapd.add_person(own, rdn="cn=other")
    found = place.sync(status=1)
    assert found["joining"] == ["bob"]
    assert "stands twice" in found["problems"][0]


def test_names_differ_by_what_a_directory_tells_apart(place: Place) -> None:
    for name in ("strasse", "*", "a)(uid=*", "\u0430lice"):  # the last one with a Cyrillic letter
        place.slapd.add_person(name, rdn=f"cn=of {len(name)}")
    place.slapd.add_posix_group("admins", "bob")
    place.use(groups_attribute="null", groups_filter="(objectClass=posixGroup)", groups_member="memberUid")
    place.sync()
    assert [name for name, person in place.people().items() if person.groups] == ["bob"]
    assert len(place.names) == 6


def test_nobody_is_in_the_groups_of_an_entry_whose_dn_is_another_one_for_the_directory(place: Place) -> None:
    place.slapd.add_person("strasse", rdn="cn=strasse")
    place.slapd.add_person("mallory", rdn="cn=stra\u00dfe")
    place.slapd.add_group("admins", f"CN=Strasse,{PEOPLE}")
    place.use(groups_attribute="null")
    place.sync()
    assert place.person("strasse").groups == ("admins",)
    assert place.person("mallory").groups == ()


def test_who_claims_another_name_gets_nothing_and_keeps_nobody_here(place: Place) -> None:
    """A person who can write their own `uid` adds that of another one, who leaves."""
    place.sync()
    place.slapd.delete("alice")
    place.slapd.change("bob", "uid", "bob", "alice")
    found = place.sync(status=1)
    assert found["leaving"] == ["alice"]
    assert "has more than one uid" in found["problems"][0]
    assert place.person("bob").status is PersonStatus.ACTIVE


@pytest.mark.parametrize("name", ["..", "a/b", "x" * 257])
def test_what_is_no_name_does_not_keep_the_others(place: Place, name: str) -> None:
    place.slapd.add_person(name, rdn="cn=strange")
    found = place.sync(status=1)
    assert found["joining"] == ["alice", "bob"]
    assert f"cn=strange,{PEOPLE}" in found["problems"][0]
    assert place.names == ["alice", "bob"]


def test_groups_elsewhere_do_not_count(place: Place) -> None:
    """A person may be allowed to make groups in a part of the directory."""
    place.slapd.add_folder(f"ou=own,{SUFFIX}")
    place.slapd.add_group("admins", "bob", under=f"ou=own,{SUFFIX}")
    place.slapd.add_folder(f"ou=groups,ou=own,{SUFFIX}")
    place.slapd.add_group("staff", "bob", under=f"ou=groups,ou=own,{SUFFIX}")
    place.sync()
    assert place.person("bob").groups == ()


def test_of_two_groups_of_one_name_none_counts(place: Place) -> None:
    place.slapd.add_folder(f"ou=below,{GROUPS}")
    dn = place.slapd.add_group("Staff", "bob", under=f"ou=below,{GROUPS}")
    found = place.sync(status=1)
    assert place.person("alice").groups == place.person("bob").groups == ()
    assert f"cn=staff,{GROUPS}" in found["problems"][0]
    assert dn in found["problems"][0]


@pytest.mark.parametrize("kind", ["names", "members"])
def test_groups_can_be_searched(place: Place, kind: str) -> None:
    if kind == "names":
        place.slapd.add_posix_group("admins", "bob", "nobody")
        place.use(
            groups_attribute="null", groups_filter="(objectClass=posixGroup)", groups_member="memberUid"
        )
    else:
        place.slapd.add_group("admins", f"UID=bob, {PEOPLE.upper()}")
        place.use(groups_attribute="null")
    place.sync()
    assert place.person("bob").groups == ("admins",)
    assert place.person("alice").groups == (() if kind == "names" else ("staff",))


def test_without_a_base_of_groups_nobody_is_in_any(place: Place) -> None:
    place.use(groups_base="")
    place.sync()
    assert place.person("alice").groups == ()


def test_names_in_lower_case_and_numbers_that_cannot_be_used(place: Place) -> None:
    place.slapd.add_person("JDoe", mobile="030 1234567")
    place.use(lower_case="true")
    found = place.sync()
    assert place.person("jdoe").phone_number is None
    assert "jdoe has no usable phone number" in found["notes"][0]


def test_many_people_come_in_pages(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        place.slapd.add_person(f"user{number}")
    place.slapd.stop()
    place.slapd.start("sizelimit size.soft=7 size.hard=7 size.pr=7 size.prtotal=unlimited")
    monkeypatch.setattr(directory, "_PAGE", 7)
    assert len(place.sync()["joining"]) == 22


# What changes nothing


@pytest.fixture
def known(place: Place) -> Place:
    """The directory was read before."""
    place.sync()
    return place


def unchanged(place: Place, what: str, status: int = NO_ANSWER) -> None:
    before = place.people()
    shown = place.said("user", "sync", status=status)
    assert what in shown
    assert "Nothing was changed" in shown
    assert place.people() == before


def test_a_server_that_is_away(known: Place) -> None:
    known.slapd.stop()
    unchanged(known, "Can't contact LDAP server")


def test_a_server_that_says_nothing(known: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        known.use(url=f"ldaps://127.0.0.1:{silent.getsockname()[1]}")
        unchanged(known, "Can't contact LDAP server")


@pytest.mark.parametrize("limit", ["sizelimit 1", "sizelimit size.soft=unlimited size.hard=1 size.prtotal=1"])
def test_an_answer_that_was_cut_off(known: Place, limit: str) -> None:
    known.slapd.stop()
    known.slapd.start(limit)
    unchanged(known, "limit exceeded")


def test_an_empty_answer(known: Place) -> None:
    known.use(filter="(objectClass=account)")
    unchanged(known, "knows no entry that matches (objectClass=account)")
    known.use(groups_attribute="null", groups_filter="(objectClass=account)")
    unchanged(known, "knows no entry that matches (objectClass=account)")


def test_a_referral(known: Place) -> None:
    known.slapd.add_referral("ldap://127.0.0.1:1/ou=far,dc=example,dc=com")
    unchanged(known, "refers to another one")
    known.use(base=f'"ou=far,{PEOPLE}"')
    unchanged(known, "Referral")


def test_a_base_that_does_not_exist_and_a_wrong_password(known: Place) -> None:
    known.use(base=f'"ou=nowhere,{SUFFIX}"')
    unchanged(known, "No such object")
    known.use()
    put(known.folder / "directory-password", "wrong\n", 0o600)
    unchanged(known, "Invalid credentials")
    put(known.folder / "directory-password", "\n", 0o600)
    unchanged(known, "is empty")
    put(known.folder / "directory-password", READERS_PASSWORD, 0o644)
    unchanged(known, "every user can access")


@pytest.mark.parametrize("url", ["ldaps", "start_tls"])
def test_a_certificate_that_is_not_trusted(known: Place, url: str) -> None:
    other = Slapd(Path(tempfile.mkdtemp()), "ldap.example.com")
    try:
        changes = {"url": other.plain_url, "start_tls": "true"} if url == "start_tls" else {"url": other.url}
        known.use(**changes)  # another CA
        unchanged(known, "ldap")
        shutil.copy(other.folder / "ca.pem", known.folder / "ldap-ca.pem")
        unchanged(known, "ldap")  # another name
        # libldap reads the environment when it is loaded.
        command = ["/usr/bin/python3", "-m", "pam_iampass.gateway.cli", "user", "sync", "--config"]
        done = subprocess.run(
            [*command, str(known.config)],
            env={"LDAPTLS_REQCERT": "never"},
            stderr=subprocess.PIPE,
            check=False,
        )
        assert done.returncode == NO_ANSWER
        assert b"Nothing was changed: ldap" in done.stderr
    finally:
        other.remove()


def test_start_tls(place: Place) -> None:
    place.use(url=place.slapd.plain_url, start_tls="true")
    assert place.sync()["joining"] == ["alice", "bob"]


def test_a_server_without_tls_is_told_no_password(known: Place) -> None:
    known.use(url=known.slapd.plain_url)
    shown = known.said("user", "sync", status=1)
    assert "is not encrypted" in shown
    assert "start_tls: true" in shown


@pytest.mark.parametrize(
    "more", [{"url": "ldapi:///"}, {"url": ""}, {"base": ""}, {"filter": "uid=*"}, {"name": "a b"}]
)
def test_settings_that_are_wrong(place: Place, more: dict[str, str]) -> None:
    place.use(**more)
    assert f"directory.{next(iter(more))}" in place.said("user", "sync", status=1)


def test_more_than_a_tenth_and_than_three_leave_only_if_told(known: Place) -> None:
    for number in range(20):
        known.slapd.add_person(f"user{number}")
    known.sync()
    known.slapd.delete("bob", "user1", "user2")
    assert len(known.sync()["leaving"]) == 3
    known.slapd.delete("user3", "user4", "user5", "user6")
    before = known.people()
    found = known.sync(status=TOO_MANY)
    assert (found["changed"], found["losing"]) == (False, 4)
    assert "user sync --remove 4" in known.said("user", "sync", "--remove", "3", status=TOO_MANY)
    assert known.people() == before
    assert len(known.sync("--remove", "4")["leaving"]) == 4


def test_groups_that_go_for_many_are_a_loss_too(known: Place) -> None:
    for number in range(5):
        known.slapd.add_person(f"user{number}")
    known.slapd.add_group("oncall", *(f"user{number}" for number in range(5)))
    known.sync()
    known.slapd.delete(f"cn=oncall,{GROUPS}")
    assert known.sync(status=TOO_MANY)["losing"] == 5


def test_a_row_that_no_gateway_has_written_is_left_and_named(known: Place) -> None:
    known.rows("UPDATE person SET groups = '{admins}' WHERE name = 'bob'")
    found = known.sync(status=1)
    assert found["problems"] == ['the row of "bob" was not written by a gateway']


# IAMPASS


def test_messages_are_sent_at_once_if_the_settings_say_so(place: Place) -> None:
    place.use(invite="at_once")
    place.sync()
    assert place.sent == [(place.person("alice").token, NUMBER)]
    place.sync()
    assert len(place.sent) == 1


def test_where_iampass_is_away_access_is_taken_and_the_rest_goes_on_later(known: Place) -> None:
    token = known.person("bob").token
    known.slapd.delete("bob")
    known.slapd.add_person("carol")
    known.sandbox.misbehave("add_users", HttpStatus(503), times=None)
    known.sandbox.misbehave("delete_users", HttpStatus(503), times=None)
    shown = known.said("user", "sync", status=1)
    assert "run the same command again to continue" in shown
    assert known.person("bob").status is PersonStatus.LEAVING
    assert known.names == ["alice", "bob"]
    known.use(grace="0s")
    known.said("user", "sync", status=1)
    assert known.person("bob").status is PersonStatus.REMOVING
    known.sandbox.behave()
    assert known.sync()["removed"] == ["bob"]
    assert known.names == ["alice", "carol"]
    assert token not in known.sandbox.users


def test_without_a_directory_there_is_nothing_to_do(gateway_command: GatewayCommand) -> None:
    assert "names no directory" in gateway_command.said("user", "sync", status=1)


@contextmanager
def _gateway(place: Place, folder: Path) -> Iterator[RunningGateway]:
    """With the settings of the directory, and a host."""
    found = load(place.config).directory
    settings = settings_for(
        place.conninfo, place.sandbox, folder, key=bytes.fromhex("5a" * 32), directory=found
    )
    with RunningGateway(settings) as running:
        running.add_host(HOST)
        yield running


def _logs_in(place: Place, folder: Path, *names: str, messages: int, alerts: int = 0) -> list[str]:
    """A host's answer, if its gateway sends `messages` in all and has `alerts` of this."""
    with _gateway(place, folder) as running:
        host = HostCaller(running)
        reasons = [host.ask(name).authentication["reason"] for name in names]
        if messages:
            place.sandbox.wait_for_calls("registration_sms", messages)
        told = "SELECT 1 FROM record WHERE kind = 'alert' AND fields->>'reason' ~ 'no more messages'"
        wait_until(lambda: len(place.rows(told)) == alerts, "it is not so many alerts")
    return reasons


def test_who_logs_in_and_has_no_phone_is_sent_a_message_once_an_hour(place: Place, tmp_path: Path) -> None:
    place.use(invite="first_login")
    place.sync()
    place.said("user", "add", "local", "--phone", "+442012345678")
    reasons = _logs_in(place, tmp_path, "alice", "bob", "local", "alice", messages=1)
    assert reasons == ["NO_MOBILE_DEVICE"] * 4
    token = place.person("alice").token
    assert place.sent == [(token, NUMBER)]
    assert place.sandbox.messages[0].display_name == "Alice"
    place.rows("UPDATE record SET at = at - interval '61 minutes'")
    place.rows("DELETE FROM host")
    _logs_in(place, tmp_path, "alice", messages=2)
    assert place.sent == [(token, NUMBER)] * 2


@pytest.mark.parametrize("after", ["a lost phone", "an old copy of the database"])
def test_the_finder_of_a_lost_phone_who_logs_in_is_sent_no_link(
    place: Place, tmp_path: Path, after: str
) -> None:
    place.use(invite="first_login")
    place.sync()
    with _gateway(place, tmp_path) as running:
        if after == "a lost phone":
            running.run(perform(running.gateway, ROOT, ReportLostPhone("alice")))
        else:
            running.transaction(restored.begin)
            void = running.transaction(restored.confirm)
            assert any("directory.invite: first_login" in each for each in void)
        assert HostCaller(running).ask("alice").authentication["reason"] == "NO_MOBILE_DEVICE"
        wait_until(lambda: not running.gateway.inviting, "it still looks whether a message is to be sent")
    assert place.sent == []


@pytest.mark.parametrize("invite", ["first_login", "at_once"])
def test_whoever_deletes_the_row_of_a_person_in_the_database_has_no_link_sent_to_a_lost_phone(
    place: Place, tmp_path: Path, invite: str
) -> None:
    place.use(invite="never")
    place.sync()
    place.use(invite=invite)
    with _gateway(place, tmp_path) as running:
        running.run(perform(running.gateway, ROOT, ReportLostPhone("alice")))
    place.rows("DELETE FROM person WHERE name = 'alice'")
    place.slapd.add_person("carol", mobile="+15557654321")
    problem = (
        "rows of people were deleted in the database: nobody is added (pam-iampass-gateway user sync --help)"
    )
    assert place.sync("--dry-run", status=1)["problems"] == [problem]
    for _ in range(2):
        found = place.sync(status=1)
        assert (found["joining"], found["problems"]) == ([], [problem])
        assert place.names == ["bob"]
    told = "SELECT count(*) AS alerts FROM record WHERE kind = 'alert' AND fields->>'reason' = %s"
    assert place.rows(told, problem) == [{"alerts": 1}]
    assert len(place.sandbox.users) == 2, "nobody is added at IAMPASS"
    place.said("user", "add", "alice")  # by hand, and deleted once more
    place.rows("DELETE FROM person WHERE name = 'alice'")
    assert place.sync(status=1)["problems"] == [problem]
    assert place.sync("--accept-missing")["joining"] == ["alice", "carol"]
    assert place.sync()["problems"] == []
    place.rows("DELETE FROM host")
    _logs_in(place, tmp_path, "alice", "carol", messages=0)
    assert place.sent == []


def test_an_old_row_of_an_account_that_was_put_back_takes_nothing_from_the_person_of_that_name(
    place: Place,
) -> None:
    place.said("user", "add", "zoe")
    place.said("user", "add", "bob", "--acts-for", "zoe")
    assert (place.sync()["joining"], place.names) == (["alice"], ["alice", "zoe"])
    place.rows("CREATE TABLE old AS SELECT * FROM agent")
    place.said("user", "remove", "bob", "--yes")
    assert place.sync()["joining"] == ["bob"]
    before = place.people()
    place.rows("INSERT INTO agent SELECT * FROM old")
    found = place.sync(status=1)
    assert (found["leaving"], len(found["problems"])) == ([], 1)
    assert place.people() == before


def test_a_row_of_an_account_that_no_gateway_has_written_adds_nobody_at_iampass(place: Place) -> None:
    place.said("user", "add", "zoe")
    place.said("user", "add", "bob", "--acts-for", "zoe")
    place.rows("UPDATE agent SET groups = '{root}'")
    assert place.sync()["joining"] == ["alice"]
    assert len(place.sandbox.users) == 2


def test_a_person_whose_row_was_changed_in_the_database_is_missing_once_it_is_removed(place: Place) -> None:
    place.sync()
    place.rows("UPDATE person SET groups = '{root}' WHERE name = 'alice'")
    assert "was not written by a gateway" in str(place.sync(status=1)["problems"])
    place.said("user", "remove", "--yes", "alice")
    assert "rows of people were deleted" in str(place.sync(status=1)["problems"])
    assert place.names == ["bob"]


def _one_message_for_two(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alice and carol have no phone yet, and a host may have one message sent."""
    monkeypatch.setattr(people, "_MESSAGES_OF_HOST", 1)
    place.use(invite="first_login")
    place.slapd.add_person("carol", mobile="+15557654321")
    place.sync()


def test_one_host_has_few_messages_sent_and_then_there_is_an_alert(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _one_message_for_two(place, monkeypatch)
    _logs_in(place, tmp_path, "alice", "carol", messages=1, alerts=1)
    assert len(place.sent) == 1


def test_logins_at_the_same_moment_do_not_have_more_messages_sent(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _one_message_for_two(place, monkeypatch)
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ~ 'invited'"
    with _gateway(place, tmp_path) as running, ThreadPoolExecutor() as pool:
        with psycopg.connect(place.conninfo) as holder:
            holder.execute(
                "LOCK TABLE record IN SHARE MODE"
            )  # nobody has written yet that a message was sent
            sending = [
                pool.submit(
                    running.run, people.invite(running.gateway, place.person(name), f"name-of-{HOST}")
                )
                for name in ("alice", "carol")
            ]
            wait_until(lambda: len(running.rows(waiting)) == 2, "both do not wait")
        assert sorted(each.result() for each in sending) == [False, True]
    assert len(place.sent) == 1


def test_nobody_is_sent_a_message_unless_the_settings_say_so(place: Place, tmp_path: Path) -> None:
    place.sync()
    assert _logs_in(place, tmp_path, "alice", messages=0) == ["NO_MOBILE_DEVICE"]
    assert place.sent == []

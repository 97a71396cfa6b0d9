"""`pam-iampass-gateway enroll`, as an administrator types it."""

from __future__ import annotations

import re

import pytest

from pam_iampass.gateway.base.connection import Connection
from pam_iampass.gateway.base.gateway import Gateway
from pam_iampass.gateway.people import people
from pam_iampass.gateway.people.people import Person, Source
from tests.support.gateway_command import GatewayCommand
from tests.support.qr_reader import read_codes
from tests.support.sandbox import HttpStatus

NUMBER = "+15551234567"
CTRL_C = "\x03"


@pytest.fixture
def place(gateway_command: GatewayCommand) -> GatewayCommand:
    return gateway_command


def test_the_code_on_the_screen_registers_the_phone(place: GatewayCommand) -> None:
    terminal = place.typed("enroll", "alice", "--group", "staff")
    terminal.expect("Waiting for the phone of alice, 9:[0-9][0-9] left")
    alice = place.person("alice")
    assert alice.groups == ("staff",)
    assert place.sandbox.users[alice.token] is False
    (code,) = read_codes(terminal.shown.partition("Waiting")[0], light=False)
    place.sandbox.open_link(code)
    terminal.expect("The phone of alice is registered")
    assert terminal.finish() == 0
    assert place.sandbox.users[alice.token] is True
    assert "alice is new at IAMPASS." in terminal.shown
    assert alice.token not in terminal.shown
    assert place.records == [
        ("user_add", "alice", "groups staff"),
        ("enroll", "alice", "IAMPASS is asked for a link"),
    ]


def test_ctrl_c_stops_waiting_and_the_same_command_goes_on(place: GatewayCommand) -> None:
    terminal = place.typed("enroll", "alice")
    terminal.expect("Waiting for the phone")
    terminal.send(CTRL_C)
    assert terminal.finish() == 130
    assert "To check, or to get a new link: pam-iampass-gateway enroll alice" in terminal.shown
    assert "until then: pam-iampass-gateway recovery new alice" in terminal.shown
    assert "Traceback" not in terminal.shown
    token = place.person("alice").token
    again = place.said("enroll", "alice", "--no-wait")
    assert "alice is already known at IAMPASS." in again
    assert place.person("alice").token == token
    place.sandbox.add_user(token)
    assert "alice already has a phone." in place.said("enroll", "alice")


def test_the_link_is_sent_and_the_number_is_kept(place: GatewayCommand) -> None:
    found = place.told("enroll", "alice", "--sms", NUMBER, "--no-wait", "--display-name", "Alice A.")
    alice = place.person("alice")
    assert place.sent == [(alice.token, NUMBER)]
    assert (alice.phone_number, alice.display_name) == (NUMBER, "Alice A.")
    assert found == {
        "ok": True,
        "user": "alice",
        "registered": False,
        "added": True,
        "file": None,
        "link": None,
        "message_to": NUMBER,
    }
    place.said("enroll", "alice", "--send", "--no-wait")
    assert place.sent == [(alice.token, NUMBER)] * 2
    assert place.sandbox.messages[-1].display_name == "Alice A."
    assert "not known here" in place.said("enroll", "bob", "--send", status=1)
    place.said("user", "add", "bob")
    assert "no phone number of bob is known" in place.said("enroll", "bob", "--send", status=1)


def test_a_number_for_a_person_who_is_there_is_for_this_message_only(place: GatewayCommand) -> None:
    async def add(gateway: Gateway, connection: Connection) -> None:
        await people.add(gateway, connection, Person("alice", "a1", source=Source.LDAP, phone_number=NUMBER))

    place.transaction(add)
    place.said("enroll", "alice", "--sms", "+442012345678", "--no-wait")
    assert place.sent == [("a1", "+442012345678")]
    assert place.person("alice").phone_number == NUMBER


TEAM = ("alice,Alice A.,+15551234567,staff|oncall", "bob,,,staff", "carol,,+442012345678,")


def test_a_file_enrolls_everybody_once(place: GatewayCommand) -> None:
    shown = place.said("enroll", "--from", place.csv(*TEAM))
    tokens = {name: place.person(name).token for name in ("alice", "bob", "carol")}
    assert place.person("alice").groups == ("staff", "oncall")
    assert place.sent == [(tokens["alice"], NUMBER), (tokens["carol"], "+442012345678")]
    assert re.search(r"bob +has to open https://", shown)
    assert "3 users: 2 were sent a message, 1 has a link to open." in shown
    place.sandbox.add_user(tokens["alice"])
    again = place.told("enroll", "--from", place.csv(*TEAM))
    assert [(each["state"], each["link"]) for each in again["users"]] == [
        ("registered", None),
        ("no_phone", None),
        ("no_phone", None),
    ]
    assert len(place.sent) == 2
    assert re.search(
        r"bob +has to open https://", place.said("enroll", "--from", place.csv(*TEAM), "--resend")
    )
    assert {name: place.person(name).token for name in tokens} == tokens


def test_a_run_that_was_stopped_goes_on_where_it_was(place: GatewayCommand) -> None:
    place.said("enroll", "bob", "--no-wait")
    place.sandbox.misbehave("add_users", HttpStatus(503), times=None)
    shown = place.said("enroll", "--from", place.csv(*TEAM), status=1)
    assert re.search(r"alice +failed", shown)
    assert re.search(r"carol +not tried yet", shown)
    assert "Stopped:" in shown
    assert place.names == ["bob"]
    place.sandbox.behave()
    place.said("enroll", "--from", place.csv(*TEAM), "--replace")
    assert [number for _, number in place.sent] == [NUMBER, "+442012345678"]


def test_a_message_that_may_have_been_sent_is_sent_again_only_if_told(place: GatewayCommand) -> None:
    place.sandbox.misbehave("registration_sms", HttpStatus(503))
    place.said("enroll", "--from", place.csv(TEAM[0]), status=1)
    assert "has no phone yet" in place.said("enroll", "--from", place.csv(TEAM[0]))
    assert place.sent == []
    place.said("enroll", "--from", place.csv(TEAM[0]), "--resend")
    assert len(place.sent) == 1


def test_a_link_that_was_not_made_is_made_by_the_next_run(place: GatewayCommand) -> None:
    place.sandbox.misbehave("registration_link", HttpStatus(503), times=None)
    place.said("enroll", "--from", place.csv(TEAM[1]), status=1)
    place.sandbox.behave()
    assert "1 has a link to open" in place.said("enroll", "--from", place.csv(TEAM[1]))


def test_a_database_that_goes_away_stops_the_run_and_says_who_is_left(place: GatewayCommand) -> None:
    place.rows("ALTER TABLE person ADD CHECK (name <> 'bob')")
    found = place.told("enroll", "--from", place.csv(*TEAM), status=1)
    assert [each["state"] for each in found["users"]] == ["message_sent", "failed", "not_tried"]
    assert "the database refuses this" in found["stopped"]


def test_other_groups_in_the_file_need_to_be_confirmed(place: GatewayCommand) -> None:
    place.said("enroll", "--from", place.csv("alice,,,staff"))
    changed = place.csv("alice,,,admins", "bob,,,staff")
    shown = place.said("enroll", "--from", changed, status=1)
    assert "already exists, with groups staff" in shown
    assert place.person("alice").groups == ("staff",)
    assert place.names == ["alice", "bob"]
    place.said("enroll", "--from", changed, "--replace")
    assert place.person("alice").groups == ("admins",)
    place.said("enroll", "--from", place.csv("alice,,,"))
    assert place.person("alice").groups == ("admins",)


def test_a_group_of_the_command_is_given_to_everybody_in_the_file(place: GatewayCommand) -> None:
    for _ in range(2):
        place.said("enroll", "--from", place.csv("alice,,,oncall", "bob,,,"), "--group", "staff")
    assert [place.person(name).groups for name in ("alice", "bob")] == [("oncall", "staff"), ("staff",)]


def test_errors_of_the_file_are_all_said_and_nobody_is_enrolled(place: GatewayCommand) -> None:
    shown = place.said(
        "enroll", "--from", place.csv("alice,,555,staff", "..,,,", "bob,,,a/b", "bob,,,"), status=1
    )
    for expected in ("is not a phone number", "has a name that contains a slash", "is already in line"):
        assert expected in shown
    assert place.names == []


def test_a_token_in_the_file_is_an_error(place: GatewayCommand) -> None:
    (place.folder / "team.csv").write_text("user,token\nalice,mine\n")
    assert '"token" is not a known column' in place.said(
        "enroll", "--from", str(place.folder / "team.csv"), status=1
    )


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("alice", "--from", "/dev/null"),
        ("--from", "/dev/null", "--send"),
        ("alice", "--resend"),
        ("alice", "--sms", NUMBER, "--send"),
        ("alice", "--message", "hi"),
    ],
)
def test_wrong_usage(place: GatewayCommand, arguments: tuple[str, ...]) -> None:
    place.said("enroll", *arguments, status=2)
    assert place.names == []

"""`pam-iampass-gateway enroll --from FILE --mail`: links by mail, each person one at most, whatever happens."""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pam_iampass.gateway.cli import command_gateway
from pam_iampass.gateway.cli.mailing import SendmailMailer
from tests.packages.typed_page import TypedPage
from tests.support.fake_sendmail import FakeSendmail, no_sendmail
from tests.support.folders import put
from tests.support.gateway_command import GatewayCommand
from tests.support.world import wait_until

TEAM = ("alice,+15551234567,alice@example.com", "bob,,bob.b+x@mail.example.org", "carol,+442012345678,")
LINK = re.compile(r"https://\S+")


@pytest.fixture
def sendmail(tmp_path: Path) -> Iterator[FakeSendmail]:
    folder = tmp_path / "spool"
    folder.mkdir()
    fake = FakeSendmail(folder)
    with no_sendmail():
        fake.install()
        yield fake


def csv(place: GatewayCommand, *lines: str, name: str = "team.csv") -> tuple[str, str]:
    """The options for a file of people with mail addresses."""
    content = "\n".join(["user,phone,mail", *lines]) + "\n"
    return "--from", str(put(place.folder / name, content))


def states(place: GatewayCommand, *options: str, status: int = 0) -> list[str]:
    found = place.told("enroll", *options, "--mail", status=status)
    assert all(each["link"] is None or each["state"] == "link" for each in found["users"])
    return [each["state"] for each in found["users"]]


def kept(place: GatewayCommand) -> str:
    """Everything that the database and the records have in the clear."""
    return str(place.rows("SELECT * FROM record") + place.rows("SELECT * FROM mailed"))


def test_each_person_is_sent_their_own_link_once(
    gateway_command: GatewayCommand, sendmail: FakeSendmail, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = gateway_command
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    sender = ("--sender", "it@example.com", "--message", "Grüße aus der IT: das ist angekündigt.")
    shown = place.said("enroll", *csv(place, *TEAM), "--mail", *sender)
    assert "3 users: 1 was sent a message, 2 were sent a mail." in shown
    assert sendmail.arguments == [
        ["-i", "-f", "it@example.com", "--", "alice@example.com"],
        ["-i", "-f", "it@example.com", "--", "bob.b+x@mail.example.org"],
    ]
    assert "hunter2" not in (sendmail.folder / "environment").read_text()
    for name, mail in zip(("alice", "bob"), sendmail.mails):
        assert mail["From"] == "it@example.com"
        assert [mail["To"]] == [sendmail.recipients[("alice", "bob").index(name)]]
        text = mail.get_content()
        assert text.startswith("Grüße aus der IT")
        assert f"Hello {name}," in text
        (link,) = LINK.findall(text)
        assert link not in shown + kept(place)
        token = place.person(name).token
        assert token not in text
    place.sandbox.open_link(link)
    assert place.sandbox.users[place.person("bob").token] is True
    assert [number for _, number in place.sent] == ["+442012345678"]
    assert "example.com" in kept(place), "the record says where the link went"
    assert "alice@" not in kept(place)
    assert (
        "enroll",
        "bob",
        "sendmail is given the link, for an address at mail.example.org",
    ) in place.records
    assert states(place, *csv(place, *TEAM)) == ["no_phone", "registered", "no_phone"]
    assert len(sendmail.mails) == 2


def test_people_who_were_there_before_are_mailed_once_if_they_have_no_phone(
    gateway_command: GatewayCommand, sendmail: FakeSendmail
) -> None:
    place = gateway_command
    for name in ("alice", "bob"):
        place.said("user", "add", name)
    place.sandbox.add_user(place.person("alice").token)
    assert states(place, *csv(place, *TEAM[:2])) == ["registered", "mailed"]
    assert states(place, *csv(place, *TEAM[:2])) == ["registered", "no_phone"]
    assert sendmail.recipients == ["bob.b+x@mail.example.org"]
    assert states(place, *csv(place, TEAM[1]), "--resend") == ["mailed"]
    place.said("user", "remove", "bob", "--yes")
    assert states(place, *csv(place, TEAM[1])) == ["mailed"], "this is another bob"
    assert len(sendmail.mails) == 3


def test_who_has_had_a_phone_is_mailed_only_if_that_is_asked_for(
    gateway_command: GatewayCommand, sendmail: FakeSendmail
) -> None:
    place = gateway_command
    place.said("user", "add", "alice")
    place.sandbox.add_user(place.person("alice").token)
    place.said("phone", "lost", "alice", "--yes")
    assert states(place, *csv(place, TEAM[0])) == ["no_phone"]
    assert sendmail.mails == [], "whoever has the lost phone may read it"
    assert states(place, *csv(place, TEAM[0]), "--resend") == ["mailed"]
    assert states(place, *csv(place, TEAM[0])) == ["no_phone"]
    assert len(sendmail.mails) == 1


def test_a_run_that_is_killed_after_sendmail_has_the_mail_sends_it_not_again(
    gateway_command: GatewayCommand, sendmail: FakeSendmail
) -> None:
    place = gateway_command
    sendmail.then("kill -KILL $PPID")
    killed = place.typed("enroll", *csv(place, *TEAM), "--mail")
    assert killed.finish() in (-signal.SIGKILL, 128 + signal.SIGKILL)
    sendmail.then("exit 0")
    for _ in range(2):
        shown = place.said("enroll", *csv(place, *TEAM), "--mail", status=1)
        assert re.search(r"alice +may not have got the mail", shown)
        assert "To send it again: --resend, with a file of these users only" in shown
    assert sendmail.recipients == ["alice@example.com", "bob.b+x@mail.example.org"]
    assert states(place, *csv(place, TEAM[0], name="again.csv"), "--resend") == ["mailed"]
    assert states(place, *csv(place, *TEAM)) == ["no_phone"] * 3
    assert sendmail.recipients.count("alice@example.com") == 2


def test_ctrl_c_while_sendmail_works_names_who_may_not_have_got_the_mail(
    gateway_command: GatewayCommand, sendmail: FakeSendmail
) -> None:
    place = gateway_command
    sendmail.then("touch works; exec sleep 1000")
    terminal = place.typed("enroll", *csv(place, *TEAM), "--mail")
    wait_until((sendmail.folder / "works").exists, "sendmail is not run")
    terminal.send("\x03")
    assert terminal.finish() == 130
    assert re.search(r"alice.*may not have got the mail", terminal.shown)
    assert re.search(r"bob.*not tried yet", terminal.shown)
    sendmail.then("exit 0")
    assert states(place, *csv(place, *TEAM), status=1) == ["maybe_mailed", "mailed", "message_sent"]
    assert sendmail.recipients.count("alice@example.com") == 1


def test_a_mail_that_sendmail_refuses_is_tried_again(
    gateway_command: GatewayCommand, sendmail: FakeSendmail
) -> None:
    place = gateway_command
    sendmail.then("[ -e there ] || { echo 'no route to example.com' >&2; touch there; exit 69; }")
    shown = place.said("enroll", *csv(place, *TEAM[:2]), "--mail", status=1)
    assert "alice" in shown
    assert "failed: sendmail did not accept the mail: no route to example.com" in shown
    assert "2 users: 1 was sent a mail, 1 failed." in shown
    assert place.records[2] == (
        "enroll",
        "alice",
        "sendmail is given the link, for an address at example.com",
    )
    assert place.records[3] == ("enroll", "alice", "sendmail has not taken it: exit status 69")
    assert states(place, *csv(place, *TEAM[:2])) == ["mailed", "no_phone"]
    assert sendmail.recipients == ["alice@example.com", "bob.b+x@mail.example.org", "alice@example.com"]


@pytest.mark.parametrize("end", ["exit 75", "kill -KILL $$"])
def test_a_mail_that_may_be_queued_is_not_sent_again(
    gateway_command: GatewayCommand, sendmail: FakeSendmail, end: str
) -> None:
    sendmail.then(end)
    for _ in range(2):
        assert states(gateway_command, *csv(gateway_command, TEAM[0]), status=1) == ["maybe_mailed"]
    assert len(sendmail.mails) == 1


def test_a_database_that_fails_once_sendmail_has_the_mail_has_it_not_sent_again(
    gateway_command: GatewayCommand, sendmail: FakeSendmail
) -> None:
    place = gateway_command
    place.rows("ALTER TABLE mailed ADD CONSTRAINT broken CHECK (taken_at IS NULL)")
    found = place.told("enroll", *csv(place, *TEAM), "--mail", status=1)
    assert [each["state"] for each in found["users"]] == ["maybe_mailed", "not_tried", "not_tried"]
    assert "the database refuses this" in found["stopped"]
    place.rows("ALTER TABLE mailed DROP CONSTRAINT broken")
    assert states(place, *csv(place, *TEAM), status=1) == ["maybe_mailed", "mailed", "message_sent"]
    assert sendmail.recipients.count("alice@example.com") == 1


def test_nothing_is_mailed_that_cannot_be_remembered(
    gateway_command: GatewayCommand, sendmail: FakeSendmail
) -> None:
    place = gateway_command
    place.rows("ALTER TABLE mailed ADD CONSTRAINT broken CHECK (false)")
    assert states(place, *csv(place, *TEAM), status=1)[0] == "failed"
    assert sendmail.mails == []
    place.rows("ALTER TABLE mailed DROP CONSTRAINT broken")
    assert states(place, *csv(place, TEAM[0])) == ["mailed"]


def test_of_two_runs_at_one_moment_one_mails_a_person(
    gateway_command: GatewayCommand, sendmail: FakeSendmail
) -> None:
    place = gateway_command
    sendmail.then("touch works; while ! [ -e goes-on ]; do sleep 0.05; done")
    first = place.typed("enroll", *csv(place, TEAM[0]), "--mail")
    wait_until((sendmail.folder / "works").exists, "sendmail is not run")
    assert states(place, *csv(place, TEAM[0]), status=1) == ["maybe_mailed"]
    (sendmail.folder / "goes-on").touch()
    assert first.finish() == 0
    assert states(place, *csv(place, TEAM[0])) == ["no_phone"]
    assert len(sendmail.mails) == 1
    place.said("user", "add", "bob")
    with command_gateway(place.config) as gateway:  # both have seen that nothing was sent
        begin = partial(SendmailMailer(gateway, None, None).begin, "bob", "bob@example.com", again=False)
        assert [begin(), begin()] == [True, False]


def test_one_bad_address_in_the_file_and_nobody_is_enrolled_or_mailed(
    gateway_command: GatewayCommand, sendmail: FakeSendmail
) -> None:
    place = gateway_command
    shown = place.said("enroll", *csv(place, TEAM[0], "bob,,-oQ/tmp@example.com"), "--mail", status=1)
    assert 'team.csv:3: mail: "-oQ/tmp@example.com" is not one plain mail address' in shown
    assert "write only one address" in shown
    assert (place.names, sendmail.mails) == ([], [])


def test_a_message_that_is_not_utf_8_is_refused_before_anybody_is_enrolled(
    gateway_command: GatewayCommand, sendmail: FakeSendmail
) -> None:
    place = gateway_command
    shown = place.said("enroll", *csv(place, *TEAM), "--mail", "--message", "Gr\udcfc\udcdfe", status=1)
    assert "--message is not UTF-8" in shown
    assert place.names == []


def test_without_addresses_or_sendmail_nobody_is_enrolled(gateway_command: GatewayCommand) -> None:
    place = gateway_command
    shown = place.said("enroll", *csv(place, TEAM[2]), "--mail", status=1)
    assert "no line of the file has a mail address" in shown
    with no_sendmail():
        shown = place.said("enroll", *csv(place, *TEAM), "--mail", status=1)
    assert "there is no sendmail on this machine" in shown
    assert place.names == []
    assert "has to open https://" in place.said("enroll", *csv(place, TEAM[1])), (
        "addresses alone send nothing"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("alice", "--mail"),
        ("--from", "/dev/null", "--sender", "it@example.com"),
        ("alice", "--sender", "x@y"),
    ],
)
def test_mail_is_for_files_and_a_sender_for_mail(
    gateway_command: GatewayCommand, arguments: tuple[str, ...]
) -> None:
    gateway_command.said("enroll", *arguments, status=2)
    assert gateway_command.names == []


def test_the_page_about_sixty_people(gateway_command: GatewayCommand, sendmail: FakeSendmail) -> None:
    place, page = gateway_command, TypedPage("docs/fleet/fleet-people.md")
    section = "Sixty people at once"

    def typed(start: str, *, status: int = 0) -> str:
        words = shlex.split(page.command(section, f"pam-iampass-gateway {start}"))[1:]
        files = {name: str(place.folder / name) for name in ("team.csv", "again.csv", "sheets.pdf")}
        return place.said(*(files.get(word, word) for word in words), status=status)

    put(place.folder / "team.csv", page.block(section, "user,display_name"))
    sendmail.then("[ -e there ] || { touch there; exit 75; }")
    shown = typed("enroll --from team.csv", status=1)
    assert "1 was sent a message, 1 was sent a mail, 1 may not have got the mail." in shown
    assert "1 may not have got the mail, 2 have no phone yet." in typed("enroll --from team.csv", status=1)
    content = (place.folder / "team.csv").read_text().splitlines()
    put(place.folder / "again.csv", "\n".join(content[:2]))
    assert "1 user: 1 was sent a mail." in typed("enroll --from again.csv")
    assert sendmail.recipients == ["alice@example.com", "bob@example.com", "alice@example.com"]
    assert "3 users: 3 have a new sheet." in typed("recovery new --from team.csv")
    page.command(section, "apt install")
    assert set(page.sections[section]) <= page.typed

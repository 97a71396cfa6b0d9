"""`pam-iampass enroll`, as an administrator types it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_iampass.config.user_table import Entry, UserTable
from tests.support.command import COMMAND, run_command
from tests.support.installation import ETC, Installation
from tests.support.qr_reader import read_codes
from tests.support.sandbox import Hang, HttpStatus, Sandbox
from tests.support.terminal import Terminal
from tests.support.world import PATIENCE

NUMBER = "+15551234567"


class Place:
    """The machine and its IAMPASS, with nobody enrolled but bob."""

    def __init__(self, machine: Installation, sandbox: Sandbox, folder: Path) -> None:
        self.machine = machine
        self.sandbox = sandbox
        self.folder = folder
        for user in sandbox.users:
            sandbox.delete_user(user)
        sandbox.behave()
        machine.configure(sandbox)
        machine.write_users("# our people\nbob: b1\n")
        self.messages_before = len(sandbox.messages)

    def find(self, user: str) -> Entry | None:
        """What a login finds in the table."""
        return UserTable(ETC / "users.yaml").find(user)

    def token(self, user: str) -> str:
        entry = self.find(user)
        assert entry is not None
        assert entry.token is not None
        return entry.token

    @property
    def sent(self) -> list[tuple[str, str]]:
        """Who was sent a message, and where."""
        return [(each.user, each.phone_number) for each in self.sandbox.messages[self.messages_before :]]

    def csv(self, *lines: str, columns: str = "user,token,phone,display_name") -> Path:
        file = self.folder / "team.csv"
        file.write_text("\n".join([columns, *lines]) + "\n", encoding="utf-8")
        file.chmod(0o644)
        return file


@pytest.fixture
def place(machine: Installation, sandbox: Sandbox, tmp_path: Path) -> Iterator[Place]:
    yield Place(machine, sandbox, tmp_path)
    sandbox.behave()
    shutil.rmtree(ETC / "users.d", ignore_errors=True)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command("enroll", *arguments)


def enroll(*arguments: str, status: int = 0) -> str:
    """What `pam-iampass enroll` says."""
    done = run(*arguments)
    assert done.returncode == status, done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def typed(*arguments: str, **environment: str) -> Terminal:
    return Terminal([COMMAND, "enroll", *arguments], environment=environment)


# One user, at a terminal


@pytest.mark.parametrize("light", [True, False], ids=["light", "dark"])
def test_the_code_on_the_screen_registers_the_phone(place: Place, light: bool) -> None:
    terminal = typed("alice", NO_COLOR="1")
    terminal.expect("Waiting for the phone of alice, 9:[0-9][0-9] left")
    token = place.token("alice")
    assert place.sandbox.users[token] is False
    (link,) = re.findall(r"^    (https://\S+)$", terminal.shown, re.MULTILINE)
    (code,) = read_codes(terminal.shown.partition("Waiting")[0], light)
    assert code == link
    place.sandbox.open_link(code)
    terminal.expect("The phone of alice is registered")
    assert terminal.finish() == 0
    assert place.sandbox.users[token] is True
    assert f"alice is new at IAMPASS.\nThe user table has the token, in {ETC}/users.d/alice.yaml." in (
        terminal.shown
    )
    assert token not in terminal.shown


def test_an_outage_while_waiting_is_waited_for(place: Place) -> None:
    terminal = typed("alice")
    terminal.expect("Waiting for the phone")
    place.sandbox.misbehave("has_device", HttpStatus(503), times=3)
    terminal.expect("IAMPASS is unreachable, still waiting: device: .* responded with 503")
    terminal.expect("IAMPASS answers again")
    place.sandbox.add_user(place.token("alice"), device=True)
    terminal.expect("The phone of alice is registered")
    assert terminal.finish() == 0


# One user, elsewhere


def test_without_a_terminal_there_are_plain_lines(place: Place) -> None:
    said = enroll("alice", "--token", "7f3c-alice", "--timeout", "1s", status=1).splitlines()
    assert said[0] == "alice is new at IAMPASS."
    assert said[1] == f"The user table has the token, in {ETC}/users.d/alice.yaml."
    assert said[2] == "Open this link on the phone. Show it to nobody else."
    assert said[4].startswith(f"    {place.sandbox.url}/register/")
    assert said[6:] == [
        "Waiting until the phone of alice is registered, for 1 second at most.",
        "No phone of alice was registered within 1 second.",
        "Logins of alice are denied until a phone is registered.",
        "To check, or to get a new link: pam-iampass enroll alice",
        "For logins without a phone until then: pam-iampass recovery new alice",
        "Where no prompt asks for a code: pam-iampass bypass alice --for 1h",
    ]
    assert place.find("alice") == Entry("7f3c-alice")


def test_a_message_is_sent_to_the_phone(place: Place) -> None:
    said = enroll("alice", "--sms", "+1 (555) 123-4567", "--message", "Welcome:", "--no-wait")
    assert f"A message with the registration link was sent to {NUMBER}." in said
    (sms,) = place.sandbox.messages[place.messages_before :]
    assert (sms.user, sms.phone_number) == (place.token("alice"), NUMBER)
    assert sms.display_name == f"alice@{os.uname().nodename}"
    assert sms.text.startswith("Welcome: https://")
    assert "https://" not in said


def test_a_new_token_is_a_long_random_one(place: Place) -> None:
    enroll("alice", "--no-wait")
    enroll("carol", "--no-wait")
    tokens = {place.token("alice"), place.token("carol")}
    assert len(tokens) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", token) for token in tokens)


def test_a_user_who_has_a_phone_is_not_asked_for_one(place: Place) -> None:
    place.sandbox.add_user("b1", device=True)
    said = enroll("bob")
    assert "bob already has a phone.\nIf it is lost: pam-iampass phone lost bob\n" in said
    assert "https://" not in said
    with_another = enroll("bob", "--new-device")
    assert f"    {place.sandbox.url}/register/" in with_another
    assert "denied" not in with_another


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], "Give a USER, or a file"),
        (["alice", "--from", "/etc/passwd"], "Give a USER, or a file"),
        (["--from", "/etc/passwd", "--token", "x"], "require a USER"),
        (["--from", "/nowhere"], "does not exist"),
        (["alice", "--replace"], "--replace requires --token"),
        (["alice", "--resend"], "--resend requires --from"),
        (["alice", "--message", "x"], "--message requires --sms"),
        (["alice", "--sms", "555 1234"], "is not a phone number"),
        (["alice", "--sms", "+1XXXYYYY"], "is not a phone number"),
        (["alice", "--timeout", "10"], "is not a duration"),
        (["alice", "--timeout", "0s"], "is not a duration"),
        (["alice", "--display-name", "a\x1b[2J"], "contains invisible characters"),
    ],
)
def test_wrong_usage_is_reported_and_nothing_is_done(place: Place, arguments: list[str], what: str) -> None:
    calls = len(place.sandbox.calls)
    done = run(*arguments)
    assert done.returncode == 2
    assert what in done.stderr
    assert len(place.sandbox.calls) == calls


def test_a_stranger_is_refused_before_anything_is_done(place: Place) -> None:
    calls = len(place.sandbox.calls)
    assert '"nobody-here" is not a user of this machine' in enroll("nobody-here", status=1)
    assert len(place.sandbox.calls) == calls


def test_a_table_that_cannot_be_written_leaves_nobody_at_iampass(place: Place) -> None:
    (ETC / "users.d").symlink_to("/tmp")
    try:
        assert "users.d" in enroll("alice", "--token", "7f3c", status=1)
    finally:
        (ETC / "users.d").unlink()
    assert place.sandbox.users == {}


# Many


def test_everybody_in_a_file_is_enrolled(place: Place) -> None:
    place.sandbox.add_user("b1", device=True)
    file = place.csv(f"alice,7f3c-alice,{NUMBER},Alice A.", "bob,,,", "carol,,,", "", "nobody-here,,,")
    said = enroll("--from", str(file), status=1).splitlines()
    assert said[0].split() == ["LINE", "USER", "STATUS"]
    rows = {line.split()[1]: line.split(maxsplit=2) for line in said[1:5]}
    assert rows["alice"] == ["2", "alice", f"was sent a message, to {NUMBER}"]
    assert rows["bob"] == ["3", "bob", "has a phone"]
    assert rows["carol"][2].startswith(f"has to open {place.sandbox.url}/register/")
    assert rows["nobody-here"][0] == "6"
    assert rows["nobody-here"][2].startswith('failed: "nobody-here" is not a user of this machine')
    assert said[5] == ("4 users: 1 has a phone, 1 was sent a message, 1 has a link to open, 1 failed.")
    assert place.find("alice") == Entry("7f3c-alice")
    assert place.sent == [("7f3c-alice", NUMBER)]
    assert place.sandbox.messages[-1].display_name == "Alice A."


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_an_interruption_loses_nobody_and_nobody_gets_a_second_message(
    place: Place, number: signal.Signals
) -> None:
    users = ("alice", "carol", "dave")
    file = place.csv(*(f"{user},,{NUMBER}," for user in users))
    place.sandbox.misbehave("registration_sms", Hang())
    before = sum(call.kind == "registration_sms" for call in place.sandbox.calls)
    command = [COMMAND, "enroll", "--from", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as process:
        place.sandbox.wait_for_calls("registration_sms", before + 1, PATIENCE)
        process.send_signal(number)
        out, _ = process.communicate(timeout=PATIENCE)
    if number is signal.SIGINT:
        assert process.returncode == 130
        assert "3 users: 3 not tried yet." in out
        assert "Interrupted. To continue, run the same command again." in out
    token = place.token("alice")
    assert (place.find("carol"), place.find("dave")) == (None, None)
    assert "3 users: 2 were sent a message, 1 has no phone yet." in enroll("--from", str(file))
    assert place.token("alice") == token
    assert sorted(place.sent) == sorted((place.token(user), NUMBER) for user in users)


def test_phones_of_many_can_be_waited_for(place: Place) -> None:
    file = place.csv("alice,t-alice,,", f"carol,t-carol,{NUMBER},")
    command = [COMMAND, "enroll", "--from", str(file), "--wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdout is not None
        shown = ""
        for line in process.stdout:
            shown += line
            if line.startswith("Waiting until 2 phones are registered"):
                break
        (link,) = re.findall(r"^alice: (\S+)$", shown, re.MULTILINE)
        place.sandbox.open_link(link)
        assert process.stdout.readline() == "alice has registered a phone.\n"
        place.sandbox.open_link(place.sandbox.messages[-1].text.split()[-1])
        assert "2 users: 2 have a phone." in process.stdout.read()
        assert process.wait(PATIENCE) == 0


def test_users_of_other_machines_are_enrolled_where_that_is_meant(place: Place) -> None:
    file = place.csv("alice,,,", "nobody-here,,,")
    assert "give --no-account" in enroll("--from", str(file), status=1)
    said = enroll("--from", str(file), "--no-account")
    assert "nobody-here" in said
    assert "2 users: 1 has no phone yet, 1 has a link to open." in said
    assert place.find("nobody-here") is not None
    assert "is already known at IAMPASS" in enroll("nobody-here", "--no-account", "--no-wait")

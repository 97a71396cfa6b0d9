"""`pam-iampass phone`, as an administrator types it when a phone is lost."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent import RunningAgent
from tests.support.command import COMMAND, run_command
from tests.support.installation import ETC, Installation, write
from tests.support.qr_reader import read_codes
from tests.support.sandbox import HttpStatus, Sandbox
from tests.support.terminal import Terminal
from tests.system.test_enroll import NUMBER, Place


@pytest.fixture
def place(machine: Installation, sandbox: Sandbox, agent: RunningAgent, tmp_path: Path) -> Iterator[Place]:
    """bob has a phone, carol has none, alice has no token."""
    place = Place(machine, sandbox, tmp_path)
    machine.write_users("bob: b1\ncarol: c1\n")
    sandbox.add_user("b1", device=True)
    sandbox.add_user("c1", device=False)
    yield place
    sandbox.behave()
    shutil.rmtree(ETC / "users.d", ignore_errors=True)


def phone(*arguments: str, status: int = 0) -> str:
    """What `pam-iampass phone` prints."""
    done = run_command("phone", *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_it_shows_who_has_a_phone(place: Place) -> None:
    shown = phone("show", "bob", "carol")
    assert [line.split() for line in shown.splitlines()] == [
        ["USER", "PHONE"],
        ["bob", "registered"],
        ["carol", "none"],
    ]
    found = json.loads(phone("show", "--json", "bob", "carol", "alice", status=1))
    assert found == {"ok": False, "phones": {"alice": None, "bob": "registered", "carol": "none"}}
    place.sandbox.delete_user("c1")
    assert "unknown at IAMPASS" in phone("show", "carol")


def test_without_an_answer_of_iampass_it_shows_nothing_as_certain(place: Place) -> None:
    place.machine.change(server="https://localhost:1")
    assert "no answer" in phone("show", "bob", status=1)
    write(ETC / "application-secret", "wrong\n")
    place.machine.change(server=place.sandbox.url)
    assert "401" in phone("show", "bob", status=1)


def test_a_lost_phone_approves_nothing_and_the_next_one_is_registered_by_the_code(place: Place) -> None:
    terminal = Terminal([COMMAND, "phone", "lost", "bob"])
    terminal.expect_exact(
        "Disable the phone of bob at IAMPASS? It then approves no login on any machine. [y/N]: "
    )
    assert place.sandbox.users["b1"]
    terminal.sendline("y")
    terminal.expect_exact("The phone of bob is disabled at IAMPASS.")
    terminal.expect_exact("Waiting for the phone of bob")
    assert not place.sandbox.users["b1"]
    (link,) = read_codes(terminal.shown, light=False)
    place.sandbox.open_link(link)
    assert terminal.finish() == 0
    assert "The next phone of bob is registered." in terminal.shown
    assert place.sandbox.users["b1"]


def test_a_user_who_says_no_keeps_the_phone(place: Place) -> None:
    terminal = Terminal([COMMAND, "phone", "lost", "bob"])
    terminal.expect_exact("[y/N]: ")
    terminal.sendline("n")
    assert terminal.finish() == 130
    assert place.sandbox.users["b1"]
    assert "To confirm, give --yes." in phone("lost", "bob", status=1)
    assert place.sandbox.users["b1"]


def test_the_link_can_be_sent(place: Place) -> None:
    shown = phone("lost", "bob", "--yes", "--no-wait", "--sms", NUMBER)
    assert place.sent == [("b1", NUMBER)]
    assert "https://" not in shown
    assert "pam-iampass recovery new bob" in shown
    assert "b1" not in shown


def test_what_cannot_be_done_is_said_and_nothing_is_changed(place: Place) -> None:
    assert '"alice" has no token' in phone("lost", "alice", "--yes", status=1)
    place.sandbox.misbehave("lost_device", HttpStatus(503))
    assert "503" in phone("lost", "bob", "--yes", status=1)
    command = ["setpriv", "--reuid=bob", "--clear-groups", COMMAND, "phone", "lost", "bob", "--yes"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "run it as root" in refused.stderr
    assert place.sandbox.users["b1"]

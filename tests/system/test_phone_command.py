"""`pam-iampass phone`, as an administrator types it when a phone is lost."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_iampass.agent.control import ask
from tests.support.agent import RunningAgent
from tests.support.command import COMMAND, run_command
from tests.support.installation import ETC, STATE, Installation, write
from tests.support.sandbox import HttpStatus, Sandbox
from tests.support.terminal import Terminal
from tests.support.world import wait_until
from tests.system.test_enroll import Place
from tests.system.test_session_command import control_socket


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


def test_a_lost_phone_is_disabled_and_the_next_one_is_registered_by_another_command(place: Place) -> None:
    terminal = Terminal([COMMAND, "phone", "lost", "bob"])
    terminal.expect_exact(
        "Disable the phone of bob at IAMPASS? It can then approve no login on any machine. [y/N]: "
    )
    assert place.sandbox.users["b1"]
    terminal.sendline("y")
    terminal.expect_exact("The phone of bob is disabled at IAMPASS.")
    terminal.expect_exact("For a new phone: pam-iampass enroll bob")
    assert terminal.finish() == 0
    assert not place.sandbox.users["b1"]
    assert "https://" not in terminal.shown, "the link in IAMPASS's answer"
    done = run_command("enroll", "bob", "--no-wait", "--json")
    place.sandbox.open_link(json.loads(done.stdout)["link"])
    assert place.sandbox.users["b1"]


def test_a_user_who_says_no_keeps_the_phone(place: Place) -> None:
    terminal = Terminal([COMMAND, "phone", "lost", "bob"])
    terminal.expect_exact("[y/N]: ")
    terminal.sendline("n")
    assert terminal.finish() == 130
    assert place.sandbox.users["b1"]
    assert "To confirm, give --yes." in phone("lost", "bob", status=1)
    assert place.sandbox.users["b1"]


def test_bypasses_end_and_codes_are_named_and_kept_unless_they_are_to_end(place: Place) -> None:
    for verb in (("bypass", "bob", "--for", "15m"), ("recovery", "new", "bob")):
        assert run_command(*verb).returncode == 0
    shown = phone("lost", "bob", "--yes")
    assert "1 bypass ended." in shown
    assert "10 recovery codes of bob can still be used" in shown
    assert json.loads(run_command("bypass", "list", "--json").stdout) == {"bypasses": []}
    found = json.loads(phone("lost", "bob", "--yes", "--end-codes", "--json"))
    assert found == {"ok": True, "user": "bob", "at_iampass": True, "bypasses": 0, "codes_left": 0}
    assert "10 recovery codes" not in phone("lost", "bob", "--yes")


def test_what_cannot_be_done_is_said_and_nothing_is_changed(place: Place) -> None:
    assert '"alice" has no token' in phone("lost", "alice", "--yes", status=1)
    place.sandbox.misbehave("lost_device", HttpStatus(503), times=None)
    assert "503" in phone("lost", "bob", "--yes", status=1)
    command = ["setpriv", "--reuid=bob", "--clear-groups", COMMAND, "phone", "lost", "bob", "--yes"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "run it as root" in refused.stderr
    assert place.sandbox.users["b1"]


def test_who_is_no_user_of_this_machine_or_of_iampass_has_no_phone_that_was_disabled(place: Place) -> None:
    template = {"unlisted_users": "'{user}@corp'"}
    place.machine.change(**template)
    calls = len(place.sandbox.calls)
    assert '"alcie" is not a user of this machine' in phone("lost", "alcie", "--yes", status=1)
    assert "no lost phone" in phone("lost", "alcie", "--forget", "--yes", status=1)
    assert len(place.sandbox.calls) == calls
    shown = phone("lost", "alice", "--yes", status=1)
    assert 'IAMPASS knows no user "alice@corp"' in shown
    assert "is disabled" not in shown
    assert "approves nothing on this machine" not in shown
    assert "no lost phone" in phone("lost", "alice", "--forget", "--yes", status=1)
    place.machine.change(**template, services="{sudo: {approver: {user: alcie}}}")
    place.sandbox.add_user("alcie@corp", device=True)
    phone("lost", "alcie", "--yes")
    assert not place.sandbox.users["alcie@corp"]
    place.machine.write_settings("")
    assert "is disabled" not in phone("lost", "bob", "--yes", status=1)


def test_an_agent_that_is_killed_tells_iampass_of_the_lost_phone_once_it_starts_again(
    place: Place, agent: RunningAgent
) -> None:
    place.sandbox.misbehave("lost_device", HttpStatus(503), times=None)
    shown = phone("lost", "bob", "--yes", status=1)
    assert "approves nothing on this machine: the agent tries again" in shown
    agent.restart(signal.SIGKILL)
    agent.wake()
    refused = run_command("enroll", "bob", "--new-device", "--no-wait")
    assert refused.returncode == 1
    assert "IAMPASS has not disabled the lost phone" in refused.stderr
    shared = run_command("enroll", "carol", "--token", "b1", "--replace", "--no-wait")
    assert 'the lost phone of "bob"' in shared.stderr
    assert place.sandbox.users["b1"]
    place.sandbox.behave()
    wait_until(lambda: not place.sandbox.users["b1"], "IAMPASS is not told")

    def link() -> str:
        return run_command("enroll", "bob", "--no-wait", "--json").stdout

    place.sandbox.open_link(json.loads(wait_until(link, "IAMPASS is told again"))["link"])
    assert place.sandbox.users["b1"]


def test_a_report_without_a_token_names_what_to_type_before_there_is_a_next_phone(place: Place) -> None:
    assert '"alice" has no token' in phone("lost", "alice", "--yes", status=1)
    refused = run_command("enroll", "alice", "--no-wait").stderr
    assert "no token was known then" in refused
    (typed,) = re.findall("to withdraw the report: pam-iampass (.*)", refused)
    assert run_command(*typed.split(), "--yes").returncode == 0
    assert run_command("enroll", "alice", "--no-wait").returncode == 0


@pytest.fixture
def away(place: Place) -> Place:
    """The phone of bob was reported lost while IAMPASS was away."""
    assert run_command("user", "add", "alice", "--token", "a1").returncode == 0
    place.sandbox.misbehave("lost_device", HttpStatus(503), times=None)
    phone("lost", "alice", "--yes", status=1)
    return place


def test_a_removal_forgets_a_lost_phone_only_if_iampass_has_deleted_the_user(away: Place) -> None:
    assert run_command("user", "remove", "alice", "--keep-at-iampass").returncode == 0
    assert ask("phone waits", user="alice", token="a1")
    assert run_command("user", "add", "alice", "--token", "a1").returncode == 0
    assert run_command("user", "remove", "alice", "--yes").returncode == 0
    assert not ask("phone waits", user="alice", token="a1")


def test_a_report_is_taken_back_also_after_the_host_has_left_iampass(away: Place) -> None:
    assert "To confirm, give --yes." in phone("lost", "alice", "--forget", status=1)
    assert ask("phone waits", user="alice", token="a1")
    write(ETC / "iampass.yaml", "")
    assert (
        phone("lost", "alice", "--forget", "--yes") == "The report of the lost phone of alice is withdrawn.\n"
    )
    assert not ask("phone waits", user="alice", token="a1")
    assert "no lost phone" in phone("lost", "alice", "--forget", "--yes", status=1)


def test_bypasses_end_although_the_state_cannot_be_read(place: Place) -> None:
    assert run_command("bypass", "bob", "--for", "15m").returncode == 0
    aside = STATE.rename(STATE.with_name("aside"))
    try:
        assert "was replaced or removed" in phone("lost", "bob", "--yes", status=1)
        assert json.loads(run_command("bypass", "list", "--json").stdout) == {"bypasses": []}
    finally:
        aside.rename(STATE)


def test_without_an_agent_nobody_is_enrolled_while_a_lost_phone_may_wait(place: Place) -> None:
    calls = len(place.sandbox.calls)
    with control_socket() as listener:
        listener.close()
        refused = run_command("enroll", "carol", "--no-wait")
    assert refused.returncode == 1
    assert "systemctl start pam-iampass-agent.socket" in refused.stderr
    assert len(place.sandbox.calls) == calls

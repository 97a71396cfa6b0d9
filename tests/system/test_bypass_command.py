"""`pam-iampass bypass`, as an administrator types it, and ssh logins that it lets in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from pam_iampass.audit.journal import BYPASS_OVER
from tests.support.command import run_command
from tests.support.world import World, wait_until


@pytest.fixture(autouse=True)
def nobody_is_bypassed(world: World) -> Iterator[None]:
    yield
    world.machine.forget()


def told(*arguments: str, status: int = 0) -> str:
    done = run_command("bypass", *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def ended(world: World) -> list[dict[str, Any]]:
    """The records of bypasses whose time was over."""
    return [one for one in world.journald.everything(world._cursor) if one.get("MESSAGE_ID") == BYPASS_OVER]


def test_a_bypass_is_made_used_and_ended_and_the_journal_says_so(world: World) -> None:
    shown = told("alice", "--for", "15m", "--reason", "phone lost")
    assert "alice can log in without the phone for 15 minutes, through all services." in shown
    [record] = world.acts()
    assert (record["IAMPASS_EVENT"], record["IAMPASS_USER"], record["PRIORITY"]) == ("bypass", "alice", "4")
    assert re.fullmatch(r"until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d; phone lost", record["IAMPASS_REASON"])
    login = world.login("alice")
    assert login.finish() == 0, login.shown
    assert login.lines == ["In as alice."], "no prompt and no other text"
    used = world.record("alice")
    assert (used["IAMPASS_OUTCOME"], used["IAMPASS_RESULT"], used["PRIORITY"]) == ("bypassed", "ignored", "4")
    assert world.starts() == 0
    assert told("end", "alice") == "The phone of alice is asked again.\n"
    [_, record] = world.acts()
    assert (record["IAMPASS_EVENT"], record["IAMPASS_REASON"]) == ("bypass_end", "1 ended")
    explained = world.explained()
    for words in ("ran `pam-iampass bypass` ", "second factor: bypassed", "ran `pam-iampass bypass_end` "):
        assert words in explained
    login = world.login("alice")
    login.enter()
    world.deny("alice")
    assert login.finish() != 0


def test_the_list_says_who_until_when_by_whom_and_why() -> None:
    assert told("list") == "Nobody is bypassed.\n"
    told("alice", "--for", "2h", "--service", "sshd", "--reason", "ticket 47")
    told("--for", "90s", "bob", "--survive-reboot")
    bob, alice = told("list").splitlines()[1:]
    assert re.match(r"bob +all +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +survives +\S+ +-$", bob)
    assert re.match(r"alice +sshd +.* ends it +\S+ +ticket 47$", alice)
    found = json.loads(told("list", "--json"))["bypasses"]
    assert [(one["user"], one["service"], one["survives_reboot"]) for one in found] == [
        ("bob", None, True),
        ("alice", "sshd", False),
    ]
    assert 30 <= found[0]["seconds_left"] <= 90


def test_what_is_over_is_recorded_once(world: World) -> None:
    told("alice", "--for", "1s")
    wait_until(lambda: told("list") == "Nobody is bypassed.\n", "the bypass is over")
    assert told("list") == "Nobody is bypassed.\n"
    [record] = ended(world)
    assert record["IAMPASS_REASON"] == "its time is over"
    assert "A user needs the phone again" in world.explained()
    assert " bypass over " in run_command("log", "alice").stdout


def test_the_agent_records_the_end_by_itself(world: World) -> None:
    told("alice", "--for", "1s")
    wait_until(lambda: ended(world), "the end is recorded")


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (("alice",), 2, "Missing option '--for'"),
        (("--for", "15m"), 2, "Missing argument 'USER'"),
        (("alice", "--for", "25h"), 2, "is longer than a day"),
        (("alice", "--for", "0s"), 2, "is not a duration"),
        (("alice", "--for", "15"), 2, "is not a duration"),
        (("alice", "--for", "15m", "--reason", "a\nb"), 2, "is not a text of one line"),
        (("alice", "--for", "15m", "--reason", "x" * 201), 2, "is not a text of one line"),
        (("alice", "--for", "15m", "--service", "../passwd"), 1, "is no PAM service of this machine"),
        (("alice", "--for", "15m", "--service", "sudoo"), 1, "did you mean sudo?"),
        (("zaphod", "--for", "15m"), 1, "is not an account of this machine"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_arguments_make_no_bypass(arguments: tuple[str, ...], status: int, why: str) -> None:
    assert why in told(*arguments, status=status)
    assert told("list") == "Nobody is bypassed.\n"

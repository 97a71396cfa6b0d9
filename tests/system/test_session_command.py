"""`pam-iampass session`, as an administrator types it: what it shows of the files of kept sessions, and asks for."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pam_iampass.config.value_types import Enforcement
from pam_iampass.session.kept_session import EndCause, KeptSession, Rules, State, StoredLogin
from pam_iampass.session.store import SessionStore
from pam_iampass.system import paths
from pam_iampass.system.boot import since_boot
from pam_iampass.system.service_user import as_service_user
from tests.support.command import COMMAND, run_command
from tests.support.installation import Installation
from tests.support.sandbox import Sandbox
from tests.support.terminal import Terminal

SECRET = "the-secret-of-the-session"
FOLDER = Path(paths.SESSIONS)


@pytest.fixture(autouse=True)
def no_sessions(machine: Installation) -> Iterator[None]:
    """Nobody keeps a session before and after a test."""
    yield
    for file in FOLDER.iterdir():
        file.unlink()


def kept(user: str = "alice", **changes: Any) -> KeptSession:
    """A session that was approved 10 minutes ago, and that an ssh login has opened."""
    session = KeptSession(
        id=secrets.token_hex(16),
        state=State.OPEN,
        session=json.dumps({"session_secret": SECRET}),
        config="/etc/iampass/iampass.yaml",
        user=user,
        approver=user,
        service="iampass-sshd",
        rhost="203.0.113.7",
        address="203.0.113.7",
        methods=(),
        key=None,
        rules=Rules(43200.0, 30.0, Enforcement.END, Enforcement.REVOKE, False),
        began=since_boot() - 630,
        approved=since_boot() - 595,
        since=time.time() - 595,
        attached=(StoredLogin(4711, user, 1000, "iampass-sshd", tty="/dev/pts/3"),),
        status="active",
    )
    return replace(session, **changes)


def store(*sessions: KeptSession) -> None:
    """Write the files as the agent does."""

    def write() -> None:
        for session in sessions:
            SessionStore().write(session)

    as_service_user(write)


def session(*arguments: str, status: int = 0) -> str:
    """What `pam-iampass session` prints."""
    done = run_command("session", *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    return done.stdout + done.stderr


def requested() -> set[str]:
    """The ids of the sessions that the agent is asked to end."""
    return {file.stem for file in FOLDER.glob("*.end")}


def test_nobody_keeps_a_session() -> None:
    assert session("list") == "There are no sessions.\n"
    assert json.loads(session("list", "--json")) == {"sessions": []}
    assert session("end", "alice") == session("end", "--all") == "There is no such session.\n"


def test_the_list_says_who_is_logged_in_from_where_and_for_how_long() -> None:
    alice, bob = kept("alice", covered=2, last_covered=1795000000.0), kept("bob", rhost="", service="login")
    store(alice, bob, kept("carol", state=State.ASKED))  # carol's phone has not answered yet
    headings, *rows = [line.split() for line in session("list").splitlines()]
    assert headings == [
        *("ID", "USER", "APPROVER", "SERVICE", "FROM", "SINCE", "STATUS", "LEFT", "COVERED"),
    ]
    assert [(row[:5], row[7:]) for row in rows] == [
        ([alice.id[:8], "alice", "alice", "iampass-sshd", "203.0.113.7"], ["active", "11h49m", "2"]),
        ([bob.id[:8], "bob", "bob", "login", "-"], ["active", "11h49m", "0"]),
    ]
    first = json.loads(session("list", "--json"))["sessions"][0]
    assert 42400 < first.pop("seconds_left") < 42650
    assert first == {
        **{"id": alice.id, "user": "alice", "approver": "alice", "service": "iampass-sshd"},
        **{"from": "203.0.113.7", "since": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(alice.since))},
        **{"status": "active", "covered": 2, "last_covered": "2026-11-18T11:06:40+0000"},
        "logins": [{"user": "alice", "service": "iampass-sshd", "tty": "/dev/pts/3", "pid": 4711}],
    }


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"away": True, "status": "walkaway", "revoked": True}, "away"),
        ({"revoked": True}, "revoked"),
        ({"state": State.ENDING, "ended_by": EndCause.PHONE}, "ending"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_status_says_what_a_session_still_is(changes: dict[str, Any], status: str) -> None:
    store(kept(**changes))
    assert json.loads(session("list", "--json"))["sessions"][0]["status"] == status


def test_a_hostile_name_is_shown_as_text() -> None:
    store(kept(rhost="\x1b[2J\nevil"))
    assert "\\x1b[2J\\x0aevil" in session("list")


def test_watching_shows_each_change_until_it_is_interrupted() -> None:
    watching = Terminal([COMMAND, "session", "list", "--watch"])
    watching.expect_exact("There are no sessions.")
    alice = kept()
    store(alice)
    watching.expect("alice.*active")
    store(replace(alice, away=True))
    watching.expect("alice.*away")
    watching.send("\x03")
    assert watching.finish() == 130


@pytest.mark.parametrize("arguments", [(), ("alice", "--all")], ids=["nothing", "too much"])
def test_end_needs_a_user_a_session_or_all(arguments: tuple[str, ...]) -> None:
    assert "Give a user, the id of a session, or --all." in session("end", *arguments, status=2)


def test_the_beginning_of_two_ids_is_refused() -> None:
    store(kept(id="5f0c" + "0" * 28), kept("bob", id="5f0c" + "1" * 28))
    assert 'the ids of 2 sessions begin with "5f0c"' in session("end", "5f0c", status=1)
    assert session("end", "5f0") == "There is no such session.\n"  # too short for an id
    assert requested() == set()


def test_a_session_that_the_agent_does_not_end_is_an_error() -> None:
    sessions = kept("alice", approver="bob"), kept("bob"), kept("carol")
    store(*sessions)
    shown = session("end", "bob", status=1)
    assert "2 sessions not ended yet" in shown
    assert "systemctl status pam-iampass-agent" in shown
    assert requested() == {sessions[0].id, sessions[1].id}


def test_a_lost_phone_ends_the_sessions_that_it_has_approved(machine: Installation, sandbox: Sandbox) -> None:
    machine.configure(sandbox)
    machine.write_users("bob: b1\n")
    sandbox.add_user("b1", device=True)
    sessions = kept("alice", approver="bob"), kept("bob"), kept("bob", approver="carol")
    store(*sessions)
    done = run_command("phone", "lost", "bob", "--yes", "--no-wait")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 sessions of bob ended.\n")
    assert requested() == {sessions[0].id, sessions[1].id}

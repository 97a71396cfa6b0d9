"""`pam-iampass session` and `phone lost`, as an administrator types them, and the agent that they ask."""

from __future__ import annotations

import asyncio
import json
import pwd
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pam_iampass.agent import administration
from pam_iampass.agent.administration import Administration
from pam_iampass.agent.control import ControlServer, ask
from pam_iampass.audit.journal import ADMINISTRATION, Journal
from pam_iampass.cli.output import timestamp
from pam_iampass.config.settings import SessionSettings
from pam_iampass.outcome import PamCode
from pam_iampass.session.kept_session import AttachedLogin, KeptSession, State
from pam_iampass.session.life import Step
from pam_iampass.session.schedule import Scheduled
from pam_iampass.system.boot import since_boot
from tests.support.agent import CONTROL
from tests.support.command import COMMAND, run_command
from tests.support.installation import Installation
from tests.support.sandbox import HttpStatus, Sandbox
from tests.support.sessions import Keeping, keeping
from tests.support.setting import ME, Setting
from tests.support.terminal import Terminal


@contextmanager
def control_socket() -> Iterator[socket.socket]:
    """A socket that listens where root's command connects; that of an agent that runs is back afterwards."""
    aside = CONTROL.with_name("control.aside")
    if CONTROL.exists():
        CONTROL.rename(aside)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(CONTROL))
        CONTROL.chmod(0o600)
        listener.listen(64)
        try:
            yield listener
        finally:
            CONTROL.unlink()
            if aside.exists():
                aside.rename(CONTROL)


SECRET = "the-secret-of-the-session"


@pytest.fixture
def setting(shared_sandbox: Sandbox, trusted_folder: Path) -> Iterator[Setting]:
    """What a login of the module needs, in this process."""
    shared_sandbox.behave()
    shared_sandbox.auto = "approve"
    shared_sandbox.add_user(Setting.token, device=True)
    found = Setting(trusted_folder, shared_sandbox)
    yield found
    found.state.database.close()


@pytest.fixture
def agent(machine: Installation, setting: Setting) -> Iterator[Keeping]:
    """An agent in a thread of the test, which root's command asks."""
    with keeping(setting) as agent, control_socket() as listener:
        journal = Journal(setting.records)
        asked = Administration(setting.state, journal, lambda: 0, lambda *_report: None)
        server = ControlServer(listener, asked.handlers, journal)
        server.start()
        yield agent
        server.stop()


def kept(user: str = "alice", **changes: Any) -> KeptSession:
    """A session that was approved 10 minutes ago, and that an ssh login has opened."""
    session = KeptSession(
        id=secrets.token_hex(16),
        state=State.OPEN,
        session=json.dumps({"session_secret": SECRET}),
        config="/etc/iampass/iampass.yaml",
        user=user,
        approver=user,
        person=user,
        service="sshd",
        rhost="203.0.113.7",
        through_sshd=True,
        address="203.0.113.7",
        methods=(),
        first_factor=None,
        rules=SessionSettings(keep=True),
        began=since_boot() - 630,
        approved=since_boot() - 595,
        since=time.time() - 595,
        attached=(AttachedLogin(4711, user, 1000, "sshd", tty="/dev/pts/3"),),
    )
    return replace(session, **changes)


def begun(agent: Keeping, *sessions: KeptSession) -> None:
    """Have the agent keep sessions that no login has begun; IAMPASS is not asked about them."""
    for one in sessions:
        agent.sessions.add(Scheduled(one))


def session(*arguments: str, status: int = 0) -> str:
    """What `pam-iampass session` prints."""
    done = run_command("session", *arguments)
    assert done.returncode == status, done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    return done.stdout + done.stderr


def sudo_remembers(user: str) -> Path:
    """The file with which sudo remembers the password of a user (sudoers_timestamp(5)), by the user's id."""
    folder = Path("/run/sudo/ts")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = folder / str(pwd.getpwnam(user).pw_uid)
    file.touch(0o600)
    return file


def ending(agent: Keeping) -> set[str]:
    """The ids of the sessions that the agent ends."""
    return {one.id for one in agent.sessions.all() if one.state is State.ENDING}


def acts(agent: Keeping) -> list[tuple[str, str, str, str]]:
    """The records of acts of an administrator."""
    names = ("EVENT", "RESULT", "USER", "REASON")
    records = [fields for fields in agent.world.records.fields if fields.get("MESSAGE_ID") == ADMINISTRATION]
    return [tuple(fields[f"IAMPASS_{name}"] for name in names) for fields in records]  # type: ignore[misc]


def test_nobody_keeps_a_session(agent: Keeping) -> None:
    assert session("list") == "There are no sessions.\n"
    assert json.loads(session("list", "--json")) == {"sessions": []}
    assert session("end", "alice") == session("end", "--all") == "There is no such session.\n"


def test_the_list_says_who_is_logged_in_from_where_and_for_how_long(agent: Keeping) -> None:
    alice = kept("alice", covered=2, last_covered=1795000000.0)
    bob = kept("bob", rhost="", service="login", began=alice.began + 1)
    begun(agent, bob, alice, kept("carol", state=State.ASKED))  # carol's phone has not answered yet
    headings, *rows = [line.split() for line in session("list").splitlines()]
    assert headings == [
        *(
            "ID",
            "USER",
            "PERSON",
            "APPROVER",
            "SERVICE",
            "FROM",
            "SINCE",
            "(UTC)",
            "STATUS",
            "LEFT",
            "COVERED",
        ),
    ]
    assert [(row[:6], row[8:]) for row in rows] == [
        ([alice.id[:8], "alice", "alice", "alice", "sshd", "203.0.113.7"], ["active", "11h49m", "2"]),
        ([bob.id[:8], "bob", "bob", "bob", "login", "-"], ["active", "11h49m", "0"]),
    ]
    first = json.loads(session("list", "--json"))["sessions"][0]
    assert 42300 < first.pop("seconds_left") < 42650
    assert first == {
        **{"id": alice.id, "user": "alice", "person": "alice", "approver": "alice", "service": "sshd"},
        **{"from": "203.0.113.7", "since": timestamp(alice.since)},
        **{"status": "active", "covered": 2, "last_covered": "2026-11-18T11:06:40+00:00"},
        "logins": [{"user": "alice", "service": "sshd", "tty": "/dev/pts/3", "pid": 4711}],
    }


def test_watching_shows_each_change_until_it_is_interrupted(agent: Keeping) -> None:
    watching = Terminal([COMMAND, "session", "list", "--watch"])
    watching.expect_exact("There are no sessions.")
    alice = kept()
    begun(agent, alice)
    watching.expect("alice.*active")
    agent.sessions.change(alice.id, lambda one: Step(replace(one, away=True)))
    watching.expect("alice.*away")
    watching.send("\x03")
    assert watching.finish() == 130


@pytest.mark.parametrize("arguments", [(), ("alice", "--all")], ids=["nothing", "too much"])
def test_end_needs_a_user_a_session_or_all(arguments: tuple[str, ...]) -> None:
    assert "Give a user, the id of a session, or --all." in session("end", *arguments, status=2)


def test_the_beginning_of_two_ids_is_refused(agent: Keeping) -> None:
    begun(agent, kept(id="5f0c" + "0" * 28), kept("bob", id="5f0c" + "1" * 28))
    assert 'the ids of 2 sessions begin with "5f0c"' in session("end", "5f0c", status=1)
    told = "has no session. To name a session by its id, give at least the first four digits.\n"
    assert session("end", "5f0") == f"5f0 {told}"
    assert session("end", "") == "There is no such session.\n"
    assert ending(agent) == set()


def test_a_session_is_over_with_its_login_when_the_command_says_so(agent: Keeping) -> None:
    ident, login = agent.log_in()
    assert session("end", ident[:6]) == "1 session ended.\n"
    assert login.over
    assert agent.kept(ident) is None
    agent.world.wait_for_ends()
    assert acts(agent) == [("session_end", "success", ident[:6], "1 of 1 sessions ended")]


def test_a_session_that_the_agent_cannot_end_in_time_is_an_error(
    agent: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(administration, "PATIENCE", 0.5)  # it would wait for 21 s
    sessions = kept("alice", approver="bob"), kept("bob"), kept("carol")
    begun(agent, *sessions)  # their settings are not there, so that IAMPASS cannot be told
    shown = session("end", "bob", status=1)
    assert "2 sessions not ended yet" in shown
    assert "journalctl -u pam-iampass-agent" in shown
    assert ending(agent) == {sessions[0].id, sessions[1].id}
    assert acts(agent) == [("session_end", "success", "bob", "0 of 2 sessions ended")]


def test_a_lost_phone_ends_the_sessions_that_it_has_approved_and_what_waits_for_it(
    agent: Keeping, machine: Installation, sandbox: Sandbox
) -> None:
    machine.configure(sandbox)
    machine.write_users(f"{ME}: b1\n")
    sandbox.add_user("b1", device=True)
    ident, login = agent.log_in()
    begun(agent, other := kept(ME, approver="carol", person="carol"))
    agent.world.sandbox.auto = "ask"
    waiting = agent.door()
    agent.world.sandbox.wait_for_request(Setting.token)
    remembered = sudo_remembers(ME)
    done = run_command("phone", "lost", ME, "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"1 pending login denied.\nThe phone of {ME} is disabled at IAMPASS.\n1 session of {ME} ended.\n"
        f"For a new phone: pam-iampass enroll {ME}\n"
    )
    assert login.over
    assert agent.kept(ident) is None
    assert agent.kept(other.id) == other
    assert not remembered.exists(), "sudo would ask for nothing"
    assert waiting.finish().code == PamCode.ABORT
    assert agent.outcome()["IAMPASS_REASON"] == "the phone was reported lost (pam-iampass phone lost)"
    reason = "1 pending logins denied, 1 sessions are being ended; 0 bypasses ended, 0 recovery codes left"
    assert acts(agent) == [("phone_lost", "success", ME, reason)]


@dataclass(frozen=True)
class Meanwhile(HttpStatus):
    """A 503 that comes after something else has happened."""

    happens: Callable[[], object] = tuple

    async def interfere(self, connection: asyncio.Transport, stopping: asyncio.Event) -> None:
        await asyncio.to_thread(self.happens)


def test_a_login_that_begins_before_iampass_has_disabled_the_lost_phone_is_denied(
    agent: Keeping, machine: Installation, sandbox: Sandbox
) -> None:
    machine.configure(sandbox)
    machine.write_users(f"{ME}: b1\n")
    sandbox.add_user("b1", device=True)
    codes: list[int | None] = []
    sandbox.misbehave("lost_device", Meanwhile(happens=lambda: codes.append(agent.login().code)))
    done = run_command("phone", "lost", ME, "--yes")
    assert done.returncode == 1
    assert "503" in done.stderr
    assert codes == [PamCode.ABORT]
    assert "start" not in agent.world.calls


@pytest.mark.parametrize("option", ["--yes", "--keep-at-iampass"])
def test_a_user_who_is_removed_is_logged_out(
    agent: Keeping, machine: Installation, sandbox: Sandbox, option: str
) -> None:
    machine.configure(sandbox)
    machine.write_users("{}\n")
    sandbox.add_user("b1", device=True)
    added = run_command("user", "add", ME, "--token", "b1")
    assert added.returncode == 0, added.stderr
    ident, login = agent.log_in()
    begun(agent, other := kept(ME, approver="carol", person="carol"))
    agent.world.sandbox.auto = "ask"
    waiting = agent.door()
    agent.world.sandbox.wait_for_request(Setting.token)
    remembered = sudo_remembers(ME)
    done = run_command("user", "remove", ME, option)
    assert done.returncode == 0, done.stderr
    assert not remembered.exists(), "sudo would ask for nothing"
    assert done.stdout.startswith(f"1 session of {ME} ended.\n")
    assert login.over
    assert (agent.kept(ident), agent.kept(other.id)) == (None, other)
    assert waiting.finish().code == PamCode.ABORT
    assert agent.login(service="sudo", audit_session="42").code == PamCode.ABORT, "nothing is covered"
    removed = ("user_remove", "success", ME, "1 pending logins denied, 1 sessions are being ended")
    assert acts(agent) == [removed]


def test_a_login_that_begins_before_a_removed_user_is_out_of_the_table_is_ended(agent: Keeping) -> None:
    ask("user forget", user=ME)
    ident, login = agent.log_in()
    assert ask("session wait", users=[ME], sessions=[]) == {"ended": [ident], "not_ended": []}
    assert login.over


def test_without_an_agent_a_lost_phone_is_still_disabled_at_iampass(
    machine: Installation, sandbox: Sandbox
) -> None:
    machine.configure(sandbox)
    machine.write_users("bob: b1\n")
    sandbox.add_user("b1", device=True)
    with control_socket() as listener:
        listener.close()
        remembered = sudo_remembers("bob")
        done = run_command("phone", "lost", "bob", "--yes")
    assert done.returncode == 1
    assert not remembered.exists()
    assert "Connection refused\n    systemctl start pam-iampass-agent.socket" in done.stderr
    assert "The phone of bob is disabled at IAMPASS." in done.stdout
    assert not sandbox.users["b1"]

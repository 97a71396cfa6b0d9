"""`pam-iampass log` against a real journal, with records that are real and records that are forged."""

from __future__ import annotations

import json
import pwd
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from pam_iampass.agent.administration import Administration
from pam_iampass.agent.control import ControlServer
from pam_iampass.audit.journal import Journal
from pam_iampass.system.paths import SETTINGS
from tests.support.agent import SOCKET
from tests.support.command import COMMAND, run_command
from tests.support.installation import ROOT, Installation
from tests.support.journald import Journald
from tests.support.sandbox import Sandbox
from tests.support.setting import Setting
from tests.support.terminal import Terminal
from tests.support.world import uid_of
from tests.system.test_session_command import control_socket

# Writes audit records as the module does, as the user it is run as.
RECORD = """
import sys
from pam_iampass.audit.journal import Journal
from pam_iampass.outcome import Decision, Login, Outcome, Participants, RESULTS
outcome = Outcome(sys.argv[2])
result = sorted(RESULTS[outcome], key=lambda one: one.value)[0]
caller, _, approver = (sys.argv[7] or ":" + sys.argv[1]).partition(":")
login = Login(sys.argv[1], sys.argv[3], sys.argv[4] or None, participants=Participants(caller, approver))
Journal().record(login, Decision(outcome, result, sys.argv[5], elapsed=float(sys.argv[6])))
"""

DOOR = "pam_iampass(sudo:auth): outcome=unavailable result=denied user={} service=sudo rhost= reason=x"


def as_user(user: str, *command: str) -> None:
    """Run a command as a user."""
    setpriv = ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--clear-groups"]
    subprocess.run([*setpriv, *command], check=True, cwd=ROOT)


def record(
    user: str,
    outcome: str = "approved",
    service: str = "sshd",
    rhost: str = "192.0.2.7",
    reason: str = "",
    elapsed: float = 0.0,
    writer: str = "_iampass",
    participants: str = "",
) -> None:
    """A login leaves its record. `participants` is `caller:approver`; by default only the user approved."""
    arguments = [user, outcome, service, rhost, reason, str(elapsed), participants]
    as_user(writer, sys.executable, "-c", RECORD, *arguments)


def door_record(user: str, writer: str) -> None:
    """A process of this user leaves the record that a native door would."""
    as_user(writer, "logger", "-t", "sudo", "-p", "authpriv.err", DOOR.format(user))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    subprocess.run(["journalctl", "-q", "--sync"], check=False)
    done = run_command("log", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def lines(*arguments: str) -> list[str]:
    """The table without its heading."""
    return run(*arguments).stdout.splitlines()[1:]


def objects(*arguments: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in run("--json", *arguments).stdout.splitlines()]


@pytest.fixture(autouse=True, scope="module")
def _journal(machine: Installation, journald: Journald) -> None:
    """A journal without what other tests left in it, and the user that the module runs as."""
    journald.clear()


def test_a_record_of_the_module_is_a_line_of_the_table() -> None:
    record("alice", "denied", reason="USER_DECLINED", elapsed=3.21)
    found = run("alice", "-n", "1").stdout.splitlines()
    assert found[0].split() == [
        *("WHEN", "(UTC)", "USER", "APPROVER", "SERVICE", "FROM", "OUTCOME", "TOOK", "REASON")
    ]
    cells = re.split(" {2,}", found[1])
    assert (
        abs((datetime.now().astimezone() - datetime.fromisoformat(cells[0]).astimezone()).total_seconds())
        < 60
    )
    assert cells[1:] == ["alice", "alice", "sshd", "192.0.2.7", "denied", "3.2 s", "USER_DECLINED"]


def test_plain_logins_need_no_more_than_eighty_columns() -> None:
    record("wendy", elapsed=3.21)
    record("wendy", "denied", rhost="203.0.113.255", elapsed=59.9)
    found = run("wendy").stdout.splitlines()
    assert len(found) == 3
    assert max(map(len, found)) <= 80, found


def test_the_logins_of_a_user_are_those_that_they_called_or_approved_too() -> None:
    record("root", "approved", service="su", rhost="", participants="trent:trent")
    record("victor", "denied", service="su", rhost="", participants="trent:victor")
    record("trent")
    record("victor")
    seen = ("user", "caller", "approver")
    assert [tuple(one[name] for name in seen) for one in objects("trent")] == [
        ("root", "trent", "trent"),
        ("victor", "trent", "victor"),
        ("trent", "", "trent"),
    ]
    assert re.split(" {2,}", lines("trent")[0])[1:5] == ["root", "trent", "trent", "su"]


def test_a_record_that_an_ordinary_user_wrote_is_not_shown() -> None:
    record("heidi", "approved", rhost="198.51.100.9", writer="mallory")
    record("heidi", "denied", rhost="192.0.2.7")
    found = run("heidi")
    assert "198.51.100.9" not in found.stdout
    assert [one["outcome"] for one in objects("heidi")] == ["denied"]
    assert [one["outcome"] for one in objects("heidi", "--unverified")] == ["denied"]
    everything = subprocess.run(["journalctl", "-q", "-o", "cat"], capture_output=True, text=True, check=True)
    assert (
        "outcome=approved result=success user=heidi" in everything.stdout
    )  # the forged one is in the journal


def test_what_a_door_may_have_left_in_a_process_of_a_user_is_mentioned_and_shown_with_a_mark_where_wanted() -> (
    None
):
    door_record("judy", "judy")
    found = run("judy")
    assert found.stdout == ""
    assert "No login." in found.stderr
    assert "1 record of ordinary users not shown. To see them: --unverified" in found.stderr
    (line,) = lines("judy", "--unverified")
    assert "unverified, written by user judy" in line
    (found_too,) = objects("judy", "--unverified")
    assert (found_too["verified"], found_too["uid"]) == (False, uid_of("judy"))


@pytest.fixture
def su_without_a_module() -> Iterator[None]:
    """su asks the phone, and no agent runs."""
    su = Path("/etc/pam.d/su")
    kept = su.read_bytes()
    phases = "".join(f"{phase} required pam_permit.so\n" for phase in ("auth", "account", "session"))
    su.write_text(f"auth required pam_iampass.so\n{phases}")
    aside = SOCKET.with_name("pam.aside")
    if SOCKET.exists():
        SOCKET.rename(aside)
    yield
    if aside.exists():
        aside.rename(SOCKET)
    su.write_bytes(kept)


@pytest.mark.usefixtures("su_without_a_module")
def test_what_the_door_leaves_in_a_real_su_is_shown() -> None:
    """The journal's `_UID` is root's, though su's real user id is the caller's."""
    as_niaj = ["setpriv", "--reuid=niaj", "--regid=niaj", "--init-groups", "su", "bob", "-c", "true"]
    assert subprocess.run(as_niaj, capture_output=True, check=False).returncode == 1
    (found,) = objects("bob", "--service", "su")
    assert (found["outcome"], found["uid"], found["verified"]) == ("unavailable", 0, True)
    assert "agent is not running" in str(found["reason"])


def test_what_a_door_has_let_in_without_the_agent_is_reported_later_and_nothing_that_others_wrote(
    shared_sandbox: Sandbox, trusted_folder: Path
) -> None:
    line = "outcome=unavailable result=ignored user={} service=sshd rhost=192.0.2.9 reason=no agent decides"
    for user, writer in (("root", "root"), ("mallory", "mallory"), ("judy", "_iampass")):
        as_user(writer, "logger", "-t", "pam_iampass", "-p", "authpriv.alert", line.format(user))
    subprocess.run(["journalctl", "-q", "--sync"], check=False)
    (shown,) = objects("root", "--let-in", "--service", "sshd")
    reported: list[tuple[Any, ...]] = []
    setting = Setting(trusted_folder, shared_sandbox)
    journal = Journal(setting.records)
    asked = Administration(setting.state, journal, lambda: 0, lambda *each: reported.append(each))
    with control_socket() as listener:
        server = ControlServer(listener, asked.handlers, journal)
        server.start()
        for _ in range(2):
            assert run_command("setup", "--watch").returncode == 0
        server.stop()
    setting.state.database.close()
    assert reported[0] == reported[1]
    (config, login, at, texts), _ = reported
    assert (config, login) == (SETTINGS, shown["login"])
    assert datetime.fromtimestamp(at, timezone.utc) == datetime.fromisoformat(str(shown["time"]))
    assert texts == {
        **{"outcome": "unavailable", "user": "root", "service": "sshd", "remote": "192.0.2.9"},
        "reason": "no agent decides",
    }


def test_records_can_be_chosen_by_outcome_service_number_and_time() -> None:
    before = datetime.now().astimezone()
    for outcome, service in (("approved", "a"), ("denied", "a"), ("denied", "b"), ("timed_out", "b")):
        record("carol", outcome, service)
    assert [one["outcome"] for one in objects("carol")] == ["approved", "denied", "denied", "timed_out"]
    assert len(objects("carol", "--outcome", "denied")) == 2
    assert len(objects("carol", "--outcome", "denied", "--outcome", "approved")) == 3
    assert [one["outcome"] for one in objects("carol", "--service", "b")] == ["denied", "timed_out"]
    assert [one["outcome"] for one in objects("carol", "-n", "2")] == ["denied", "timed_out"]
    assert len(objects("carol", "--since", before.isoformat())) == 4
    assert len(objects("carol", "--since", "1h")) == 4
    assert objects("carol", "--since", "now") == []


def test_text_from_outside_can_neither_write_on_the_terminal_nor_style_itself() -> None:
    record(
        "erin", "denied", rhost="\x1b[2Jevil\u202e", reason="[bold]big[/bold] :warning:\n2026 root approved"
    )
    terminal = Terminal([COMMAND, "log", "erin", "-n", "1"])
    assert terminal.finish() == 0
    assert "[bold]big[/bold] :warning:\\x0a2026 root approved" in terminal.shown
    assert "\\x1b[2Jevil\\u202e" in terminal.shown
    assert "\x1b[2J" not in terminal.shown
    assert "\x1b[31mdenied" in terminal.shown


def test_following_shows_what_was_and_each_record_as_it_is_written_until_ctrl_c() -> None:
    record("grace", "denied", reason="first")
    subprocess.run(["journalctl", "-q", "--sync"], check=False)
    terminal = Terminal([COMMAND, "log", "grace", "--follow"])
    terminal.expect_exact("first")
    record("mallory", "denied", reason="another user's")
    record("grace", "approved", reason="second", writer="mallory")
    record("grace", "approved", reason="third")
    terminal.expect_exact("third")
    terminal.send("\x03")
    assert terminal.finish() == 130
    assert "second" not in terminal.shown
    assert "another user's" not in terminal.shown
    assert "Traceback" not in terminal.shown


def test_without_a_journal_it_says_where_to_look(journald: Journald) -> None:
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
    hide = "mount -t tmpfs none /run/log; mount -t tmpfs none /var/log; exec pam-iampass log"
    done = subprocess.run([*command, hide], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("there is no journal that this user can read\n")
    assert "search the authpriv log" in done.stderr


def test_a_journal_that_libsystemd_was_not_built_for_is_reported(journald: Journald) -> None:
    (file,) = Path("/run/log/journal").glob("*/system.journal")
    unknown = (
        "printf '\\377' | dd of={} bs=1 seek=15 conv=notrunc status=none"  # incompatible_flags, the last byte
    )
    prepare = (
        f"mkdir /run/kept; cp {file} /run/kept; mount -t tmpfs none /run/log; mkdir -p {file.parent};"
        f" cp /run/kept/system.journal {file}; {unknown.format(file)}; rm -r /run/kept; exec pam-iampass log"
    )
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", prepare]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"libsystemd on this machine cannot read {file}\n    install libzstd1")


def test_the_log_of_a_user_who_may_read_no_journal_says_why_it_is_empty() -> None:
    as_alice = ["setpriv", "--reuid=alice", "--regid=alice", "--clear-groups", COMMAND, "log"]
    done = subprocess.run(as_alice, capture_output=True, text=True, check=False)
    assert "root" in done.stderr
    assert "approved" not in done.stdout
    assert "Traceback" not in done.stderr

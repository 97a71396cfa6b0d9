"""What a login leaves in the journal, in syslog where there is none, and nowhere else."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_iampass.audit.journal import (
    ADMINISTRATION,
    BACKUP_FAILED,
    BYPASS_OVER,
    GATEWAY_ALERT,
    HOST_REPORT,
    MESSAGE_IDS,
    PAM_FILE_IDS,
    SESSION_IDS,
    SESSION_LEFT_OPEN,
)
from pam_iampass.audit.sinks import JOURNAL_SOCKET, LONGEST_WAIT
from pam_iampass.outcome import Outcome
from tests.support import processes
from tests.support.command import run_command
from tests.support.installation import ROOT
from tests.support.journald import Journald
from tests.support.sandbox import HttpStatus
from tests.support.world import PEOPLE, World, token_of

CATALOGUE = ROOT / "packaging/systemd/pam_iampass.catalog"
SYSLOG = Path("/run/systemd/journal/dev-log")
AUTHPRIV = 10


def test_journalctl_explains_a_record_and_names_who_it_is_about(world: World) -> None:
    world.sandbox.add_user(token_of("dave"), device=False)
    login = world.login("dave")
    login.enter()
    login.finish()
    world.settle()
    explained = world.explained()
    assert "Subject: No phone registered" in explained
    assert "Register a phone: pam-iampass enroll dave" in explained
    assert 'A login of dave through sshd from "127.0.0.1" was denied.' in explained
    assert "dave must\n░░ approve it and has a token" in explained
    assert 'Caller: "".' in explained
    assert "@IAMPASS_" not in explained


def test_a_session_that_cannot_be_ended_is_reported_and_the_login_is_not_held_up(world: World) -> None:
    world.sandbox.misbehave("end", HttpStatus(500, acts=False), times=None)
    login = world.login("alice")
    login.enter()
    world.approve("alice")
    assert login.finish() == 0
    world.settle()
    approved, left_open = world.records("alice")
    assert approved["IAMPASS_OUTCOME"] == "approved"
    assert left_open["MESSAGE_ID"] == SESSION_LEFT_OPEN
    assert left_open["PRIORITY"] == "4"
    assert "Subject: An IAMPASS session was left open" in world.explained()


def test_every_kind_of_record_is_explained_and_nothing_else() -> None:
    explained = re.findall(r"^-- ([0-9a-f]{32})$", CATALOGUE.read_text(), re.MULTILINE)
    others = SESSION_LEFT_OPEN, BYPASS_OVER, ADMINISTRATION, GATEWAY_ALERT, HOST_REPORT, BACKUP_FAILED
    assert sorted(explained) == sorted(
        [*MESSAGE_IDS.values(), *SESSION_IDS.values(), *PAM_FILE_IDS.values(), *others]
    )


def test_the_queries_of_the_page_find_what_they_say(world: World) -> None:
    """Everything, phones that did not approve, logins without the second factor, acts, what to look at now; denials."""
    page = (ROOT / "docs/reference/records.md").read_text("utf-8")
    queries = re.findall("^ {4}(journalctl SYSLOG.*)", page, re.MULTILINE)
    [denials] = re.findall("^ {4}journalctl -o json (?:.*\n)+?.*uniq -c$", page, re.MULTILINE)
    before = world.journald.cursor()

    def shown(query: str) -> str:
        return subprocess.run(["sh", "-c", query], check=True, capture_output=True, text=True).stdout

    login = world.login("bob")
    login.enter()
    world.deny("bob")
    assert login.finish() != 0
    assert run_command("bypass", "alice", "--for", "15m", "--reason", "phone lost").returncode == 0
    assert world.login("alice").finish() == 0
    world.settle()
    written = ["systemd-cat", "--identifier=pam_iampass", "--priority=crit", "echo"]
    subprocess.run([*written, "a line was taken out"], check=True)
    subprocess.run(["setpriv", "--reuid=bob", "--clear-groups", *written, "forged"], check=True)
    assert "forged" in json.dumps(world.journald.everything(before))
    everything = shown(queries[0])
    found = [shown(f"{query} --quiet --after-cursor='{before}'") for query in queries[1:]]
    world.machine.forget()
    assert len(found) == 4
    for text, lines in zip(("denied", "bypassed", "phone lost", "a line was taken out"), found):
        assert text in lines
        assert lines.count("\n") == 1
        assert lines in everything
    assert "forged" not in everything
    assert re.search("^ +[1-9][0-9]* bob$", shown(denials), re.MULTILINE)


def test_a_journald_that_hangs_delays_no_login_and_gets_the_records_afterwards(
    world: World, journald: Journald
) -> None:
    for users in zip(PEOPLE[::2], PEOPLE[1::2]):
        with journald.hanging():
            logins = {user: world.login(user) for user in users}
            for login in logins.values():
                login.enter()
            began = time.monotonic()
            for user in users:
                world.approve(user)
            assert [login.finish() for login in logins.values()] == [0, 0]
        took = time.monotonic() - began
        if took < LONGEST_WAIT:
            break  # otherwise the machine was busy, or else it always takes as long
    assert took < LONGEST_WAIT
    for user in users:
        record = world.record(user)
        assert (record["IAMPASS_OUTCOME"], record["MESSAGE_ID"]) == (
            "approved",
            MESSAGE_IDS[Outcome.APPROVED],
        )
        assert record["_UID"] == str(pwd.getpwnam("_iampass").pw_uid)
        assert record["_COMM"] == "python3"


#: Sends records as fast as it can, without waiting for room.
FLOOD = f"""
import socket
sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sender.setblocking(False)
sender.connect({JOURNAL_SOCKET!r})
print(flush=True)
while True:
    try:
        sender.send(b"MESSAGE=flood\\n")
    except BlockingIOError:
        pass
"""


def test_a_user_who_floods_the_journal_swallows_no_record_of_another(world: World) -> None:
    command = ["setpriv", "--reuid=mallory", "--clear-groups", "/usr/bin/python3", "-I", "-c", FLOOD]
    with contextlib.ExitStack() as floods:
        for _ in range(2):
            flood = floods.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            floods.callback(flood.kill)
            assert flood.stdout is not None
            flood.stdout.readline()
        login = world.login("alice")
        login.enter()
        world.approve("alice")
        assert login.finish() == 0
        world.settle()
    assert world.outcome("alice") == ("approved", "success")


@pytest.fixture
def no_journal(world: World, journald: Journald) -> Iterator[None]:
    """No journald."""
    journald.stop()
    yield
    journald.start()


@pytest.fixture
def syslog(no_journal: None) -> Iterator[socket.socket]:
    """What a syslog daemon listens at."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(SYSLOG))
        SYSLOG.chmod(0o666)
        yield listener
        SYSLOG.unlink()


def lines(listener: socket.socket) -> list[str]:
    """What has come to the syslog daemon from the module."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(listener.recv(1 << 16, socket.MSG_DONTWAIT).decode())
    return [line for line in found if "pam_iampass" in line]


def test_without_a_journal_the_record_is_a_line_of_syslog(world: World, syslog: socket.socket) -> None:
    world.sandbox.add_user(token_of("dave"), device=False)
    login = world.login("dave")
    login.enter()
    login.finish()
    world.settle()
    [line] = lines(syslog)
    priority = re.match(r"<(\d+)>", line)
    assert priority is not None
    assert divmod(int(priority[1]), 8) == (AUTHPRIV, 4)
    assert re.search(r" pam_iampass\[\d+\]: outcome=no_device result=denied user=dave ", line)
    assert "service=sshd rhost=127.0.0.1 caller=" in line
    assert line.rstrip("\n\0").endswith("reason=NO_MOBILE_DEVICE")


def test_nothing_secret_is_written_or_to_be_seen_anywhere(world: World) -> None:
    Path("/etc/pam.d/sshd").write_text(
        (service := Path("/etc/pam.d/sshd").read_text()).replace("=publickey", "=publickey debug", 1)
    )
    try:
        login = world.login("alice")
        login.enter()
        session = world.request("alice")
        secrets = {
            "application secret": world.sandbox.application_secret,
            "token of the user": token_of("alice"),
            "session token": session.token,
            "session secret": session.secret,
        }
        seen = {name: text for pid in others() for name, text in public(pid).items()}
        world.approve("alice")
        assert login.finish() == 0
    finally:
        Path("/etc/pam.d/sshd").write_text(service)
    world.settle()
    seen["journal"] = world.everything_logged()
    seen["sshd's log"] = "\n".join(world.sshd_log())
    seen["screen"] = login.shown
    assert "login started" in seen["journal"]
    assert "/usr/lib/pam-iampass/agent" in "".join(seen)
    found = [
        (what, where) for where, text in seen.items() for what, secret in secrets.items() if secret in text
    ]
    assert found == []


def others() -> list[int]:
    """Every process but this one, which plays IAMPASS and knows it all."""
    return [pid for pid in processes.all_pids() if pid != os.getpid()]


def public(pid: int) -> dict[str, str]:
    """A process's arguments and environment, by names that tell where they are from."""
    name = processes.command_line(pid)
    texts = {}
    for part in ("cmdline", "environ", "comm"):
        with contextlib.suppress(OSError):
            texts[f"{part} of {pid} {name}"] = Path(f"/proc/{pid}/{part}").read_text(errors="replace")
    return texts

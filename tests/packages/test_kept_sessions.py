"""Kept sessions on a booted machine: whatever becomes of the agent, they end with the login, and not before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.packages.administrator import Administrator, built, newer
from tests.packages.booted import PATIENCE, Booted
from tests.packages.kept_logins import all_log_out, sessions, wait_for
from tests.packages.people import People, press_enter

AGENT = "pam-iampass-agent.service"
IAMPASS_LOG = "/var/log/iampass.log"


@pytest.fixture(scope="module")
def ready(administrator: Administrator) -> Administrator:
    """sshd asks the phone and keeps the sessions. IAMPASS runs until the agent has stopped."""
    machine = administrator.machine
    machine.write("/etc/systemd/system/sandbox.service.d/order.conf", f"[Unit]\nBefore={AGENT}\n")
    machine.shell(f"ln -s {IAMPASS_LOG} /run/sandbox.log")  # what it prints outlives the boot
    administrator.start_iampass()
    administrator.configure(session="{keep: true, check: 5s}")
    administrator.set_up("sshd", "--key")
    return administrator


@pytest.fixture(autouse=True)
def nobody_stays_logged_in(machine: Booted) -> Iterator[None]:
    """No login outlives its test."""
    yield
    all_log_out(machine)


def log_in(people: People) -> None:
    """A login of alice's that stays."""
    people.machine.run("pam-iampass", "throttle", "clear", "alice")
    login = people.ssh("alice", "sleep 1000")
    press_enter(login)
    people.phone.approve("alice")
    # The first login starts the user's systemd, for which pam_systemd waits.
    machine = people.machine
    wait_for(
        lambda: [len(each["logins"]) for each in sessions(machine)] == [1], "the session opens", 3 * PATIENCE
    )


def events(machine: Booted, ident: str, *options: str) -> list[dict[str, Any]]:
    """The events of a session in the journal, the oldest first."""
    machine.run("journalctl", "--sync")
    command = ("journalctl", "-q", "-o", "json", *options, f"IAMPASS_SESSION={ident}")
    records = [json.loads(line) for line in machine.run(*command).stdout.splitlines()]
    return [record for record in records if "IAMPASS_EVENT" in record]


def stored(machine: Booted) -> str:
    """How many descriptors systemd keeps for the agent."""
    return machine.run("systemctl", "show", "-P", "NFileDescriptorStore", AGENT).stdout.strip()


@pytest.mark.parametrize("how", ["killed", "stopped", "upgraded"])
def test_no_session_is_lost_when_the_agent_ends(
    machine: Booted, ready: Administrator, people: People, how: str, tmp_path: Path
) -> None:
    log_in(people)
    (session,) = sessions(machine)
    wait_for(lambda: stored(machine) == "1", "systemd keeps the descriptor")
    show = ("systemctl", "show", "-P", "MainPID", AGENT)
    before = machine.run(*show).stdout
    if how == "killed":
        machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", AGENT)
    elif how == "stopped":
        machine.run("systemctl", "stop", AGENT)
        machine.run("systemctl", "start", AGENT)
    else:
        ready.install(*(newer(package, tmp_path, "9") for package in built()))
    wait_for(lambda: machine.run(*show).stdout not in ("0\n", before), "another agent runs")
    wait_for(lambda: stored(machine) == "1", "systemd keeps the descriptor")
    assert [each["id"] for each in sessions(machine)] == [session["id"]]
    all_log_out(machine)
    assert [event["IAMPASS_EVENT"] for event in events(machine, session["id"])] == [
        "session_opened",
        "session_ended",
    ]
    wait_for(lambda: stored(machine) == "0", "systemd keeps no descriptor")


def test_the_agent_sees_the_end_of_the_logins_at_shutdown_and_tells_iampass(
    machine: Booted, ready: Administrator, people: People
) -> None:
    log_in(people)
    (session,) = sessions(machine)
    machine.reboot()
    opened, ended = events(machine, session["id"])
    assert (opened["IAMPASS_EVENT"], ended["IAMPASS_EVENT"]) == ("session_opened", "session_ended")
    assert ended["IAMPASS_REASON"] == "the login is over"
    assert sessions(machine) == []
    assert "ended" in machine.read(IAMPASS_LOG).splitlines()[-1]

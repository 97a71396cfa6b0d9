"""Logins through the system's own sshd, sudo and su, with the agent started by its socket."""

from __future__ import annotations

import json
import re
import time

import pytest

from tests.packages.administrator import Administrator
from tests.packages.booted import Booted
from tests.packages.people import People, got_in, outcomes, press_enter
from tests.packages.phone import PORT


@pytest.fixture(scope="module")
def sshd(administrator: Administrator) -> str:
    """sshd asks for the key and the phone, sudo for the password and the phone; the service's name for sshd."""
    administrator.start_iampass()
    administrator.configure()
    administrator.set_up("sshd", "sudo", "--key")
    return "sshd"


@pytest.fixture
def cursor(machine: Booted, administrator: Administrator, sshd: str) -> str:
    """Where the journal was when the test began, with the usual settings, and nobody's phone in a cool-off."""
    administrator.configure()
    machine.run("pam-iampass", "throttle", "clear", "alice")
    return machine.cursor()


def test_a_login_that_the_phone_approves(machine: Booted, people: People, sshd: str, cursor: str) -> None:
    login = people.ssh("alice")
    press_enter(login)
    people.phone.approve("alice")
    assert got_in(login, "alice")
    [record] = machine.journal(cursor, SYSLOG_IDENTIFIER="pam_iampass")
    assert outcomes([record]) == [("approved", "success", "alice", sshd)]
    assert record["IAMPASS_RHOST"] == "127.0.0.1"
    assert record["SYSLOG_FACILITY"] == "10"
    assert int(record["IAMPASS_ELAPSED_MS"]) > 0
    assert record["_SYSTEMD_UNIT"] == "pam-iampass-agent.service"
    assert "A login of alice through" in machine.explained(cursor)


def test_enrollment_makes_a_user_who_can_log_in(
    machine: Booted, administrator: Administrator, people: People, sshd: str, cursor: str
) -> None:
    login = people.ssh("carol")
    press_enter(login)
    assert not got_in(login, "carol")
    enrollment = machine.terminal("pam-iampass", "enroll", "carol", "--timeout", "60s")
    enrollment.expect(re.escape(f"https://127.0.0.1:{PORT}") + r"(/register/[A-Za-z0-9_-]+)")
    people.phone.register(enrollment.match.group(1))
    assert enrollment.finish() == 0, enrollment.shown
    token = json.loads(machine.run("pam-iampass", "user", "show", "carol", "--json").stdout)["token"]
    login = people.ssh("carol")
    press_enter(login)
    people.phone.approve(token=token)
    assert got_in(login, "carol")
    machine.run("pam-iampass", "user", "remove", "carol")
    assert outcomes(machine.journal(cursor)) == [
        ("unlisted", "denied", "carol", sshd),
        ("approved", "success", "carol", sshd),
    ]


def test_the_watchdog_is_content_with_an_idle_agent(
    machine: Booted, people: People, sshd: str, cursor: str
) -> None:
    before = machine.run("systemctl", "show", "-P", "MainPID", "pam-iampass-agent.service").stdout
    period = int(
        machine.run("systemctl", "show", "-P", "WatchdogUSec", "pam-iampass-agent.service").stdout.strip()[
            :-2
        ]
    )
    time.sleep(period + 3)
    after = machine.run("systemctl", "show", "-P", "MainPID", "pam-iampass-agent.service").stdout
    assert (before, machine.journal(cursor, _SYSTEMD_UNIT="pam-iampass-agent.service")) == (after, [])

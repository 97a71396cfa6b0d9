"""Bypasses in real sudo and su: whom they let in, and who cannot make one."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.agent import AS_IAMPASS
from tests.support.command import run_command
from tests.support.setuid.side_by_side import side_by_side
from tests.support.setuid.stage import Guest, Phone

pytestmark = pytest.mark.usefixtures("caller_approves")


def bypass(guest: Guest, *options: str) -> None:
    done = run_command("bypass", guest.name, "--for", "15m", "--reason", "phone lost", *options)
    assert done.returncode == 0, done.stderr


@side_by_side
def test_a_bypassed_caller_of_su_becomes_root_without_the_phone_and_nobody_else(guest: Guest) -> None:
    friend = guest.stage.guest(Phone.DENIES)
    guest.set_phone(Phone.APPROVES)
    bypass(guest)
    assert guest.play("su").got_in
    assert guest.starts() == 0
    assert guest.play("su", friend.name, "-c", "echo in").status == 1
    assert friend.starts() == 1


@side_by_side
def test_neither_the_caller_nor_the_user_of_the_agent_can_make_a_bypass(guest: Guest) -> None:
    guest.set_phone(Phone.DENIES)
    command = ["/usr/bin/pam-iampass", "bypass", guest.name, "--for", "15m"]
    for under in (AS_IAMPASS, ["setpriv", f"--reuid={guest.name}", "--clear-groups"]):
        done = subprocess.run([*under, *command], capture_output=True, text=True, check=False)
        assert (done.returncode, "run it as root" in done.stderr) == (1, True)
    assert not guest.play("sudo").got_in
    assert guest.starts() == 1

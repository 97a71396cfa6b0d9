"""A PAM service that includes itself twice, for which libpam reads for minutes: every verb answers at once."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import COMMAND
from tests.support.terminal import ENVIRONMENT
from tests.system.setup.conftest import Administrator

TWICE = Path("/etc/pam.d/iampass-twice")
LINES = "auth include iampass-twice\nauth include iampass-twice\nauth required pam_iampass.so\n"
WHAT = "more than 200 files or 1,000 lines: does a file include itself?"


@pytest.fixture
def twice(administrator: Administrator) -> Iterator[Administrator]:
    TWICE.write_text(LINES)
    yield administrator
    TWICE.unlink()


def at_once(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command, which has a few seconds of the processor."""
    command = ["prlimit", "--cpu=8", COMMAND, *arguments]
    environment = {**ENVIRONMENT, "SUDO_USER": "alice"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode >= 0, f"it was killed: {done}"
    assert "Traceback" not in done.stderr + done.stdout
    return done


def test_check_warns_of_it(twice: Administrator) -> None:
    twice.machine.change(enroll_at_login="true")
    (problem,) = json.loads(at_once("check", "--json").stdout)["problems"]
    assert (problem["file"], problem["severity"]) == (str(TWICE), "warning")
    assert WHAT in problem["what"]


def test_test_does_not_run_it(twice: Administrator) -> None:
    done = at_once("test", "alice", "--service", TWICE.name)
    assert done.returncode == 1
    assert f"PAM service {TWICE.name}: {TWICE}: " in done.stderr
    assert WHAT in done.stderr


def test_doctor_finds_it(twice: Administrator) -> None:
    TWICE.rename("/etc/pam.d/vsftpd")  # that a program may use
    try:
        Path("/etc/pam.d/vsftpd").write_text(LINES.replace(TWICE.name, "vsftpd"))
        done = at_once("doctor", "--offline", "--json")
    finally:
        Path("/etc/pam.d/vsftpd").rename(TWICE)
    found = {one["id"]: one for one in json.loads(done.stdout)["findings"]}
    assert found["pam-broken"]["subject"] == "vsftpd"
    assert WHAT in found["pam-broken"]["evidence"]


def test_setup_refuses_a_stack_that_leads_to_it(twice: Administrator) -> None:
    shared = Path("/etc/pam.d/common-auth")
    kept = shared.read_text()
    shared.write_text(f"{kept}auth include {TWICE.name}\n")
    try:
        done = at_once("setup", "sudo", "--dry-run")
    finally:
        shared.write_text(kept)
    assert done.returncode == 1
    assert "PAM: sudo does not work: /etc/pam.d/iampass-twice: " in done.stderr
    assert WHAT in done.stderr

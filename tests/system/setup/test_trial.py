"""A trial ends at its deadline, whatever becomes of the terminal and of the process that began it.

Here systemd is a script that does nothing, and the tests call what its timer calls; `tests/packages` has the real one.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_iampass.setup import trial
from tests.system.setup.conftest import STATE, Administrator, everything

MANIFEST = STATE / "setup/manifest.json"
SYSTEMD, SYSTEMCTL = Path("/run/systemd/system"), Path("/usr/bin/systemctl")
UNITS = Path("/etc/systemd/system")


@pytest.fixture(autouse=True)
def systemd(administrator: Administrator) -> Iterator[None]:
    """As where systemd runs, and sshd is none of its services."""
    SYSTEMD.mkdir(parents=True)
    real = SYSTEMCTL.with_name("systemctl-real")
    shutil.copy2(SYSTEMCTL, real)
    SYSTEMCTL.unlink()
    SYSTEMCTL.write_text("#!/bin/sh\ncase $1 in is-active) exit 3 ;; esac\n")
    SYSTEMCTL.chmod(0o755)
    yield
    administrator.setup("undo", ok=None)
    SYSTEMCTL.unlink()
    real.rename(SYSTEMCTL)
    SYSTEMD.rmdir()


def test_without_systemd_there_is_no_trial(administrator: Administrator) -> None:
    SYSTEMD.rmdir()
    before = everything()
    try:
        assert "--try needs systemd" in administrator.setup("sudo", "--try", "5m", ok=False)
    finally:
        SYSTEMD.mkdir()
    assert everything() == before


def test_it_is_confirmed_by_a_login_and_then_stays(administrator: Administrator) -> None:
    told = administrator.setup("sudo", "--try", "5m")
    assert "on trial until" in told
    state = json.loads(administrator.setup("status", "--json"))["trial"]
    assert (state["services"], state["over"]) == (["sudo"], False)
    told = administrator.setup("confirm", ok=False)
    assert "no login through sudo since the trial began" in told
    assert "runuser -u USER -- sudo -k true" in " ".join(told.split()), "what a root shell can do"
    administrator.sandbox.auto = "deny"
    administrator.become_root("sudo", "-k", "true")
    assert "no login through sudo since the trial began" in administrator.setup("confirm", ok=False)
    administrator.sandbox.auto = "approve"
    administrator.forget_refusals()
    administrator.become_root("sudo", "-k", "true")
    name = json.loads(MANIFEST.read_text())["trial"]["name"]
    assert "no longer on trial" in administrator.setup("confirm")
    after = everything()
    administrator.setup("--trial-over", name)  # by a timer that was late
    assert everything() == after
    assert json.loads(administrator.setup("status", "--json"))["trial"] is None


def test_the_end_of_a_trial_is_in_the_log(administrator: Administrator) -> None:
    administrator.setup("sudo", "--try", "5m")
    name = json.loads(MANIFEST.read_text())["trial"]["name"]
    administrator.setup("--trial-over", name)
    shown = administrator.run("log", "-n", "1", "--json").stdout
    assert (json.loads(shown)["event"], json.loads(shown)["reason"]) == (
        "setup_undo",
        "sudo: the trial is over",
    )


def test_a_record_that_a_user_made_up_confirms_nothing(administrator: Administrator) -> None:
    administrator.setup("sudo", "--try", "5m")
    fields = "IAMPASS_OUTCOME=approved\nIAMPASS_RESULT=success\nIAMPASS_USER=alice\nIAMPASS_SERVICE=sudo\n"
    subprocess.run(
        ["setpriv", "--reuid=alice", "--regid=alice", "--init-groups", "logger", "--journald"],
        input=f"{fields}SYSLOG_IDENTIFIER=pam_iampass\nMESSAGE=outcome=approved result=success\n",
        text=True,
        check=True,
    )
    assert "no login through sudo since the trial began" in administrator.setup("confirm", ok=False)
    administrator.setup("confirm", "--force")


@pytest.mark.parametrize(("before", "tried"), [("--no-prompt", "--prompt"), ("--password", "--no-prompt")])
def test_another_way_into_sshd_is_tried_and_the_one_before_comes_back(
    administrator: Administrator, before: str, tried: str
) -> None:
    administrator.setup("sshd", before)
    administrator.setup("su")
    settled = everything()
    administrator.setup("sshd", tried, "sudo", "--try", "5m")
    begun = everything()
    assert begun != settled
    about = json.loads(MANIFEST.read_text())["trial"]
    administrator.setup("--trial-over", about["name"])
    assert everything() == settled
    state = json.loads(administrator.setup("status", "--json"))
    assert [state["services"][name]["state"] for name in ("sshd", "sudo", "su")] == ["on", "off", "on"]
    assert state["trial"] is None
    assert not list(UNITS.glob("pam-iampass-trial*"))


def test_words_of_the_command_are_quoted_for_systemd() -> None:
    assert trial._quoted("/a b/100%/$x") == '"/a b/100%%/$$x"'
    assert trial._quoted("/usr/bin/python3") == "/usr/bin/python3"

"""Setting up and undoing, and what real logins look like in between."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pam_iampass.pam.lines import unedited
from tests.support.deadline import DENIED
from tests.system.setup.conftest import STATE, Administrator, everything
from tests.system.setup.test_refusals import file


@pytest.mark.parametrize("way", ["--no-prompt", "--prompt"])
def test_a_user_who_was_kept_out_of_sshd_stays_out_although_the_phone_approves(
    administrator: Administrator, way: str
) -> None:
    sshd = Path("/etc/pam.d/sshd")
    rule = "account required pam_access.so accessfile=/run/kept-out.conf\n"
    with file(sshd, rule + sshd.read_text()), file(Path("/run/kept-out.conf"), "-:alice:ALL\n"):
        assert not administrator.gets_in_by_key_alone()
        administrator.setup("sshd", way)
        login = administrator.ssh()
        if way == "--prompt":
            login.enter()
        assert login.finish() != 0
        assert "In as" not in login.shown
        administrator.setup("undo")


def test_a_user_who_was_kept_out_of_sudo_stays_out_although_the_phone_approves(
    administrator: Administrator,
) -> None:
    sudo = Path("/etc/pam.d/sudo")
    with file(sudo, sudo.read_text() + "account required pam_succeed_if.so user != alice\n"):
        assert administrator.become_root("sudo", "-k", "id")[0] != 0
        administrator.setup("sudo")
        begun = len(administrator.sandbox.sessions)
        status, shown = administrator.become_root("sudo", "-k", "id")
        assert (status != 0, "uid=0" in shown) == (True, False)
        assert len(administrator.sandbox.sessions) == begun + 1
        administrator.setup("undo")


def test_check_and_test_know_the_quiet_way(administrator: Administrator) -> None:
    administrator.setup("sshd", "--no-prompt")
    found = json.loads(administrator.run("check", "--json").stdout)
    ids = {each["id"] for each in found["findings"]}
    assert not {name for name in ids if name.startswith(("account-", "stack-", "sshd-un", "nothing"))}, ids
    tried = administrator.run("test", "alice", "--service", "sshd")
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert "after any first factor" in tried.stdout
    administrator.sandbox.auto = "deny"
    refused = administrator.run("test", "alice", "--service", "sshd")
    assert refused.returncode == 1
    assert DENIED in refused.stdout


def test_a_dry_run_shows_every_file_and_changes_nothing(administrator: Administrator) -> None:
    before = everything()
    told = administrator.setup("sshd", "--prompt", "sudo", "su", "--dry-run")
    for path in (
        "pam.d/sshd",
        "ssh/sshd_config.d/10-iampass.conf",
        "pam.d/sudo",
        "pam.d/su",
    ):
        assert f"+++ /etc/{path}\n" in told
    assert "Nothing was changed" in told
    assert everything() == before
    assert not STATE.exists()


def test_quiet_says_only_what_is_wrong_or_left_to_do(administrator: Administrator) -> None:
    assert administrator.setup("sudo", "--quiet") == ""
    assert "nothing to change" in administrator.setup("sudo")
    assert "error" in administrator.setup("su", "--quiet", who="nobody", ok=False)
    administrator.setup("undo")


def test_the_folder_that_an_sshd_started_meanwhile_needs_is_not_taken_away(
    administrator: Administrator,
) -> None:
    Path("/run/sshd").rmdir()  # as long as no sshd was started on the machine
    administrator.setup("sshd", "--dry-run")
    assert Path("/run/sshd").is_dir()


def test_files_that_were_put_there_by_hand_are_reported(administrator: Administrator) -> None:
    administrator.setup("sudo")
    (STATE / "setup/manifest.json").unlink()
    try:
        assert "by hand" in administrator.setup("status")
        assert "nothing to change" in administrator.setup("sudo")
    finally:
        for name in ("sudo", "sudo-i"):
            file = Path("/etc/pam.d") / name
            file.write_text(unedited(file.read_text()))

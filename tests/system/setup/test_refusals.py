"""When setup does not do it: what is said, and that nothing has changed."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.agent import SOCKET
from tests.support.world import PASSWORD
from tests.system.setup.conftest import STATE, Administrator, everything

SSHD_CONFIG = Path("/etc/ssh/sshd_config")
DROP_INS = Path("/etc/ssh/sshd_config.d")
DOOR = next(Path("/usr/lib").glob("*/security/pam_permit.so")).with_name("pam_iampass.so")


@contextmanager
def file(path: Path, text: str, mode: int = 0o644) -> Iterator[Path]:
    """A file that setup has not written."""
    kept = path.read_bytes() if path.exists() else None
    path.write_text(text)
    path.chmod(mode)
    try:
        yield path
    finally:
        if kept is None:
            path.unlink()
        else:
            path.write_bytes(kept)


def refused(administrator: Administrator, *arguments: str, who: str = "alice") -> str:
    """Setup does not do it, and changes nothing."""
    before = everything()
    told = administrator.setup(*arguments, who=who, ok=False)
    assert everything() == before
    return told


def test_a_user_without_a_token_would_be_locked_out(administrator: Administrator) -> None:
    told = refused(administrator, "sudo", who="bob")
    assert "bob has no token, and would be locked out" in told
    assert "give bob a token first" in told
    assert "--force" in told
    administrator.setup("sudo", "--force", who="bob")


@pytest.mark.parametrize(
    ("way", "told"),
    [
        (["sshd"], r"^bob, dave.* \(no token\)$"),
        (["sshd", "--prompt"], r"^bob, dave.* \(no token\); carol \(no key\)$"),
        (["login"], r"^bob, dave.* \(no token\)$"),
    ],
)
def test_accounts_that_could_log_in_no_more_are_named(
    administrator: Administrator, way: list[str], told: str
) -> None:
    administrator.machine.change(exempt="{users: [carol]}")
    keys = Path("/root/.ssh/authorized_keys")
    keys.parent.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(["usermod", "-p", "!", "root"], check=True)
    try:
        without = administrator.setup(*way, "--dry-run", ok=None)
        with file(keys, administrator.sshd.client_key.with_suffix(".pub").read_text(), 0o600):
            found = administrator.setup(*way, "--dry-run", ok=None)
            checked = administrator.run("check", "--settings").stdout
    finally:
        subprocess.run(["chpasswd"], input=f"root:{PASSWORD}\n", text=True, check=True)
    named = "these accounts can log in to a shell today, and cannot once it asks the phone: (.*)"
    (before,), (after,) = re.findall(named, without), re.findall(named, found)
    assert re.search(told, before), before
    assert "alice" not in after
    assert ("root" in before, "root" in after) == (False, way[0] == "sshd")
    assert (
        "root"
        in re.findall(named.replace("it asks", "sshd asks").replace("these accounts", "These"), checked)[0]
    )


def test_the_phone_of_root_is_asked_in_su_unless_the_caller_approves(administrator: Administrator) -> None:
    administrator.machine.change(services="{su: {approver: user}}")
    told = refused(administrator, "su")
    assert "su: root has no token" in told
    assert "delete `approver: user`: then the caller" in told


def test_a_key_can_name_nobody_without_the_prompt_nor_outside_of_sshd(administrator: Administrator) -> None:
    administrator.machine.change(services="{sshd: {approver: key}, sudo: {approver: key}}")
    assert "pam-iampass setup sshd --prompt" in refused(administrator, "sshd")
    assert "sudo: approver: key is for sshd" in refused(administrator, "sudo")
    assert "nobody has a key and a token in the user table" in refused(administrator, "sshd", "--prompt")


def test_a_key_can_name_nobody_where_sshd_uses_another_pam_service(administrator: Administrator) -> None:
    administrator.machine.change(services="{gate: {approver: key}}")
    sshd_file = Path("/etc/pam.d/sshd").read_text()
    with file(DROP_INS / "05-site.conf", "PAMServiceName gate\n"), file(Path("/etc/pam.d/gate"), sshd_file):
        told = refused(administrator, "gate")
        assert "gate: sshd uses this PAM service (PAMServiceName)" in told
        assert "remove PAMServiceName from sshd_config, write approver: key for sshd" in told
        told = refused(administrator, "sshd", "--prompt")
        assert "sshd uses the PAM service gate (PAMServiceName), and setup changes the file of sshd" in told


def test_whoever_approved_the_login_needs_no_token_of_the_account(administrator: Administrator) -> None:
    administrator.machine.change(services="{sudo: {approver: login}}")
    told = administrator.setup("sudo", who="bob")
    assert "sudo: whoever approved the login session must approve; bob needs one that is kept" in told
    assert "no token" not in told


def test_root_would_be_refused_by_sshd(administrator: Administrator) -> None:
    administrator.machine.change(exempt="{users: [root]}")
    assert "PermitRootLogin without-password accepts a key alone" in refused(
        administrator, "sshd", "--key", who="root"
    )


def test_a_user_without_a_key_would_be_locked_out(administrator: Administrator) -> None:
    administrator.machine.change(exempt="{users: [carol]}")
    assert "carol has no key" in refused(administrator, "sshd", "--key", who="carol")
    administrator.setup("sshd", "--password", who="carol")


def test_a_user_without_a_password_would_be_locked_out(administrator: Administrator) -> None:
    administrator.machine.change(exempt="{users: [carol]}")
    subprocess.run(["passwd", "-q", "-l", "carol"], check=True)
    try:
        assert "carol has no password here" in refused(administrator, "sshd", "--password", who="carol")
    finally:
        subprocess.run(["passwd", "-q", "-u", "carol"], check=True)


def test_wrong_settings_are_reported_with_their_lines(administrator: Administrator) -> None:
    administrator.machine.change(timeout="60")
    told = refused(administrator, "sudo", "--force")
    assert "/etc/iampass/iampass.yaml:" in told
    assert '"60" has no unit' in told


def test_a_missing_module_is_found_out(administrator: Administrator) -> None:
    away = DOOR.rename(DOOR.with_suffix(".away"))
    try:
        assert "PAM: pam_iampass.so is not installed" in refused(administrator, "sudo", "--force")
    finally:
        away.rename(DOOR)


@pytest.mark.parametrize("service", ["sudo", "sshd"])
def test_nothing_is_set_up_without_the_agent_that_it_needs(
    administrator: Administrator, service: str
) -> None:
    administrator.agent.stop()
    SOCKET.unlink(missing_ok=True)
    try:
        told = refused(administrator, service, "--force")
    finally:
        administrator.agent.__enter__()
    assert f"PAM: {service} needs the agent, and nothing listens on {SOCKET}" in told
    assert "systemctl enable --now pam-iampass-agent.socket" in told


def test_an_sshd_without_pam_is_found_out(administrator: Administrator) -> None:
    with file(DROP_INS / "05-site.conf", "UsePAM no\n"):
        told = refused(administrator, "sshd", "--force")
    assert "sshd would use `usepam no` instead of `usepam yes`" in told


def test_a_match_block_for_the_administrator_is_reported(administrator: Administrator) -> None:
    with file(DROP_INS / "20-site.conf", "Match User alice\n  AuthenticationMethods publickey\n"):
        told = administrator.setup("sshd", "--key")
        administrator.setup("undo")
    assert "a Match block sets `authenticationmethods publickey` for alice" in told


def test_what_sshd_refuses_is_reported_by_its_own_path(administrator: Administrator) -> None:
    with file(DROP_INS / "20-site.conf", "Nonsense yes\n"):
        told = refused(administrator, "sshd", "--force")
    assert "/etc/ssh/sshd_config.d/20-site.conf: line 1: Bad configuration option: Nonsense" in told


def test_an_sshd_that_includes_no_drop_ins_is_refused(administrator: Administrator) -> None:
    with file(SSHD_CONFIG, "UsePAM yes\n"):
        told = refused(administrator, "sshd", "--prompt", "--force")
    assert "does not include /etc/ssh/sshd_config.d" in told
    assert "put the line `Include /etc/ssh/sshd_config.d/*.conf` at its top" in told


def test_only_one_setup_runs_at_a_time(administrator: Administrator) -> None:
    administrator.setup("su")
    with (STATE / "setup/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another pam-iampass setup is running" in refused(administrator, "sudo")


@pytest.mark.parametrize("damage", ["{", "{}", '{"version": 9, "services": {}, "trial": null}'])
def test_a_damaged_memory_is_reported_and_nothing_is_done(administrator: Administrator, damage: str) -> None:
    administrator.setup("su")
    manifest = STATE / "setup/manifest.json"
    kept = manifest.read_text()
    manifest.write_text(damage)
    try:
        for arguments in (("undo",), ("sudo",), ("status",)):
            assert "manifest.json: cannot be understood" in refused(administrator, *arguments)
    finally:
        manifest.write_text(kept)


def test_a_folder_of_another_user_is_not_used(administrator: Administrator) -> None:
    (STATE / "setup").mkdir(parents=True)
    os.chown(STATE / "setup", 1, 1)
    assert "/var/lib/pam-iampass/setup: is a folder that belongs to user daemon" in refused(
        administrator, "sudo"
    )
    os.chown(STATE / "setup", 0, 0)
    (STATE / "setup").chmod(0o755)
    assert "/var/lib/pam-iampass/setup: others than root can enter it" in refused(administrator, "sudo")


def test_only_root_may(administrator: Administrator) -> None:
    as_alice = ["setpriv", "--reuid=alice", "--regid=alice", "--init-groups", "pam-iampass", "setup", "sudo"]
    done = subprocess.run(as_alice, capture_output=True, text=True, check=False)
    assert (done.returncode, "run it as root" in done.stderr) == (1, True)


def test_an_administrator_that_the_machine_does_not_know_is_refused(administrator: Administrator) -> None:
    assert "no account on this machine" in refused(administrator, "sudo", who="nobody-at-all")


def test_a_pam_file_that_includes_what_is_not_there_is_found_out(administrator: Administrator) -> None:
    shared = Path("/etc/pam.d/common-session-noninteractive")
    away = shared.rename(shared.with_name("away"))
    try:
        told = refused(administrator, "sudo", "--force")
    finally:
        away.rename(shared)
    assert "PAM: sudo does not work" in told

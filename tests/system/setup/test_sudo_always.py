"""`setup sudo --always`: it is set up, tried, watched, left and undone as everything else."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.terminal import Terminal
from tests.system.setup.conftest import Administrator
from tests.system.setup.test_trial import systemd

__all__ = ["systemd"]

PAM = Path("/etc/pam.d")
FREE = Path("/etc/sudoers.d/zz-free")
LINE = "account    requisite   pam_iampass.so always  # pam-iampass\n"


@pytest.fixture
def free(administrator: Administrator) -> Iterator[Administrator]:
    """alice needs no password, and root can log in."""
    FREE.write_text("alice ALL=(ALL) NOPASSWD: ALL\n")
    FREE.chmod(0o440)
    yield administrator
    FREE.unlink()


def asks(administrator: Administrator) -> bool:
    """Whether the phone is asked about a command that needs no password."""
    administrator.sandbox.auto = "deny"
    administrator.forget_refusals()
    sudo = Terminal(["setpriv", "--reuid=alice", "--regid=alice", "--init-groups", "sudo", "-n", "true"])
    return sudo.finish() == 1


def state(administrator: Administrator) -> tuple[str, bool]:
    """The status of sudo, and whether it asks for every command."""
    of_sudo = json.loads(administrator.setup("status", "--json"))["services"]["sudo"]
    return of_sudo["state"], of_sudo["always"]


def test_it_asks_for_every_command_until_it_is_left_or_undone(free: Administrator) -> None:
    told = free.setup("sudo", "--always", "--dry-run")
    assert "+" + LINE.strip() in told
    assert "Nothing was changed (--dry-run)." in told
    assert state(free) == ("off", False)
    free.setup("sudo")
    assert not asks(free)
    free.setup("sudo", "--always")
    assert asks(free)
    assert state(free) == ("on", True)
    assert "for each command" in free.setup("status")
    assert all((PAM / name).read_text().count(LINE) == 1 for name in ("sudo", "sudo-i"))
    assert "nothing to change" in free.setup("sudo"), "without the option, it keeps its way"
    free.setup("sudo", "--no-always")
    assert not asks(free)
    assert state(free) == ("on", False)
    free.setup("sudo", "--always")
    free.setup("undo", "sudo")
    assert not asks(free)
    assert LINE not in (PAM / "sudo").read_text()


def test_at_the_end_of_a_trial_sudo_asks_in_its_earlier_way(free: Administrator) -> None:
    for earlier in ("on", "off"):
        if earlier == "on":
            free.setup("sudo")
        free.setup("sudo", "--always", "--try", "5m")
        assert asks(free)
        (name,) = re.findall(r'"name": "(\w+)"', Path("/var/lib/pam-iampass/setup/manifest.json").read_text())
        free.setup("--trial-over", name)
        assert not asks(free)
        assert state(free) == (earlier, False)
        free.setup("undo")


def test_a_file_that_is_restored_gets_its_lines_back_and_one_put_out_of_force_is_reported(
    free: Administrator,
) -> None:
    before = (PAM / "sudo").read_text()
    free.setup("sudo", "--always")
    (PAM / "sudo").write_text(before)
    assert "pam_file_renewed" in free.setup("--watch")
    assert asks(free)
    (PAM / "sudo").write_text((PAM / "sudo").read_text().replace(LINE, f"#{LINE}"))
    assert "pam_file_out_of_force" in free.setup("--watch")
    free.setup("sudo", "--force")
    assert asks(free)


def test_it_names_who_would_be_denied_and_refuses_where_root_has_no_other_way_in(
    free: Administrator,
) -> None:
    rule = FREE.with_name("zz-monitoring")
    rule.write_text("daemon ALL=(ALL) NOPASSWD: /usr/bin/true\n")
    rule.chmod(0o440)
    shadow, keys = Path("/etc/shadow"), Path("/root/.ssh/authorized_keys")
    drop_in = Path("/etc/ssh/sshd_config.d/00-root.conf")
    content, key = shadow.read_text(), keys.read_bytes() if keys.exists() else None
    try:
        told = free.setup("sudo", "--always", "--dry-run")
        assert "would be denied: daemon" in told
        shadow.write_text(re.sub(r"^root:", "root:!", content, flags=re.M))
        keys.unlink(missing_ok=True)
        told = free.setup("sudo", "--always", ok=False)
        assert "root has neither a password nor a key" in told
        assert "error" not in free.setup("sudo", "--dry-run")
        keys.parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copy(f"{free.sshd.client_key}.pub", keys)
        drop_in.write_text("PermitRootLogin no\n")
        assert "root has neither" in free.setup("sudo", "--always", ok=False)
        drop_in.write_text("PermitRootLogin prohibit-password\n")
        assert "root has neither" not in free.setup("sudo", "--always", "--dry-run")
    finally:
        shadow.write_text(content)
        rule.unlink()
        drop_in.unlink(missing_ok=True)
        keys.unlink(missing_ok=True)
        if key is not None:
            keys.write_bytes(key)


def test_it_warns_of_rules_and_plug_ins_that_it_cannot_read(free: Administrator) -> None:
    nsswitch, configuration = Path("/etc/nsswitch.conf"), Path("/etc/sudo.conf")
    kept = {file: file.read_bytes() if file.exists() else None for file in (nsswitch, configuration)}
    try:
        for file, line in ((nsswitch, "sudoers: files sss"), (configuration, "plugin my_audit mine.so")):
            file.write_bytes((kept[file] or b"") + f"{line}\n".encode())
        told = " ".join(free.setup("sudo", "--always", "--dry-run").split())
        assert "the rules from sss are not read, in which an option could lead past the phone" in told
        assert "this line of /etc/sudo.conf is not known: plugin my_audit mine.so" in told
    finally:
        for file, content in kept.items():
            file.unlink() if content is None else file.write_bytes(content)


@pytest.mark.parametrize("arguments", [("su", "--always"), ("sshd", "--no-always")])
def test_it_is_for_sudo(administrator: Administrator, arguments: tuple[str, ...]) -> None:
    done = administrator.run("setup", *arguments)
    assert (done.returncode, "always is for sudo" in done.stderr) == (2, True)

"""A machine on which nothing is set up, with a real sshd, sudo and su, and an administrator."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pytest

from pam_iampass.pam.lines import is_edited, unedited
from tests.support.agent import RunningAgent
from tests.support.command import run_command
from tests.support.deadline import PLENTY
from tests.support.installation import Installation
from tests.support.journald import Journald
from tests.support.sandbox import Sandbox
from tests.support.sshd import Login, Sshd
from tests.support.terminal import ENVIRONMENT, Terminal
from tests.support.world import PASSWORD, PEOPLE, token_of

FOLDERS = ("/etc/pam.d", "/etc/ssh", "/etc/sudoers.d", "/etc/systemd/system")
STATE = Path("/var/lib/pam-iampass")
#: The command that users run after the login.
REMOTE = "echo In as $(id -un)."
PIDFILE = Path("/run/sshd.pid")


@dataclass
class Administrator:
    """Runs setup, and checks its effect."""

    sandbox: Sandbox
    sshd: Sshd
    machine: Installation
    agent: RunningAgent

    def setup(self, *arguments: str, who: str = "alice", ok: bool | None = True) -> str:
        """Run `pam-iampass setup`; returns the output on both streams. `ok`: whether it must succeed."""
        done = self.run("setup", *arguments, who=who)
        output = done.stdout + done.stderr
        assert "Traceback" not in output
        assert ok is None or done.returncode == (0 if ok else 1), output
        return output

    def run(self, *arguments: str, who: str = "alice", given: str = "") -> subprocess.CompletedProcess[str]:
        """Run `pam-iampass` as root, as if `who` had used sudo."""
        return run_command(*arguments, environment={**ENVIRONMENT, "SUDO_USER": who}, typed=given)

    def forget_refusals(self) -> None:
        """End alice's backoff."""
        self.run("throttle", "clear", "alice")

    def ssh(self, user: str = "alice") -> Login:
        """Start an ssh login with a key."""
        return self.sshd.login(user, REMOTE)

    def gets_in_by_key_alone(self, user: str = "alice") -> bool:
        """Whether ssh admits the user without a prompt."""
        login = self.ssh(user)
        return login.finish() == 0 and login.lines == [f"In as {user}."]

    def become_root(self, *command: str, password: str = PASSWORD) -> tuple[int, str]:
        """alice runs sudo or su and types a password; returns the exit status and the output."""
        as_alice = ["setpriv", "--reuid=alice", "--regid=alice", "--init-groups"]
        terminal = Terminal([*as_alice, *command])
        assert terminal.expect(["assword[^:]*: ", pexpect.EOF]) == 0, terminal.shown
        terminal.sendline(password)
        return terminal.finish(), terminal.shown


def everything() -> dict[str, tuple[object, ...]]:
    """All files that setup could change: content, mode and owners."""
    found: dict[str, tuple[object, ...]] = {}
    for folder in FOLDERS:
        for path in Path(folder).rglob("*"):
            at = path.lstat()
            content = (
                str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
            )
            found[str(path)] = (content, at.st_mode, at.st_uid, at.st_gid)
    return found


@pytest.fixture(scope="module", autouse=True)
def nothing_is_set_up(machine: Installation, journald: Journald, agent: RunningAgent) -> Iterator[None]:
    """Takes away the keys of people, and what other tests put at the paths of setup's files."""
    keys = [Path(f"~{user}/.ssh/authorized_keys").expanduser() for user in ("root", *PEOPLE)]
    ours = [Path("/etc/ssh/sshd_config.d/10-iampass.conf"), *keys]
    kept = {path: path.read_bytes() for path in (*ours, *Path("/etc/pam.d").iterdir()) if path.is_file()}
    for path, content in kept.items():
        if path in ours:
            path.unlink()
        elif is_edited(content.decode()):
            path.write_text(unedited(content.decode()))
    sudoers = Path("/etc/sudoers.d/people")
    sudoers.write_text("alice ALL=(ALL) ALL\nDefaults !lecture\n")
    sudoers.chmod(0o440)
    subprocess.run(["chpasswd"], input=f"root:{PASSWORD}\n", text=True, check=True)
    yield
    sudoers.unlink()
    for path, content in kept.items():
        path.write_bytes(content)


@pytest.fixture(scope="module")
def own_sshd(nothing_is_set_up: None, folder: Path) -> Iterator[Sshd]:
    """The machine's sshd: it has a PidFile."""
    with Sshd(folder / "own-sshd", pid_file=PIDFILE) as running:
        for user in ("alice", "bob"):
            running.admit(user)
        yield running


@pytest.fixture
def administrator(
    own_sshd: Sshd, machine: Installation, sandbox: Sandbox, agent: RunningAgent
) -> Iterator[Administrator]:
    """The administrator. Afterwards all changes of the test are undone."""
    sandbox.behave()
    sandbox.auto, sandbox.delay, sandbox.request_timeout, sandbox.clock_skew = "approve", 0.0, 60.0, 0.0
    sandbox.add_user(token_of("alice"), device=True)
    machine.configure(sandbox, timeout=f"{PLENTY}s")
    machine.write_users(f"alice: {token_of('alice')}\n")
    before = everything()
    admin = Administrator(sandbox, own_sshd, machine, agent)
    admin.forget_refusals()
    yield admin
    admin.setup("undo", ok=None)
    shutil.rmtree(STATE, ignore_errors=True)
    assert everything() == before

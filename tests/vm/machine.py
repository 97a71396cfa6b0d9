"""What tests do with the virtual machine: commands, terminals, its console, files and the journal."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

from pexpect.fdpexpect import fdspawn

from tests.support.terminal import Terminal
from tests.vm.qemu import PATIENCE, Qemu, ssh, wait_for


class Policy(Enum):
    """What the kernel enforces, with the options that make it do so. AppArmor is Debian's default."""

    SELINUX = "security=selinux selinux=1"
    APPARMOR = "security=apparmor"


def snapshot(image: Path, policy: Policy) -> Path:
    """The folder in which the machine that has just booted is kept: its disk, and its state."""
    return image / policy.name.lower()


class Machine:
    """A machine with a disk of its own; `with` it, its disk exists."""

    def __init__(self, image: Path) -> None:
        self._image = image
        self.folder = Path(tempfile.mkdtemp(dir=os.environ.get("MACHINE_SCRATCH")))
        self._control = self.folder / "control"
        self._ssh = ssh(image, self._control)
        self._qemu: Qemu | None = None

    @property
    def qemu(self) -> Qemu:
        """The machine that is switched on."""
        assert self._qemu is not None
        return self._qemu

    # Power

    def resume(self, policy: Policy) -> None:
        """Switch on, and go on from the moment after the boot at which the snapshot was taken."""
        kept = snapshot(self._image, policy)
        disk = self.folder / "disk"
        shutil.copy(kept / "disk", disk)
        base = ["-b", str(self._image / "disk"), "-F", "raw"]
        subprocess.run(["qemu-img", "rebase", "-u", "-f", "qcow2", *base, str(disk)], check=True)
        self._qemu = Qemu(self._image, disk, policy.value, kept / "state")
        wait_for(self._connected, "the machine goes on")
        self.run("date", "-s", f"@{time.time():.0f}")

    def take_snapshot(self, policy: Policy) -> None:
        """Keep the machine as it is for others to go on from, and switch it off."""
        kept = snapshot(self._image, policy)
        kept.mkdir()
        self._disconnect()
        self.qemu.save(kept / "state")
        shutil.copy(self.folder / "disk", kept / "disk")

    def boot(self, policy: Policy = Policy.APPARMOR, ahead: float = 0.0) -> None:
        """Switch on, with a clock that is so many seconds ahead, and wait until everything that starts at boot has."""
        self._qemu = Qemu(self._image, self.folder / "disk", policy.value, ahead=ahead)
        wait_for(self._connected, "the machine starts its sshd", pause=1.0)
        started = ("systemctl", "is-system-running", "--wait")
        state = self.run(*started, check=False).stdout.strip()
        assert state == "running", self.run("systemctl", "--failed", "--no-pager").stdout

    def _connected(self) -> bool:
        if not self.qemu.runs:
            raise self.qemu.fail("the machine has switched itself off")
        command = [*self._ssh[:-1], "-M", "-N", "-f", "-o", "ConnectionAttempts=1", self._ssh[-1]]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            timeout=PATIENCE,
        )
        return done.returncode == 0

    def reboot(self) -> None:
        """Down in good order, and up again."""
        self.run("systemctl", "reboot", check=False)
        self.qemu.wait_for_end()
        self._disconnect()
        self.boot()

    def lose_power(self) -> None:
        """Off at once."""
        self.qemu.cut_power()
        self._disconnect()

    def _disconnect(self) -> None:
        subprocess.run([*self._ssh[:-1], "-O", "exit", self._ssh[-1]], check=False, capture_output=True)
        self._control.unlink(missing_ok=True)

    def close(self) -> None:
        """Off, and everything forgotten."""
        if self._qemu is not None and self._qemu.runs:
            self._qemu.cut_power()
        self._disconnect()
        shutil.rmtree(self.folder)

    # What an administrator does at a root shell

    def run(self, *command: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command as root; its output and exit status. Raises AssertionError if that is not 0."""
        done = subprocess.run(
            [*self._ssh, "LANG=C.UTF-8", shlex.join(command)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def shell(self, script: str, check: bool = True) -> str:
        """Run a script; its standard output."""
        return self.run("sh", "-euc", script, check=check).stdout

    def terminal(self, *command: str) -> Terminal:
        """Run a command in a terminal of the machine."""
        return Terminal([*self._ssh[:-1], "-tt", self._ssh[-1], shlex.join(command)], timeout=PATIENCE)

    def console(self) -> fdspawn:
        """The serial console, with the getty that systemd has started there."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.qemu.console_socket))
        return fdspawn(connection.detach(), timeout=PATIENCE, encoding="utf-8", codec_errors="replace")

    def write(self, path: str, text: str, mode: int = 0o644, group: str = "root") -> None:
        """Write a file."""
        words = ["install", "-D", "-o", "root", "-g", group, "-m", f"{mode:o}", "/dev/stdin", path]
        self.run(*words, stdin=text)

    def read(self, path: str) -> str:
        """Read a file."""
        return self.run("cat", path).stdout

    def wait(self, script: str, what: str, *arguments: str) -> None:
        """Wait until a script with these arguments succeeds."""
        command = ("sh", "-euc", script, "sh", *arguments)
        wait_for(lambda: self.run(*command, check=False).returncode == 0, what)

    # The journal and the audit log

    def cursor(self) -> str:
        """Where the journal ends now."""
        shown = self.run("journalctl", "-n", "0", "--show-cursor").stdout
        return shown.rsplit("-- cursor: ", 1)[1].strip()

    def journal(self, cursor: str) -> list[dict[str, Any]]:
        """The records since `cursor`."""
        self.run("journalctl", "--sync")
        command = ["journalctl", "--no-pager", "-q", "-o", "json", f"--after-cursor={cursor}"]
        return [json.loads(line) for line in self.run(*command).stdout.splitlines()]


def switched_on(policy: Policy) -> Iterator[Machine]:
    """A machine that has just booted; at the end nothing of it is left."""
    assert os.environ.get("VM_IMAGE"), "run this through `make test-vm`"
    machine = Machine(Path(os.environ["VM_IMAGE"]))
    try:
        machine.resume(policy)
        yield machine
    finally:
        machine.close()

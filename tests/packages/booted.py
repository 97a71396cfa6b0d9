"""A machine of a Debian release, booted with systemd in a container; nothing of it is left afterwards."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pexpect
from pexpect.fdpexpect import fdspawn

from tests.support import processes
from tests.support.agent import AT_REST
from tests.support.control_group import ControlGroup
from tests.support.terminal import Terminal

#: How long anything may take on a machine that has others to serve, in seconds.
PATIENCE = 240.0
AGENT = "/usr/lib/pam-iampass/agent"
#: The room on its /var, in MiB.
VAR = 700

_TIOCGPTN, _TIOCSPTLCK = 0x80045430, 0x40045431  # ioctl_tty(2)
_NUMBERS = itertools.count(1)


class Screen(Terminal):
    """A terminal with a program of the machine."""

    def kill(self) -> None:
        """Hang up: what runs in the machine does not end with the nsenter that brought it there."""
        with contextlib.suppress(pexpect.TIMEOUT, pexpect.EOF):  # what it has shown last
            for _ in range(16):
                self.read_nonblocking(4096, timeout=0)
        self.close()
        self.open.discard(self)
        self.process.wait(PATIENCE)


class Console(fdspawn):  # type: ignore[misc]
    """A terminal of the machine with a getty. login hangs it up, which does not end it."""

    def __init__(self, machine: Booted) -> None:
        master = os.open(f"/proc/{machine.pid}/root/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        (number,) = struct.unpack("i", fcntl.ioctl(master, _TIOCGPTN, struct.pack("i", 0)))
        super().__init__(master, timeout=PATIENCE, encoding="utf-8", codec_errors="replace")
        self._machine, self._unit = machine, f"container-getty@{number}.service"
        machine.run("systemctl", "start", self._unit)

    def read_nonblocking(self, size: int = 1, timeout: float | None = None) -> str:
        """Read what is shown; between a hangup and the next opening there is nothing. Raises pexpect.TIMEOUT."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return str(super().read_nonblocking(size, timeout))
            except pexpect.EOF:
                assert time.monotonic() < until
                time.sleep(0.05)

    def stop(self) -> None:
        """End what runs there."""
        self._machine.run("systemctl", "stop", self._unit)
        self.close()


class Booted:
    """A copy of a root, or of a machine that is shut down. Its /var is a file system of its own.

    Its network leads nowhere, or is a cable to `bridge`: host0 there, and `cable` here. Runs in a mount namespace that
    nobody else sees (run.sh).
    """

    def __init__(self, origin: Path | Booted, name: str = "booted", bridge: str = "") -> None:
        self.name = name
        self.cable = f"vb-{name}"
        self._bridge = bridge
        self._machine = name if bridge else f"{name}-{next(_NUMBERS)}"  # nspawn calls the cable after it
        self.folder = Path(tempfile.mkdtemp())
        mount("-t", "tmpfs", "-o", "mode=0755,size=4g", "machine", str(self.folder))
        self.root = self.folder / "root"
        self.var = self.folder / "var"
        for name in ("upper", "work", "root", "var"):
            (self.folder / name).mkdir(mode=0o755)
        self.layers: tuple[Path, ...] = (self.folder / "upper",)
        self.layers += origin.layers if isinstance(origin, Booted) else (origin,)
        upper, *lower = map(str, self.layers)
        layers = f"lowerdir={':'.join(lower)},upperdir={upper},workdir={self.folder / 'work'}"
        mount("-t", "overlay", "-o", layers, "overlay", str(self.root))
        mount("-t", "tmpfs", "-o", f"mode=0755,size={VAR}m", "var", str(self.var))
        var = origin.var if isinstance(origin, Booted) else self.root / "var"
        subprocess.run(["cp", "-a", f"{var}/.", str(self.var)], check=True)
        (self.var / "log/journal").mkdir(exist_ok=True)
        self._group: ControlGroup | None = None
        self._nspawn: subprocess.Popen[bytes] | None = None
        self.pid = 0

    def boot(self) -> None:
        """Switch on, and wait until everything that starts at boot has."""
        self.switch_on()
        self.wait()

    def switch_on(self) -> None:
        """Start to boot."""
        command = ["systemd-nspawn", "--quiet", "-D", str(self.root), f"--bind={self.var}:/var", "--boot"]
        command += ["--console=passive", "--register=no", "--keep-unit"]
        command += [f"--network-bridge={self._bridge}" if self._bridge else "--private-network"]
        # As on a real machine, programs keep passwords out of the swap space: lightdm and i3lock insist on that.
        command += ["--system-call-filter=@memlock"]
        command += [f"--hostname={self.name}", f"--machine={self._machine}"]
        self._group = ControlGroup(f"pam-iampass-{self.folder.name}")
        environment = {"PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        with (self.folder / "console").open("ab") as console:
            self._nspawn = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                preexec_fn=self._group.enter,
            )

    def wait(self) -> None:
        """Wait until everything that starts at boot has."""
        assert self._nspawn is not None
        until = time.monotonic() + PATIENCE
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        while True:
            console_says = (self.folder / "console").read_text()
            assert self._nspawn.poll() is None, console_says
            assert time.monotonic() < until, console_says
            found = children.read_text().split()
            if found:
                self.pid = int(found[0])
                done = self.run("systemctl", "is-system-running", "--wait", check=False)
                if done.stdout.strip() in ("running", "degraded"):
                    return
            time.sleep(0.1)

    def shut_down(self) -> None:
        """Shut down as an administrator would, and wait for it."""
        assert self._nspawn is not None
        self.run("systemctl", "poweroff", check=False)
        self._nspawn.wait(PATIENCE)
        self._stop()

    def reboot(self) -> None:
        """Down and up again."""
        self.shut_down()
        self.boot()

    def plug(self, *, connected: bool) -> None:
        """Connect the machine with the bridge, or cut it off: nobody is told, packets are lost."""
        state = "forwarding" if connected else "disabled"
        subprocess.run(["bridge", "link", "set", "dev", self.cable, "state", state], check=True)

    def lose_power(self) -> None:
        """Stop at once. With a cable, nobody is told: what the kernel still sends for those who are killed is lost."""
        if self._bridge:
            subprocess.run(["ip", "link", "delete", self.cable], check=True)
        self._stop()

    def _stop(self) -> None:
        if self._group is not None and self._nspawn is not None:
            self._group.kill(PATIENCE)
            self._nspawn.wait(PATIENCE)
            self._group.remove(PATIENCE)  # what is started in a group that was killed would be killed, too
            self._group = None
        left = Path(
            "/run/systemd/nspawn/unix-export", self._machine
        )  # by nspawn, which did not end by itself
        if left.exists():
            subprocess.run(["umount", "--lazy", str(left)], check=True)
            left.rmdir()

    def close(self) -> None:
        """Stop, however it is, and forget everything."""
        self._stop()
        for path in (self.root, self.var, self.folder):
            subprocess.run(["umount", "--lazy", str(path)], check=True)
        self.folder.rmdir()

    # What an administrator does at a root shell

    def entered(self, command: Sequence[str]) -> list[str]:
        """The command that runs `command` in the machine."""
        return ["nsenter", "-t", str(self.pid), "--all", "--wdns=/root", "--", *command]

    def run(
        self, *command: str, check: bool = True, stdin: str = "", timeout: float = PATIENCE * 2
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as root; what it said and its exit status. Raises AssertionError where that is not 0."""
        done = subprocess.run(
            self.entered(command),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"},
            check=False,
        )
        assert not check or done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def shell(self, script: str, check: bool = True) -> str:
        """Run a script; what it said on standard output."""
        return self.run("sh", "-euc", script, check=check).stdout

    def terminal(self, *command: str) -> Screen:
        """Run a command in a terminal of the machine."""
        quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in command)
        return Screen(self.entered(["script", "-q", "-e", "-c", quoted, "/dev/null"]), timeout=PATIENCE)

    def console(self) -> Console:
        """Start a getty on a new terminal of the machine."""
        return Console(self)

    def write(self, path: str, text: str, mode: int = 0o644, group: str = "root") -> None:
        """Write a file."""
        self.run(
            "install", "-D", "-o", "root", "-g", group, "-m", f"{mode:o}", "/dev/stdin", path, stdin=text
        )

    def read(self, path: str) -> str:
        """Read a file."""
        return self.run("cat", path).stdout

    def copy_in(self, source: Path, target: str) -> None:
        """Copy a file of this machine into a folder below /root."""
        folder = self.root / target.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder)

    # The journal

    def cursor(self) -> str:
        """Where the journal ends now."""
        shown = self.run("journalctl", "-n", "0", "--show-cursor").stdout
        return shown.rsplit("-- cursor: ", 1)[1].strip()

    def journal(self, cursor: str, **fields: str) -> list[dict[str, Any]]:
        """The records with these fields since `cursor`: all, no login is still to leave one."""
        until = time.monotonic() + PATIENCE
        for agent in processes.running(
            AGENT
        ):  # there are no others: run.sh gives the tests a /proc of their own
            while Path(f"/proc/{agent}").exists() and len(os.listdir(f"/proc/{agent}/task")) > AT_REST:
                assert time.monotonic() < until, "the agent is still at work"
                time.sleep(0.05)
        # With matches of its own, journalctl --after-cursor leaves out the first record that fits.
        records = self.journal_now(cursor)
        return [each for each in records if all(each.get(name) == value for name, value in fields.items())]

    def journal_now(self, cursor: str) -> list[dict[str, Any]]:
        """The records since `cursor`, while the agent works on: it may have sessions to watch."""
        self.run("journalctl", "--sync")
        command = ["journalctl", "--no-pager", "-q", "-o", "json", f"--after-cursor={cursor}"]
        return [json.loads(line) for line in self.run(*command).stdout.splitlines()]


def mount(*arguments: str) -> None:
    """mount(8)."""
    subprocess.run(["mount", *arguments], check=True)

"""A virtual machine: qemu with a disk, a serial console, and a port that leads to an sshd of the tests' own."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

#: How long anything may take in a machine whose processor is emulated while others use the real one, in seconds.
PATIENCE = 1800.0
CONTROL_PORT = 2222


class Qemu:
    """One power-on of a machine. Raises AssertionError, with the end of the console's log, if it does not start.

    :param image: the folder of image.sh
    :param disk: made from the image's disk if it does not exist
    :param options: more of the kernel's command line
    :param state: goes on from a state that :meth:`save` wrote, instead of booting
    :param ahead: by how many seconds the machine's clock is ahead of this one's
    """

    def __init__(
        self, image: Path, disk: Path, options: str = "", state: Path | None = None, ahead: float = 0.0
    ) -> None:
        self.folder = disk.parent
        self.log = self.folder / "console.log"
        self.console_socket = self.folder / "console"
        self.monitor_socket = self.folder / "monitor"
        if not disk.exists():
            base = ["-b", str(image / "disk"), "-F", "raw"]
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *base, str(disk)], check=True)
        kernel = f"root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 systemd.show_status=0 {options}"
        command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max"]
        now = time.gmtime(time.time() + ahead)
        command += ["-m", "1536", "-smp", "2", "-rtc", f"base={time.strftime('%Y-%m-%dT%H:%M:%S', now)}"]
        command += ["-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd"), "-append", kernel]
        # writeback: what the machine has asked to be written (fsync) is in the file, even if qemu is killed.
        command += ["-drive", f"file={disk},if=virtio,format=qcow2,cache=writeback", "-display", "none"]
        command += [
            "-chardev",
            f"socket,id=c,path={self.console_socket},server=on,wait=off,logfile={self.log}",
        ]
        command += ["-serial", "chardev:c", "-monitor", f"unix:{self.monitor_socket},server=on,wait=off"]
        command += ["-netdev", f"user,id=n,hostfwd=tcp:127.0.0.1:{CONTROL_PORT}-:{CONTROL_PORT}"]
        command += ["-device", "virtio-net,netdev=n", "-device", "virtio-rng-pci", "-no-reboot"]
        command += ["-incoming", f"file:{state}"] if state else []
        self.log.write_bytes(b"")
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    @property
    def runs(self) -> bool:
        """Whether the machine has power."""
        return self._process.poll() is None

    def fail(self, what: str) -> AssertionError:
        """An error that shows the end of the console's log."""
        shown = self.log.read_text("utf-8", "replace").splitlines()[-60:]
        return AssertionError("\n".join([f"{what}; the console showed:", *shown]))

    def wait_for_end(self) -> None:
        """Wait until the machine has switched itself off (or would reboot)."""
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise self.fail("the machine does not switch itself off") from None

    def cut_power(self) -> None:
        """End at once: what the machine had not written to its disk is lost."""
        self._process.kill()
        self._process.wait()

    def save(self, state: Path) -> None:
        """Write the state of everything but the disk to a file, and end."""
        self.monitor("migrate_set_parameter max-bandwidth 10G")
        self.monitor(f"migrate file:{state}")
        status = self.monitor("info migrate")
        assert "Migration status: completed" in status, status
        self._process.terminate()
        self.wait_for_end()

    def monitor(self, command: str) -> str:
        """A command of qemu's monitor, such as `stop` and `cont`; what it printed."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.monitor_socket))
            connection.settimeout(PATIENCE)
            self._until_prompt(connection)
            connection.sendall(command.encode() + b"\n")
            return self._until_prompt(connection)

    @staticmethod
    def _until_prompt(connection: socket.socket) -> str:
        read = b""
        while not read.endswith(b"(qemu) "):
            more = connection.recv(4096)
            assert more, read
            read += more
        return read.decode()


def ssh(image: Path, control: Path) -> list[str]:
    """The beginning of an ssh command to the machine, over one shared connection."""
    options = ["-F", "none", "-q", "-i", str(image / "key"), "-p", str(CONTROL_PORT)]
    settings = ["IdentitiesOnly=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
    settings += [f"ControlPath={control}", "ConnectTimeout=20"]
    return ["ssh", *options, *(word for each in settings for word in ("-o", each)), "root@127.0.0.1"]


def wait_for(condition: Callable[[], bool], what: str, pause: float = 0.2) -> None:
    """Wait until a function returns something true. Raises AssertionError."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, f"not within {PATIENCE:.0f} s: {what}"
        time.sleep(pause)

"""A real sshd on loopback, and a real ssh client in a terminal."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path

import pexpect


class Sshd:
    """sshd with the host's own sshd_config and what stands in /etc/ssh/sshd_config.d, on a port of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self._folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.log = folder / "sshd.log"
        self.client_key = folder / "client-key"

    def __enter__(self) -> Sshd:
        folder = self._folder
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("host-key", "client-key"):
            if not (folder / name).exists():
                command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
                subprocess.run(command, check=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        host_key = (folder / "host-key.pub").read_text()
        (folder / "known-hosts").write_text(f"[127.0.0.1]:{self.port} {host_key}")
        options = [
            f"Port={self.port}",
            "ListenAddress=127.0.0.1",
            f"HostKey={folder / 'host-key'}",
            f"PidFile={folder / 'sshd.pid'}",
            "PerSourcePenalties=no",
            "UseDNS=no",
            *self._options,
        ]
        command = ["/usr/sbin/sshd", "-D", "-E", str(self.log)]
        for option in options:
            command += ["-o", option]
        self._process = subprocess.Popen(command)
        until = time.monotonic() + 10
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            time.sleep(0.02)
        raise AssertionError("sshd did not start:\n" + self.log.read_text())

    def __exit__(self, *_exc: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)

    @property
    def pid(self) -> int:
        """The process id of the listener."""
        assert self._process is not None
        return self._process.pid

    def admit(self, user: str) -> None:
        """Let the client's key in as `user`."""
        home = Path(f"~{user}").expanduser()
        folder = home / ".ssh"
        folder.mkdir(mode=0o700, exist_ok=True)
        shutil.copy(f"{self.client_key}.pub", folder / "authorized_keys")
        for path in (folder, folder / "authorized_keys"):
            shutil.chown(path, user, user)

    def command(self, user: str, *remote: str, options: tuple[str, ...] = ()) -> list[str]:
        """The ssh command that logs in as `user`."""
        settings = [
            f"UserKnownHostsFile={self._folder / 'known-hosts'}",
            "IdentitiesOnly=yes",
            # Refused for good, the server offers no method at all; ssh then tries its own list and asks for a password.
            "PreferredAuthentications=publickey,keyboard-interactive",
            f"IdentityFile={self.client_key}",
            *options,
        ]
        command = ["ssh", "-F", "none", "-p", str(self.port)]
        for setting in settings:
            command += ["-o", setting]
        return [*command, f"{user}@127.0.0.1", *remote]

    def login(self, user: str, *remote: str, options: tuple[str, ...] = (), timeout: float = 90) -> pexpect.spawn:
        """Log in as `user` in a terminal of its own; returns the terminal, whose `logfile_read` holds what was seen."""
        command = self.command(user, *remote, options=options)
        terminal = pexpect.spawn(command[0], command[1:], timeout=timeout, encoding="utf-8", dimensions=(24, 100))
        terminal.delaybeforesend = None
        return terminal

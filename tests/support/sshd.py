"""A real sshd on loopback, and a real ssh client in a terminal."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.deadline import PATIENCE
from tests.support.pam_files import SSHD, sshd_file
from tests.support.terminal import ENVIRONMENT, Terminal

CONFIGURATION = Path("/etc/ssh/sshd_config")
DROP_INS = Path(__file__).parents[2] / "config/sshd_config.d"
PROMPT = "IAMPASS: press Enter[^:]*: "


#: Below the ephemeral ports, so that no other process takes one before sshd does.
_PORTS = itertools.count(2200)


def _free_port() -> int:
    for port in _PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("every port is taken")


class Login(Terminal):
    """An ssh client in a terminal, and its user."""

    def prompted(self) -> None:
        """Wait for our prompt."""
        self.expect(PROMPT)

    def enter(self) -> None:
        """Wait for our prompt and press Enter."""
        self.prompted()
        self.sendline("")


def _settings(way: str, folder: Path) -> Path:
    """A file for sshd: Debian's own, with the drop-in of this way instead of sshd_config.d."""
    drop_in = {
        "key": "10-iampass.conf",
        "password": "10-iampass-password.conf",
        "codes": "10-iampass-codes.conf",
    }.get(way)
    debian = CONFIGURATION.read_text()
    include = "Include /etc/ssh/sshd_config.d/*.conf"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "sshd_config"
    file.write_text(debian.replace(include, f"Include {DROP_INS / drop_in}" if drop_in else ""))
    return file


def _with_pam_file(file: Path) -> list[str]:
    """A command that runs another one for which `file` replaces /etc/pam.d/sshd."""
    script = f'mount --bind "$0" {SSHD} && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", script, str(file)] if file != SSHD else []


class Sshd:
    """sshd on its own port, with the host's configuration or that of one of setup's ways."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        keys: Path | None = None,
        pid_file: Path | None = None,
        way: str = "",
        address: str = "127.0.0.1",
        own_pam_file: bool = True,
    ) -> None:
        """`way` is one of setup's (`key`, `password`, `quiet`, `codes`), with settings and, if `own_pam_file`, a PAM
        file of its own; without one sshd has the machine's. `folder` is for its files, `pid_file` where the name of
        that one matters; `keys` is the folder of another sshd whose client key is also accepted."""
        self.pid_file = pid_file or folder / "sshd.pid"
        self._under = _with_pam_file(sshd_file(way)) if way and own_pam_file else []
        self._folder = folder
        self._options = options
        self._address = address
        self._configuration = _settings(way, folder) if way else CONFIGURATION
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.log = folder / "sshd.log"
        self.client_key = (keys or folder) / "client-key"

    def __enter__(self) -> Sshd:
        folder = self._folder
        folder.mkdir(parents=True, exist_ok=True)
        for key in (folder / "host-key", self.client_key):
            if not key.exists():
                subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        self.port = _free_port()
        host_key = (folder / "host-key.pub").read_text()
        (folder / "known-hosts").write_text(f"[{self._address}]:{self.port} {host_key}")
        self.pid_file.unlink(missing_ok=True)
        self._process = subprocess.Popen(self._command("-D"))
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if self.pid_file.exists():  # it listens on all of its addresses
                return self
            time.sleep(0.02)
        raise AssertionError("sshd did not start:\n" + self.log.read_text())

    def _command(self, mode: str) -> list[str]:
        options = [
            *self._options,  # sshd uses the first value
            f"Port={self.port}",
            f"ListenAddress={self._address}",
            f"HostKey={self._folder / 'host-key'}",
            f"PidFile={self.pid_file}",
            "PerSourcePenalties=no",
            "MaxStartups=100",
            "UseDNS=no",
        ]
        command = [*self._under, "/usr/sbin/sshd", mode, "-f", str(self._configuration), "-E", str(self.log)]
        for option in options:
            command += ["-o", option]
        return command

    def inetd(self) -> list[str]:
        """The command of one for a single connection, which is its standard input."""
        return self._command("-i")

    def __exit__(self, *_exc: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)

    def restart(self) -> None:
        """Restart it on another port."""
        self.__exit__()
        self.__enter__()

    @property
    def pid(self) -> int:
        """The process id of the listener."""
        assert self._process is not None
        return self._process.pid

    def admit(self, user: str) -> None:
        """Authorize the client's key for `user`."""
        folder = Path(f"~{user}").expanduser() / ".ssh"
        folder.mkdir(mode=0o700, exist_ok=True)
        shutil.copy(f"{self.client_key}.pub", folder / "authorized_keys")
        for path in (folder, folder / "authorized_keys"):
            shutil.chown(path, user, user)

    def options(self, *more: str) -> list[str]:
        """The options for ssh, scp and sftp; those in `more` go before the others."""
        settings = [
            *more,
            f"Port={self.port}",
            f"UserKnownHostsFile={self._folder / 'known-hosts'}",
            "IdentitiesOnly=yes",
            # After a final denial the server offers no method; ssh would then try its own list, including passwords.
            "PreferredAuthentications=publickey,keyboard-interactive",
            f"IdentityFile={self.client_key}",
        ]
        return ["-F", "none", *(word for setting in settings for word in ("-o", setting))]

    def command(self, user: str, *remote: str, options: tuple[str, ...] = ()) -> list[str]:
        """The ssh command that logs in as `user`."""
        return ["ssh", *self.options(*options), f"{user}@{self._address}", *remote]

    def login(self, user: str, *remote: str, options: tuple[str, ...] = (), timeout: float = 90) -> Login:
        """Log in as `user` in a terminal."""
        return Login(self.command(user, *remote, options=options), timeout)


def without_terminal(command: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a client that has no terminal."""
    return subprocess.run(
        command,
        env={**ENVIRONMENT, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

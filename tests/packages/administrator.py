"""What an administrator does on a machine: installs the packages, configures them, switches the second factor on."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.packages.booted import PATIENCE, Booted
from tests.packages.phone import PORT, STATE, token_of

PEOPLE = ("alice", "bob", "carol", "dave")
PASSWORD = "correct horse"
PACKAGES = Path(os.environ.get("PACKAGES_FOLDER", "build/deb/trixie"))
NAMES = ("libpam-iampass", "pam-iampass-sandbox")


def built(names: Sequence[str] = NAMES, folder: Path = PACKAGES) -> tuple[Path, ...]:
    """The packages that were built, without that for SELinux: it needs packages that these machines do not have."""
    found = tuple(package for name in names for package in folder.glob(f"{name}_*.deb"))
    assert len(found) >= len(names), f"no packages in {folder}"
    return found


class Administrator:
    """The administrator of a machine, and the accounts that they made, with keys and passwords."""

    def __init__(self, machine: Booted, people: tuple[str, ...] = PEOPLE, port: int = PORT) -> None:
        self.machine = machine
        self.people = people
        self.port = port
        """Of IAMPASS."""
        self.settings = {
            "application_id": "demo",
            "server": f"https://127.0.0.1:{port}",
            "ca_file": "/etc/iampass/ca.pem",
            "timeout": "60s",
        }

    def make_people(self) -> None:
        """Accounts with passwords and a key; all of them may use sudo, with the password."""
        run = self.machine.run
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/key")
        for user in ("exempt", *self.people):
            run("useradd", "--create-home", "--shell", "/bin/sh", "--groups", "sudo", user)
            run("chpasswd", stdin=f"{user}:{PASSWORD}\n")
            run("install", "-d", "-m", "700", "-o", user, "-g", user, f"/home/{user}/.ssh")
            run(
                "install",
                "-m",
                "600",
                "-o",
                user,
                "-g",
                user,
                "/root/key.pub",
                f"/home/{user}/.ssh/authorized_keys",
            )
        run("chpasswd", stdin="root:root's own\n")
        self.machine.shell("sed 's/^/127.0.0.1 /' /etc/ssh/ssh_host_ed25519_key.pub > /root/known-hosts")
        # Many logins in a row from one address, most of them denied, are no attack here.
        for option in ("MaxStartups=100", "PerSourcePenalties=no"):
            if run("sshd", "-T", "-o", option, check=False).returncode == 0:
                self.machine.shell(f"echo {option} >> /etc/ssh/sshd_config.d/00-test.conf")
        run("systemctl", "restart", "ssh")

    def install(self, *packages: Path) -> str:
        """`apt install ./*.deb`; what apt said. The packages that were built, unless others are given."""
        found = packages or built()
        for package in found:
            self.machine.copy_in(package, "/root/packages")
        here = " ".join("./" + shlex.quote(package.name) for package in found)
        command = f"cd /root/packages && DEBIAN_FRONTEND=noninteractive apt-get install -y {here} 2>&1"
        return self.machine.run("sh", "-euc", command, timeout=5 * PATIENCE).stdout

    def iampass(self, *options: str, state: str = STATE) -> list[str]:
        """The arguments of `pam-iampass` that start a sandbox in which everybody but dave has a phone."""
        users = [f"--user={token_of(user)}" for user in self.people if user != "dave"]
        command = f"sandbox --listen 127.0.0.1:{self.port} --application-id demo --state {state}"
        return [*command.split(), *users, f"--user={token_of('dave')}:no-device", *options]

    def start_iampass(self, *options: str) -> None:
        """A sandbox in which everybody but dave has a phone, and the files that lead to it."""
        words = ["pam-iampass", *self.iampass(*options)]
        unit = f"[Service]\nExecStart={' '.join(words)}\nStandardOutput=truncate:/run/sandbox.log\n"
        self.machine.write("/etc/systemd/system/sandbox.service", unit)
        self.machine.run("systemctl", "daemon-reload")
        self.machine.run("systemctl", "start", "sandbox")
        self.machine.shell(
            "timeout 120 sh -c 'until grep -q \"^Sandbox ready\" /run/sandbox.log; do sleep 0.1; done'"
        )
        self.trust_iampass()

    def trust_iampass(self) -> None:
        """Install the files that lead to the sandbox."""
        self.machine.shell(
            f"""
            install -m 0644 {STATE}/ca.pem /etc/iampass/ca.pem
            install -o root -g _iampass -m 0640 {STATE}/application-secret /etc/iampass/application-secret
            """
        )

    def configure(self, **settings: str) -> None:
        """Write the settings, some of them others, and everybody's token."""
        chosen = {**self.settings, **settings}
        text = "".join(f"{key}: {value}\n" for key, value in chosen.items())
        self.machine.write("/etc/iampass/iampass.yaml", text, 0o640, "_iampass")
        users = "".join(f"{user}: {token_of(user)}\n" for user in self.people if user != "carol")
        self.machine.write("/etc/iampass/users.yaml", users, 0o640, "_iampass")

    def set_up(self, *words: str) -> str:
        """`pam-iampass setup`; what it said. root has neither key nor token here, which setup warns of: --force."""
        return self.machine.run("pam-iampass", "setup", *words, "--force").stdout

    def undo(self, *services: str) -> str:
        """`pam-iampass setup undo`."""
        return self.machine.run("pam-iampass", "setup", "undo", *services).stdout


def newer(package: Path, folder: Path, version: str, files: Mapping[str, str] | None = None) -> Path:
    """The same package with another version, for an upgrade, and with these files besides: their texts by path."""
    tree = folder / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", str(package), str(tree)], check=True)
    control = tree / "DEBIAN/control"
    text = control.read_text()
    old = next(line.split(": ", 1)[1] for line in text.splitlines() if line.startswith("Version: "))
    control.write_text(text.replace(old, version))
    for path, content in (files or {}).items():
        (tree / path).write_text(content)
    made = folder / package.name.replace(old, version)
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(made)], check=True, capture_output=True
    )
    subprocess.run(["rm", "-rf", str(tree)], check=True)
    return made

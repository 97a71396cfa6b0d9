"""pam-iampass installed in the isolated root, and set up for a sandbox."""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import subprocess
from pathlib import Path

from pam_iampass.agent.control import ask
from pam_iampass.system import paths
from tests.support.agent import CONTROL, listeners
from tests.support.sandbox import Sandbox

ROOT = Path(__file__).parents[2]
ETC = Path("/etc/iampass")
STATE = Path(paths.STATE)


class Installation:
    """What an administrator does after installing: users, configuration, PAM files."""

    def __init__(self) -> None:
        assert os.environ.get("MACHINE_COPY"), (
            "run this through `make test`: it changes the machine that it runs on"
        )
        install()
        self.settings: dict[str, str] = {}

    def add_user(self, name: str, password: str = "") -> None:
        """Create a local account."""
        subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", name], check=True)
        if password:
            cheap = ["chpasswd", "--crypt-method", "SHA512", "--sha-rounds", "1000"]
            subprocess.run(cheap, input=f"{name}:{password}\n", text=True, check=True)

    def configure(self, sandbox: Sandbox, **settings: str) -> None:
        """Write the settings for a sandbox; `settings` are further keys with their YAML text."""
        self.settings = {
            "application_id": sandbox.application_id,
            "server": sandbox.url,
            "ca_file": str(ETC / "ca.pem"),
            "throttle": "{spacing: 0s}",  # tests need not wait between two logins
            **settings,
        }
        shutil.copy(sandbox.ca_file, ETC / "ca.pem")
        (ETC / "ca.pem").chmod(0o644)
        write(ETC / "application-secret", sandbox.application_secret + "\n")
        self.write_settings("".join(f"{key}: {value}\n" for key, value in self.settings.items()))

    def change(self, **settings: str) -> None:
        """Write the settings with some keys changed."""
        self.write_settings(
            "".join(f"{key}: {value}\n" for key, value in {**self.settings, **settings}.items())
        )

    def write_settings(self, text: str) -> None:
        """Write `iampass.yaml` with this text."""
        write(ETC / "iampass.yaml", text)

    def forget(self) -> None:
        """Have the agent forget limits, codes, bypasses and lost phones, so that earlier tests deny no logins."""
        if CONTROL.exists() and listeners(CONTROL):
            for account in pwd.getpwall():
                if account.pw_uid == 0 or 1000 <= account.pw_uid < 60000:
                    ask("user forget", user=account.pw_name)
                    ask("phone forget", user=account.pw_name)
        else:
            for file in STATE.parent.glob("state.db*"):
                file.unlink()

    def write_users(self, text: str) -> None:
        """Write `users.yaml` with this text."""
        write(ETC / "users.yaml", text)


@functools.cache
def install() -> None:
    """Install pam-iampass, once: from the tree that the run of all tests has staged, or from source."""
    make = ["make", "--no-print-directory", "-C", str(ROOT)]
    staged = os.environ.get("PAM_IAMPASS_STAGED")
    if staged:
        commands = [["cp", "-R", "--preserve=mode,timestamps", f"{staged}/.", "/"], [*make, "account"]]
    else:
        commands = [[*make, "install", "account", f"BUILD={os.environ['MACHINE_SCRATCH']}/build"]]
    for command in commands:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def write(path: Path, text: str) -> None:
    """Write a configuration file with the required owner and mode."""
    path.write_text(text, encoding="utf-8")
    shutil.chown(path, "root", "_iampass")
    path.chmod(0o640)

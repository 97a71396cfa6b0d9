"""The shipped files of config/, filled in, and what `check` says of them once a test has changed them."""

from __future__ import annotations

import grp
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pam_iampass.check.configuration import check_config
from pam_iampass.system.service_user import service_group
from tests.support.folders import put
from tests.support.installation import ROOT

ANYBODY = "daemon"  # stands in for the user, and the group, that the module runs as


@dataclass
class Installed:
    """The files of config/, filled in, in a folder of their own."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "iampass.yaml"

    group: int
    """The id of the group that the module runs as."""

    def write(self, name: str, text: str) -> None:
        put(self.folder / name, text.replace("/etc/iampass/", f"{self.folder}/"), 0o640)
        os.chown(self.folder / name, 0, self.group)

    def change(self, old: str, new: str) -> None:
        text = self.file.read_text("utf-8")
        assert old in text
        self.write(self.file.name, text.replace(old, new))

    def set(self, key: str, value: str) -> None:
        """Give a key outside of sections another value."""
        text, found = re.subn(
            rf"^{key}:.*$", f"{key}: {value}", self.file.read_text("utf-8"), flags=re.MULTILINE
        )
        assert found == 1
        self.write(self.file.name, text)

    def check(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pam_iampass.cli", "check", "--config", str(self.file), *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    @property
    def pam(self) -> Path:
        """PAM files of services that ask the phone."""
        folder = self.folder / "asking"
        folder.mkdir(exist_ok=True)
        for name in ("login", "su", "su-l", "sudo", "sudo-i", "gate"):
            put(folder / name, "auth required pam_iampass.so\n")
        return folder

    def warnings(self) -> list[str]:
        found = check_config(self.file, ANYBODY, pam_folders=[self.pam])
        assert found.ok
        return [str(problem).replace(f"{self.folder}/", "") for problem in found.problems]


@pytest.fixture
def installed(trusted_folder: Path) -> Installed:
    installed = Installed(trusted_folder, grp.getgrnam(ANYBODY).gr_gid)
    for name in ("iampass.yaml", "users.yaml"):
        installed.write(name, (ROOT / "config" / name).read_text("utf-8"))
    installed.write("application-secret", "s3cret\n")
    installed.set("application_id", "app")
    return installed


@pytest.fixture
def for_root(installed: Installed) -> Installed:
    """With the files of the group that the installed module runs as, or of root's on a machine without."""
    installed.group = service_group() or 0
    for file in installed.folder.glob("[!.]*"):
        os.chown(file, 0, installed.group)
    return installed

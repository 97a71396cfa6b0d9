"""Where everything is on a machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TEMPLATES = Path("/usr/share/pam-iampass")
"""Where the files that setup writes are installed; nothing reads them there."""


@dataclass(frozen=True)
class Paths:
    """The folders and files that setup reads and writes, below `root`."""

    root: Path = Path("/")

    @property
    def pam(self) -> Path:
        """The PAM service files."""
        return self.root / "etc/pam.d"

    @property
    def sshd_config(self) -> Path:
        """sshd's settings."""
        return self.root / "etc/ssh/sshd_config"

    @property
    def sshd_drop_ins(self) -> Path:
        """The folder that sshd_config includes."""
        return self.root / "etc/ssh/sshd_config.d"

    @property
    def sudoers(self) -> Path:
        """sudo's settings."""
        return self.root / "etc/sudoers"

    @property
    def sudoers_drop_ins(self) -> Path:
        """The folder that sudoers includes."""
        return self.root / "etc/sudoers.d"

    @property
    def units(self) -> Path:
        """The administrator's systemd units."""
        return self.root / "etc/systemd/system"

    @property
    def state(self) -> Path:
        """What setup remembers: root's alone."""
        return self.root / "var/lib/pam-iampass/setup"

    @property
    def templates(self) -> Path:
        """What setup writes: the installed files or, in a clone of the repository, those of `config/`."""
        clone = Path(__file__).resolve().parents[2]
        return clone / "config" if (clone / "pyproject.toml").is_file() else TEMPLATES

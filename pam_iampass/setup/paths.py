"""The files of the machine that setup reads and writes."""

from __future__ import annotations

from pathlib import Path

from pam_iampass.pam.stack import FOLDERS
from pam_iampass.system import paths


class Paths:
    """The files and folders below `root`."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        self.pam = root / "etc/pam.d"
        self.vendor_pam = tuple(root / str(folder).lstrip("/") for folder in FOLDERS[1:])
        """Folders of PAM files that those in /etc/pam.d override."""
        self.sshd_config = root / "etc/ssh/sshd_config"
        self.sshd_drop_ins = root / "etc/ssh/sshd_config.d"
        self.units = root / "etc/systemd/system"
        self.state = root / paths.SETUP_STATE.lstrip("/")
        clone = Path(__file__).resolve().parents[2]
        in_clone = (clone / "pyproject.toml").is_file()
        self.templates = clone / "config" if in_clone else Path(paths.TEMPLATES)
        """What setup copies: the installed files or, in a clone of the repository, those of `config/`."""

    def vendor(self, name: str) -> tuple[Path, ...]:
        """The places of PAM service `name` that a file in /etc/pam.d overrides."""
        return tuple(folder / name for folder in self.vendor_pam)

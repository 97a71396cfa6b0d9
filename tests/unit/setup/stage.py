"""A folder that looks like a machine to setup, and a machine around it that only listens."""

from __future__ import annotations

import os
from pathlib import Path

from pam_iampass.setup import apply, plan
from pam_iampass.setup.apply import Hooks
from pam_iampass.setup.files import Paths
from pam_iampass.setup.manifest import Manifest, ManifestStore
from pam_iampass.setup.plan import Plan
from pam_iampass.setup.sshd import Reloaded
from tests.support.folders import put

SU = """\
# su
auth       sufficient pam_rootok.so
# auth       required   pam_wheel.so
session    required   pam_env.so readenv=1
@include common-auth
@include common-account
@include common-session
"""
SSHD = """\
# sshd
@include common-auth
account    required     pam_nologin.so
@include common-account
session    required     pam_loginuid.so
@include common-session
session    optional     pam_motd.so
"""
SUDO = "session required pam_limits.so\n@include common-auth\n@include common-account\n"
COMMON = {
    "common-auth": """\
auth [success=1 default=ignore] pam_unix.so nullok
auth requisite pam_deny.so
auth required pam_permit.so
""",
    "common-account": """\
account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so
account requisite pam_deny.so
account required pam_permit.so
""",
    "common-session": "session required pam_unix.so\nsession optional pam_systemd.so\n",
    "other": "@include common-auth\n@include common-account\n@include common-session\n",
}
LINE = "auth       required    pam_iampass.so  # pam-iampass"
SESSION = "session    optional    pam_iampass.so  # pam-iampass"


class Stage:
    """The machine, and what was done to it."""

    def __init__(self, root: Path) -> None:
        self.paths = Paths(root)
        self.store = ManifestStore(self.paths.state)
        self.told: list[tuple[str, str]] = []
        self.reloaded = Reloaded(True, "reloaded")
        for folder in (
            *(self.paths.pam, self.paths.sshd_drop_ins, self.paths.vendor_pam[0]),
            *(self.paths.units, self.paths.state.parent.parent),
        ):
            folder.mkdir(parents=True, exist_ok=True)
        put(root / "etc/debian_version", "13.0\n")
        for name, text in {**COMMON, "su": SU, "sudo": SUDO}.items():
            put(self.paths.pam / name, text)
        put(self.paths.pam / "sshd", SSHD, 0o640)
        put(self.paths.sshd_config, "Include /etc/ssh/sshd_config.d/*.conf\n")
        self.before = self.files()

    def hooks(self) -> Hooks:
        return Hooks(lambda: self.reloaded, lambda *done: self.told.append(done))

    def files(self) -> dict[str, tuple[str, int, int, int]]:
        """Everything below /etc: content, mode, owners."""
        found = {}
        for folder, _, names in os.walk(self.paths.root / "etc"):
            for name in names:
                path = Path(folder) / name
                at = path.stat()
                where = str(path.relative_to(self.paths.root))
                found[where] = (path.read_text(), at.st_mode & 0o7777, at.st_uid, at.st_gid)
        return found

    def text(self, name: str) -> str:
        """A PAM file."""
        return (self.paths.pam / name).read_text()

    def plan(self, name: str, choice: str = "", *, force: bool = False) -> Plan:
        wanted = plan.wanted(name, choice, self.paths)
        return plan.make(wanted, self.store.load().services.get(name), 1000.0, force=force)

    def set_up(self, name: str, choice: str = "", *, force: bool = False) -> Manifest:
        plans = [self.plan(name, choice, force=force)]
        apply.make_changes(plans, self.store.load(), self.store, self.hooks())
        return self.store.load()

    def undo(self, *names: str) -> Manifest:
        manifest = self.store.load()
        for name in names or list(manifest.services):
            manifest = apply.undo(name, manifest, self.store, self.hooks())
        return manifest

    def edit(self, path: Path, text: str) -> None:
        """A person adds a line."""
        with path.open("a") as file:
            file.write(text)

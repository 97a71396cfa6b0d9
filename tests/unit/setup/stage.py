"""A folder that looks like a machine to setup, and a machine around it that only listens."""

from __future__ import annotations

import os
from pathlib import Path

from pam_iampass.setup import apply, plan, services
from pam_iampass.setup.apply import Machine
from pam_iampass.setup.manifest import Manifest, ManifestStore
from pam_iampass.setup.paths import Paths
from pam_iampass.setup.plan import Plan
from pam_iampass.setup.reload import Reloaded
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
SSHD = "# sshd\n@include common-auth\naccount required pam_nologin.so\n@include common-account\n"


class Stage:
    """The machine, and what was done to it."""

    def __init__(self, root: Path) -> None:
        self.paths = Paths(root)
        self.store = ManifestStore(self.paths.state)
        self.told: list[tuple[str, str]] = []
        self.reloaded = Reloaded(True, "reloaded")
        self.reloads: list[dict[str, str]] = []
        """What was in the folders at each reload of sshd."""
        for folder in (
            *(self.paths.pam, self.paths.sshd_drop_ins, self.paths.sudoers_drop_ins),
            *(self.paths.units, self.paths.state.parent.parent),
        ):
            folder.mkdir(parents=True, exist_ok=True)
        put(self.paths.pam / "common-auth", "auth required pam_unix.so\n")
        put(self.paths.pam / "su", SU)
        put(self.paths.pam / "sshd", SSHD, 0o640)
        put(self.paths.sshd_config, "Include /etc/ssh/sshd_config.d/*.conf\n")
        put(self.paths.sudoers, "@includedir /etc/sudoers.d\n", 0o440)
        self.before = self.files()

    def machine(self, judge: object = None) -> Machine:
        return Machine(self._reload, judge or (lambda _plan: None), lambda *done: self.told.append(done))  # type: ignore[arg-type]

    def _reload(self) -> Reloaded:
        self.reloads.append({path: content for path, (content, *_) in self.files().items()})
        return self.reloaded

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

    def plan(self, name: str, choice: str = "", *, new_sshd: bool = True, force: bool = False) -> Plan:
        wanted = services.wanted(name, choice, self.paths, chooses_service=new_sshd)
        return plan.make(wanted, self.store.load(), 1000.0, force=force)

    def set_up(self, name: str, choice: str = "", *, new_sshd: bool = True, force: bool = False) -> Manifest:
        plans = [self.plan(name, choice, new_sshd=new_sshd, force=force)]
        return apply.apply(plans, self.store.load(), self.store, self.machine())

    def undo(self, *names: str) -> Manifest:
        manifest = self.store.load()
        for name in names or list(manifest.services):
            manifest = apply.undo(name, manifest, self.store, self.machine())
        return manifest

    def edit(self, path: Path, text: str) -> None:
        """A person adds a line."""
        with path.open("a") as file:
            file.write(text)

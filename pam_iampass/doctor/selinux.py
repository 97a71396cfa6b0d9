"""Whether SELinux, if it is enforcing, lets logins reach the agent, and the agent its files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.doctor.catalogue import finding
from pam_iampass.errors import Problem
from pam_iampass.system import paths
from pam_iampass.system.programs import CommandUnavailable, run

_SUBJECT = "selinux"


@dataclass(frozen=True)
class SelinuxCheck:
    """The policy module, its booleans, and the labels of the files."""

    sshd_asks: bool
    login_asks: bool
    enforce: Path = Path("/sys/fs/selinux/enforce")
    labelled: tuple[Path, ...] = (Path("/etc/iampass"), Path(paths.AGENT_SOCKET), Path("/var/lib/iampass"))
    """Files, and folders with the files in them."""

    def findings(self) -> Iterator[Problem]:
        """Everything that is wrong."""
        try:
            if self.enforce.read_text("ascii").strip() != "1":
                return
            modules = run(["semodule", "-l"])
            if not modules.ok:
                return
            if "iampass" not in modules.output:
                if self.sshd_asks or self.login_asks:
                    evidence = f"{self.enforce}: 1; semodule -l lists no module iampass"
                    yield finding("selinux-no-policy", _SUBJECT, evidence)
                return
            yield from self._booleans()
            yield from self._labels()
        except (OSError, CommandUnavailable):  # SELinux is not on, or this is no user who may ask
            return

    def _booleans(self) -> Iterator[Problem]:
        for boolean, asks in (("pam_iampass_sshd", self.sshd_asks), ("pam_iampass_local", self.login_asks)):
            result = run(["getsebool", boolean])
            if asks and result.output.split()[-1:] == ["off"]:
                evidence = f"getsebool {boolean}: {result.output.strip()}"
                yield finding("selinux-boolean-off", _SUBJECT, evidence, boolean=boolean)

    def _labels(self) -> Iterator[Problem]:
        files = [file for path in self.labelled for file in (path, *sorted(path.glob("*"))) if file.exists()]
        result = run(["matchpathcon", "-V", *map(str, files)])
        wrong = [line for line in result.output.splitlines() if " should be " in line]
        if wrong:
            yield finding("selinux-label", _SUBJECT, "; ".join(wrong))

"""Whether the module can be reached: the agent's socket, the agent behind it, the helper, the units, SELinux."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.doctor.catalogue import KINDS
from pam_iampass.doctor.finding import Finding
from pam_iampass.errors import UntrustedFile
from pam_iampass.relay.protocol import AUTHENTICATE, Hello
from pam_iampass.system import paths
from pam_iampass.system.programs import NotThere, ask
from pam_iampass.system.trusted_folder import mode_of, trusted_folder

_UNIT = "pam-iampass-agent.socket"
_PATIENCE = 3.0  # seconds
_NO_PHASE = AUTHENTICATE + 100
"""A phase that the module does not know: it hangs up at once, and neither asks anybody nor leaves a record."""


@dataclass(frozen=True)
class AgentExamination:
    """The way from a door to the module."""

    socket_path: Path = Path(paths.AGENT_SOCKET)
    helper: tuple[Path, ...] = (Path("/usr/bin/python3"), Path(paths.PROGRAMS, "helper"))
    systemd: Path = Path("/run/systemd/system")
    selinux: Path = Path("/sys/fs/selinux/enforce")

    def findings(self) -> Iterator[Finding]:
        """Everything that is wrong."""
        yield from self._units()
        yield from self._selinux()
        for path in self.helper:
            if not path.exists():
                yield Finding.of(KINDS["helper-missing"], "agent", f"{path}: is not there", path=path)
        try:
            found = self.socket_path.lstat()
        except FileNotFoundError:
            yield Finding.of(KINDS["agent-off"], "agent", f"{self.socket_path}: is not there")
            return
        fault = self._fault(found)
        if fault:
            yield Finding.of(KINDS["socket-wrong"], "agent", f"{self.socket_path}: {fault}", what=fault)
        elif os.geteuid() == 0:
            yield from self._answer()

    def _fault(self, found: os.stat_result) -> str:
        if not stat.S_ISSOCK(found.st_mode):
            return "is no socket"
        if found.st_uid != 0:
            return f"belongs to user {found.st_uid}, not to root"
        if stat.S_IMODE(found.st_mode) & 0o077:
            return f"lets others connect ({mode_of(found)}, not 0600)"
        try:
            with trusted_folder(str(self.socket_path.parent), 0):
                return ""
        except UntrustedFile as error:
            return f"is in a folder that others can change: {error}"

    def _answer(self) -> Iterator[Finding]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_PATIENCE)
            try:
                connection.connect(str(self.socket_path))
                connection.sendall(Hello(_NO_PHASE, 0, ()).encode().encode())
                while connection.recv(4096):
                    pass
            except ConnectionRefusedError:
                yield Finding.of(
                    KINDS["agent-not-listening"], "agent", f"{self.socket_path}: connection refused"
                )
            except socket.timeout:
                what = f"{self.socket_path}: no answer in {_PATIENCE:.0f} s"
                yield Finding.of(KINDS["agent-silent"], "agent", what)
            except OSError as error:
                # That the agent hangs up on us before it has read everything is an answer.
                if not isinstance(error, (ConnectionResetError, BrokenPipeError)):
                    yield Finding.of(
                        KINDS["agent-silent"], "agent", f"{self.socket_path}: {error.strerror or error}"
                    )

    def _units(self) -> Iterator[Finding]:
        """Whether systemd, where it runs, has the socket there, now and after the next start."""
        if not self.systemd.is_dir():
            return
        for question, good in (("is-enabled", ("enabled", "static", "alias")), ("is-active", ("active",))):
            try:
                said = ask("systemctl", [question, _UNIT])
            except NotThere:
                return
            state = said.output.strip() or said.complaint
            if state not in good:
                yield Finding.of(
                    KINDS["unit-off"], "agent", f"systemctl {question}: {state}", unit=_UNIT, state=state
                )
                return

    def _selinux(self) -> Iterator[Finding]:
        try:
            enforcing = self.selinux.read_text("ascii").strip() == "1"
            modules = ask("semodule", ["-l"]) if enforcing else None
        except (OSError, NotThere):
            return
        if modules is not None and modules.status == 0 and "iampass" not in modules.output:
            yield Finding.of(
                KINDS["selinux-no-policy"], "agent", f"{self.selinux}: 1; semodule -l lists no module of ours"
            )

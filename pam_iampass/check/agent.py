"""Whether the module can be reached: the agent's socket, the agent, the units. SELinux has a file of its own."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pam_iampass import __version__
from pam_iampass.agent.control import AgentUnavailable, ask
from pam_iampass.agent.wire import Frame, FrameType
from pam_iampass.check import selinux
from pam_iampass.check.catalogue import finding
from pam_iampass.check.machine import Machine
from pam_iampass.errors import Problem, Severity, UntrustedFile
from pam_iampass.system import paths
from pam_iampass.system.accounts import user_name
from pam_iampass.system.programs import CommandUnavailable, run
from pam_iampass.system.trusted_folder import mode_of, trusted_folder

_UNIT, _SERVICE = "pam-iampass-agent.socket", "pam-iampass-agent.service"
_WATCH = "pam-iampass-watch.path"
_START = "systemctl enable --now pam-iampass-agent.socket; without systemd: pam-iampass-agent --socket"
_RESTART = f"systemctl restart {_UNIT} {_SERVICE}; journalctl -u pam-iampass-agent"
_ON = {"is-enabled": ("enabled", "static", "alias"), "is-active": ("active",)}
_TIMEOUT = 3.0  # seconds
_OUT_OF_TURN = Frame(FrameType.NO_ANSWER).encode()
"""A frame that does not begin a login: the module closes the connection, without a request or an audit record."""


def findings(machine: Machine) -> Iterator[Problem]:
    """Everything that keeps logins from reaching the agent."""
    yield from AgentCheck().findings()
    yield from selinux.findings(machine)


@dataclass(frozen=True)
class AgentCheck:
    """The connection from a door to the module."""

    socket_path: Path = Path(paths.AGENT_SOCKET)
    systemd: Path = Path("/run/systemd/system")
    manifest: Path = Path(paths.SETUP_STATE, "manifest.json")

    def findings(self) -> Iterator[Problem]:
        """Everything that is wrong."""
        yield from self._units()
        try:
            found = self.socket_path.lstat()
        except FileNotFoundError:
            yield self._off("it does not run", f"{self.socket_path} does not exist", _START)
            return
        fault = self._fault(found)
        if fault:
            yield self._off(f"its socket {fault}", f"{self.socket_path}: {fault}", _RESTART)
        elif os.geteuid() == 0:
            yield from self._connection()
            yield from self._status()

    @staticmethod
    def _off(what: str, evidence: str, remedy: str, severity: Severity | None = None) -> Problem:
        return finding("agent-off", "agent", evidence, severity, what=what, remedy=remedy)

    def _fault(self, found: os.stat_result) -> str:
        if not stat.S_ISSOCK(found.st_mode):
            return "is not a socket"
        if found.st_uid != 0:
            return f"belongs to user {user_name(found.st_uid)}, not to root"
        if stat.S_IMODE(found.st_mode) & 0o077:
            return f"lets other users connect (mode {mode_of(found)}, not 0600)"
        try:
            with trusted_folder(str(self.socket_path.parent), 0):
                return ""
        except UntrustedFile as error:
            return f"is in a folder that other users can change: {error}"

    def _connection(self) -> Iterator[Problem]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT)
            try:
                connection.connect(str(self.socket_path))
                connection.sendall(_OUT_OF_TURN)
                while connection.recv(4096):
                    pass
            except (ConnectionResetError, BrokenPipeError):  # it has answered, before it had read everything
                pass
            except socket.timeout:
                evidence = f"{self.socket_path}: no answer within {_TIMEOUT:.0f} s"
                yield self._off("it does not answer", evidence, _RESTART)
            except OSError as error:
                evidence = f"{self.socket_path}: {error.strerror or error}"
                yield self._off("nothing answers on its socket", evidence, _RESTART)

    def _status(self) -> Iterator[Problem]:
        """Whether the agent answers this command, is the installed version, and can use its state."""
        try:
            status = ask("agent status", path=str(self.socket_path.with_name("control.sock")))
        except AgentUnavailable as error:
            yield self._off("it does not answer root's command", error.what, error.remedy, Severity.WARNING)
            return
        if status["version"] != __version__:
            evidence = f"pam-iampass-agent {status['version']} has been running for {status['uptime']:.0f} s"
            versions = {"running": status["version"], "installed": __version__}
            yield finding("agent-outdated", "agent", evidence, **versions)
        if status["problem"]:
            what, _, remedy = status["problem"].partition("; ")
            yield finding("state-unusable", "agent", what, remedy=remedy)

    def _units(self) -> Iterator[Problem]:
        """Whether systemd, if it runs, has the agent's socket, and what watches the files of setup, on."""
        if self.systemd.is_dir():
            yield from _unit(_UNIT, _UNIT, _SERVICE)
            of_service = {"is-enabled": ("static", "enabled", "disabled", "indirect")}
            yield from _unit(_SERVICE, _UNIT, _SERVICE, of_service)
            if self.manifest.exists():
                yield from _unit(_WATCH, _WATCH, "pam-iampass-watch.service", severity=Severity.WARNING)


def _unit(
    unit: str,
    starter: str,
    service: str,
    wanted: Mapping[str, Sequence[str]] = _ON,
    severity: Severity | None = None,
) -> Iterator[Problem]:
    """Whether a unit is in a state that is wanted. To put it right, `starter` is enabled, which starts `service`."""
    for verb, good in wanted.items():
        try:
            result = run(["systemctl", verb, unit])
        except CommandUnavailable:
            return
        state = result.output.strip() or result.complaint
        if state not in good:
            yield finding(
                "unit-off",
                "agent",
                f"systemctl {verb}: {state}",
                severity,
                unit=unit,
                state=state,
                starter=starter,
                service=service,
            )
            return

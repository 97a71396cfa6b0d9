"""Whether the module can be reached: the agent's socket, the agent, the units, and what SELinux lets through."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pam_iampass import __version__
from pam_iampass.agent.control import AgentUnavailable, ask
from pam_iampass.agent.wire import Frame, FrameType
from pam_iampass.doctor.catalogue import finding
from pam_iampass.doctor.machine import Machine
from pam_iampass.errors import Problem, UntrustedFile
from pam_iampass.system import paths
from pam_iampass.system.accounts import user_name
from pam_iampass.system.programs import CommandUnavailable, run
from pam_iampass.system.trusted_folder import mode_of, trusted_folder

_UNIT, _SERVICE = "pam-iampass-agent.socket", "pam-iampass-agent.service"
_WATCH = "pam-iampass-watch.path"
_ON = {"is-enabled": ("enabled", "static", "alias"), "is-active": ("active",)}
_OUR_UNIT = re.compile(r"pam-iampass[\w-]*\.(?:socket|service|path|timer)")
_TIMEOUT = 3.0  # seconds
_ENFORCE = Path("/sys/fs/selinux/enforce")
_LABELLED = (Path("/etc/iampass"), Path(paths.AGENT_SOCKET), Path("/var/lib/iampass"))
"""Files, and folders with the files in them, whose labels are compared with SELinux's rules."""
_OUT_OF_TURN = Frame(FrameType.NO_ANSWER).encode()
"""A frame that does not begin a login: the module closes the connection, without a request or an audit record."""


def findings(machine: Machine) -> Iterator[Problem]:
    """Everything that keeps logins from reaching the agent."""
    yield from AgentCheck().findings()
    service = machine.sshd_service
    sshd_asks = service is not None and machine.stacks.asks(service, in_sshd=True)
    yield from _selinux(sshd_asks, machine.stacks.asks("login"))


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
            yield finding("agent-off", "agent", f"{self.socket_path} does not exist")
            return
        fault = self._fault(found)
        if fault:
            yield finding("socket-wrong", "agent", f"{self.socket_path}: {fault}", what=fault)
        elif os.geteuid() == 0:
            yield from self._connection()
            yield from self._status()

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
            except ConnectionRefusedError:
                what = f"{self.socket_path}: connection refused"
                yield finding("agent-not-listening", "agent", what)
            except socket.timeout:
                what = f"{self.socket_path}: no answer within {_TIMEOUT:.0f} s"
                yield finding("agent-silent", "agent", what)
            except OSError as error:
                yield finding("agent-silent", "agent", f"{self.socket_path}: {error.strerror or error}")

    def _status(self) -> Iterator[Problem]:
        """Whether the agent answers this command, is the installed version, and can use its state."""
        try:
            status = ask("agent status", path=str(self.socket_path.with_name("control.sock")))
        except AgentUnavailable as error:
            yield finding("control-silent", "agent", error.what, remedy=error.remedy)
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
            yield from _unit("unit-off", _UNIT)
            yield from _unit(
                "unit-off", _SERVICE, {"is-enabled": ("static", "enabled", "disabled", "indirect")}
            )
            if self.manifest.exists():
                yield from _unit("watch-off", _WATCH)


def _unit(kind: str, unit: str, wanted: Mapping[str, Sequence[str]] = _ON) -> Iterator[Problem]:
    for verb, good in wanted.items():
        try:
            state = answer(verb, unit)
        except CommandUnavailable:
            return
        if state not in good:
            yield finding(kind, "agent", f"systemctl {verb}: {state}", unit=unit, state=state)
            return


def answer(verb: str, unit: str) -> str:
    """What systemctl says of a unit. Raises CommandUnavailable."""
    result = run(["systemctl", verb, unit])
    return result.output.strip() or result.complaint


def unmasked(found: Problem, answer: Callable[[str, str], str] = answer) -> Problem:
    """A finding whose remedy works for masked units too, which systemctl refuses to start, restart and enable."""
    units: dict[str, list[str]] = {"": [], "--runtime ": []}
    named = _OUR_UNIT.findall(found.remedy)
    # A socket or a path whose service is masked does not start.
    services = [
        f"{name.rpartition('.')[0]}{ending}" for name in named for ending in (".service", "@.service")
    ]
    for unit in dict.fromkeys([*named, *services]):
        with contextlib.suppress(CommandUnavailable):
            state = answer("is-enabled", unit)
            if state.startswith("masked"):
                units["--runtime " if state == "masked-runtime" else ""].append(unit)
    first = [f"systemctl unmask {option}{' '.join(names)} && " for option, names in units.items() if names]
    return replace(found, remedy="".join(first) + found.remedy)


def _selinux(sshd_asks: bool, login_asks: bool) -> Iterator[Problem]:
    """Whether SELinux, if it is enforcing, lets logins reach the agent, and the agent its files."""
    try:
        if _ENFORCE.read_text("ascii").strip() != "1":
            return
        modules = run(["semodule", "-l"])
        if not modules.ok:
            return
        if "iampass" not in modules.output:
            if sshd_asks or login_asks:
                evidence = f"{_ENFORCE}: 1; semodule -l lists no module iampass"
                yield finding("selinux-no-policy", "selinux", evidence)
            return
        for boolean, asks in (("pam_iampass_sshd", sshd_asks), ("pam_iampass_local", login_asks)):
            result = run(["getsebool", boolean])
            if asks and result.output.split()[-1:] == ["off"]:
                evidence = f"getsebool {boolean}: {result.output.strip()}"
                yield finding("selinux-boolean-off", "selinux", evidence, boolean=boolean)
        files = [file for path in _LABELLED for file in (path, *sorted(path.glob("*"))) if file.exists()]
        labels = run(["matchpathcon", "-V", *map(str, files)])
        wrong = [line for line in labels.output.splitlines() if " should be " in line]
        if wrong:
            yield finding("selinux-label", "selinux", "; ".join(wrong))
    except (OSError, CommandUnavailable):  # SELinux is not on, or this is no user who may ask
        return

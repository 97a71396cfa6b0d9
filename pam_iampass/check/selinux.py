"""Whether SELinux lets logins reach the agent, and the agent its files.

The kernel answers: in which domain a program runs, and what a domain may do (security/selinux/selinuxfs.c of Linux).
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pam_iampass.check.catalogue import finding
from pam_iampass.check.machine import Machine
from pam_iampass.check.sshd_instances import of_root
from pam_iampass.errors import Problem
from pam_iampass.system import paths
from pam_iampass.system.programs import CommandResult, CommandUnavailable, find, run
from pam_iampass.system.sshd import SSHD

_PERMISSIVE = 0x0001
"""The flag in an answer of the kernel for a domain whose denials are only recorded (AVD_FLAGS_PERMISSIVE)."""
_TIMEOUT = 3.0  # seconds
_LABELLED = (Path("/etc/iampass"), Path(paths.AGENT_SOCKET), Path("/var/lib/iampass"))
"""Files, and folders with the files in them, whose labels are compared with SELinux's rules."""


@dataclass(frozen=True)
class AskingService:
    """A service that asks the phone."""

    boolean: str
    """The boolean of our policy that lets the service reach the agent."""
    programs: tuple[str, ...]
    """The programs that systemd and then each other start; the last one calls PAM."""


def findings(machine: Machine) -> Iterator[Problem]:
    """Everything that SELinux keeps from the agent or from logins that ask it, if it is enforcing."""
    services = []
    service = machine.sshd_service
    if service is not None and machine.stacks.asks(service, in_sshd=True):
        services += _service("pam_iampass_sshd", SSHD, _session_program(machine))
    if machine.stacks.asks("login"):
        services += _service("pam_iampass_local", "agetty", "login")
    try:
        yield from SelinuxCheck(Kernel()).findings(services)
    except (OSError, CommandUnavailable) as error:
        machine.not_checked.append(f"SELinux: {error}")


def _session_program(machine: Machine) -> str:
    """The program that serves a connection to sshd. Before OpenSSH 9.8 it was sshd itself."""
    settings = next(iter(machine.sshd.values()), None) if isinstance(machine.sshd, dict) else None
    return settings.values.get("sshdsessionpath", SSHD) if settings else SSHD


def _service(boolean: str, *programs: str) -> list[AskingService]:
    """The service, if its programs are installed."""
    found = [os.path.realpath(path) for path in map(find, dict.fromkeys(programs)) if path]
    return [AskingService(boolean, tuple(found))] if len(found) == len(set(programs)) else []


class Kernel:
    """The kernel with SELinux. Every method raises OSError."""

    def __init__(self, root: Path = Path("/sys/fs/selinux"), proc: Path = Path("/proc")) -> None:
        self.root = root
        self.proc = proc

    def ask(self, name: str, question: str) -> str:
        """The answer of a file of selinuxfs that takes questions."""
        descriptor = os.open(self.root / name, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.write(descriptor, question.encode())
            return os.read(descriptor, 4096).decode().rstrip("\0\n")
        finally:
            os.close(descriptor)

    def label(self, path: Path) -> str:
        """The context of a file."""
        return os.getxattr(path, "security.selinux").decode().rstrip("\0")

    def listener(self, path: Path) -> str:
        """The context of the socket that takes connections at this path."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_TIMEOUT)
            connection.connect(str(path))
            return connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERSEC, 1024).decode().rstrip("\0")

    def is_enforcing(self) -> bool:
        """Whether the kernel has SELinux and enforces its policy."""
        enforce = self.root / "enforce"
        return enforce.exists() and enforce.read_text("ascii").strip() == "1"

    def boolean(self, name: str) -> bool | None:
        """The value of a boolean. None if the loaded policy has none of this name."""
        file = self.root / "booleans" / name
        return file.read_text("ascii").split()[0] == "1" if file.exists() else None

    def context(self, process: Path) -> str:
        """The context of a process, given its folder in /proc."""
        return (process / "attr/current").read_text("utf-8").rstrip("\0\n")

    def started(self, context: str, program: str) -> str:
        """The context of a program that a process of this context starts."""
        return self.ask("create", f"{context} {self.label(Path(program))} {self._number('process')}")

    def allows(self, source: str, target: str, kind: str, right: str) -> bool:
        """Whether processes of the context `source` have a right over an object of a class and the context `target`."""
        bit = 1 << int((self.root / "class" / kind / "perms" / right).read_text("ascii")) - 1
        try:
            answer = self.ask("access", f"{source} {target} {self._number(kind)}").split()
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return False  # the policy that had this label was removed
        return bool(int(answer[0], 16) & bit or int(answer[5], 16) & _PERMISSIVE)

    def _number(self, kind: str) -> int:
        return int((self.root / "class" / kind / "index").read_text("ascii"))

    def domains(self, programs: Sequence[str]) -> dict[str, str]:
        """The contexts in which the last one of these programs runs, and in which the next one will run, by domain.

        A policy that has just been loaded may start the next login in another domain than those that run.
        """
        contexts = {"": self.context(self.proc / "1")}
        for program in programs:
            started = [self.started(context, program) for context in contexts.values()]
            contexts = {domain_of(context): context for context in (*started, *self._running(program))}
        return contexts

    def _running(self, program: str) -> Iterator[str]:
        for process in self.proc.iterdir():
            if process.name.isdigit():
                try:
                    if of_root(process)[1] == program:
                        yield self.context(process)
                except OSError:  # it has ended
                    continue


def domain_of(context: str) -> str:
    """The domain in a context."""
    return context.split(":")[2]


@dataclass(frozen=True)
class SelinuxCheck:
    """A search for accesses that the policy denies."""

    kernel: Kernel
    socket_path: Path = Path(paths.AGENT_SOCKET)
    labelled: tuple[Path, ...] = _LABELLED
    run: Callable[[Sequence[str]], CommandResult] = run

    def findings(self, services: Sequence[AskingService]) -> Iterator[Problem]:
        """Everything that is denied. Raises OSError and CommandUnavailable."""
        if not self.kernel.is_enforcing():
            return
        files = [file for path in self.labelled for file in (path, *sorted(path.glob("*"))) if file.exists()]
        labels = self.run(["matchpathcon", "-V", *map(str, files)])
        wrong = [line for line in labels.output.splitlines() if " should be " in line]
        if wrong:
            remedy = "restorecon -R /etc/iampass /run/iampass /var/lib/iampass"
            yield _denies("a file has the wrong label", "; ".join(wrong), remedy)
        for service in services if self.socket_path.exists() else ():
            for domain, context in self.kernel.domains(service.programs).items():
                denied = self._denied(context)
                if denied:
                    evidence = f"{service.programs[-1]} runs in {domain}; the kernel says: {denied}"
                    yield self._explained(service.boolean, domain, evidence)

    def _denied(self, source: str) -> str:
        """The first right that a login needs and does not have, on the way to the agent; empty if it has all."""
        needed: tuple[tuple[str, str, Callable[[Path], str], Path], ...] = (
            ("dir", "search", self.kernel.label, self.socket_path.parent),
            ("sock_file", "write", self.kernel.label, self.socket_path),
            ("unix_stream_socket", "connectto", self.kernel.listener, self.socket_path),
        )
        for kind, right, context_of, path in needed:
            target = context_of(path)
            if not self.kernel.allows(source, target, kind, right):
                return f"{source} may not {right} {target} ({kind}, {path})"
        return ""

    def _explained(self, boolean: str, domain: str, evidence: str) -> Problem:
        value = self.kernel.boolean(boolean)
        if value is None:
            remedy = "Install pam-iampass-selinux; list denials with ausearch -m avc -ts recent"
            return _denies("it has no policy for pam-iampass", evidence, remedy)
        if not value:
            return _denies(f"{boolean} is off", evidence, f"setsebool -P {boolean} on")
        remedy = (
            "Upgrade pam-iampass-selinux. If that does not help, load a policy module with"
            f" pam_iampass_client({domain}), an interface of pam_iampass.if"
        )
        return _denies(f"{domain} may not connect", evidence, remedy)


def _denies(what: str, evidence: str, remedy: str) -> Problem:
    return finding("selinux-denies", "selinux", evidence, what=what, remedy=remedy)

"""The login sessions that doors have registered, and the sessions that logind has of them (loginctl(1)).

A door, as root, writes one file for each, `SESSION.PID`. Only what such a file names is ever touched. The agent's user
cannot write in the folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pam_iampass.enforcer import processes
from pam_iampass.enforcer.protocol import LoginSession
from pam_iampass.errors import MissingFile, UntrustedFile
from pam_iampass.system import paths, programs, trusted_file
from pam_iampass.system.trusted_folder import trusted_folder

_LIMIT = 4096
_NAME = re.compile(r"([0-9a-f]{32})\.([1-9][0-9]{0,9})", re.ASCII)
#: The end of the name of the file that says that the screen of a login was locked here.
_LOCKED = ".locked"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,19}", re.ASCII)
#: logind numbers its sessions; c1, c2 where the kernel has no audit session for them.
_XDG_SESSION = re.compile(r"[A-Za-z0-9]{1,32}", re.ASCII)
_GRAPHICAL = ("x11", "wayland", "mir")
_SHOWN = ("--property=Leader", "--property=Type", "--property=LockedHint", "--property=Scope")
_CGROUPS = "/sys/fs/cgroup"


@dataclass(frozen=True)
class RegisteredLogin(LoginSession):
    """A login session that a door has registered. If its process ends without closing it, its file is left."""

    session: str = ""
    """The id of the kept session."""
    started: int = 0
    """When the process was started: field 22 of /proc/PID/stat (proc(5))."""
    ruser: str | None = None
    """The user who called su or sudo (PAM_RUSER). Elsewhere the remote side can choose it."""
    inside: int | None = None
    """The audit session of the login of another account in which su or sudo was called."""
    pidfd: int | None = None
    """Refers to the process for good: its pid may be used again (pidfd_open(2)). None if it has ended before."""

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.session}.{self.pid}"

    def has_ended(self, within: float = 0.0) -> bool:
        """Whether the process ends within this time, in seconds."""
        if self.pidfd is None:
            return True
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        return bool(poller.poll(within * 1000))


class InvalidRegistration(ValueError):
    """A file that no door can have written, or of a process that cannot be looked at."""


def decode(name: str, content: bytes) -> RegisteredLogin:
    """The login in a file of that name, without its pidfd. Raises InvalidRegistration."""
    values: dict[str, str] = {}
    try:
        for line in content.decode("utf-8", "surrogateescape").removesuffix("\n").split("\n"):
            key, equals, value = line.partition("=")
            if not equals or key in values:
                raise InvalidRegistration(f"{name}: invalid line {line[:20]!r}")
            values[key] = value
        uid, pid, started = (_number(values[key]) for key in ("uid", "pid", "started"))
        session, _dot, of_name = name.partition(".")
        if of_name != str(pid):
            raise InvalidRegistration(f"{name}: is of process {pid}")
        xdg_session = values.get("xdg_session")
        if xdg_session is not None and not _XDG_SESSION.fullmatch(xdg_session):
            xdg_session = None
        user, service = values["user"], values["service"]
    except KeyError as error:
        raise InvalidRegistration(f"{name}: no {error.args[0]}") from None
    audit_session, inside = (
        _number(values[key]) if key in values else None for key in ("audit_session", "inside")
    )
    return RegisteredLogin(
        pid=pid,
        user=user,
        uid=uid,
        service=service,
        audit_session=audit_session,
        xdg_session=xdg_session,
        tty=values.get("tty"),
        session=session,
        started=started,
        ruser=values.get("ruser"),
        inside=inside,
    )


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise InvalidRegistration(f"{text[:20]!r} is not a number")
    return int(text)


@dataclass(frozen=True)
class Registrations:
    """The folder with the files."""

    folder: str = paths.LOGINS

    @contextlib.contextmanager
    def of(self, session: str) -> Iterator[tuple[list[RegisteredLogin], list[str]]]:
        """The registered logins of a kept session, and what is wrong with other files of it.

        Raises UntrustedFile if users other than root can write the folder.
        """
        found: list[RegisteredLogin] = []
        problems: list[str] = []
        with contextlib.ExitStack() as descriptors:
            for name in self._names():
                match = _NAME.fullmatch(name)
                if match is None or match[1] != session:
                    continue
                try:
                    found.append(_opened(self._read(name), descriptors))
                except (InvalidRegistration, UntrustedFile, OSError) as error:
                    problems.append(str(error))
            yield found, problems

    def processes(self) -> frozenset[tuple[int, int]]:
        """Ids and start times of the registered processes of all kept sessions."""
        found = set()
        for name in filter(_NAME.fullmatch, self._names()):
            with contextlib.suppress(InvalidRegistration, UntrustedFile, OSError):
                login = self._read(name)
                found.add((login.pid, login.started))
        return frozenset(found)

    def forget(self, login: RegisteredLogin) -> None:
        """Remove the file of a login once nothing of it is left. Raises UntrustedFile."""
        with trusted_folder(self.folder, 0) as folder, contextlib.suppress(OSError):
            os.unlink(login.name, dir_fd=folder)

    def mark_locked(self, login: RegisteredLogin) -> None:
        """Note that the screen of a login is about to be locked here. Raises UntrustedFile and OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with trusted_folder(self.folder, 0) as folder:
            os.close(os.open(f"{login.name}{_LOCKED}", flags, 0o600, dir_fd=folder))

    def take_mark(self, login: RegisteredLogin) -> bool:
        """Whether the screen was locked here, and has not been unlocked here since.

        Raises UntrustedFile and OSError.
        """
        with trusted_folder(self.folder, 0) as folder:
            try:
                os.unlink(f"{login.name}{_LOCKED}", dir_fd=folder)
            except FileNotFoundError:
                return False
        return True

    def _names(self) -> list[str]:
        try:
            return trusted_file.names(self.folder)
        except MissingFile:
            return []

    def _read(self, name: str) -> RegisteredLogin:
        return decode(name, trusted_file.read(f"{self.folder}/{name}", limit=_LIMIT))


def _opened(login: RegisteredLogin, descriptors: contextlib.ExitStack) -> RegisteredLogin:
    """The login with a pidfd of its process. Raises InvalidRegistration and OSError."""
    try:
        pidfd = os.pidfd_open(login.pid)
    except (ProcessLookupError, OverflowError):
        return login
    descriptors.callback(os.close, pidfd)
    # Looked at after the pidfd was made: if it is the process now, the pidfd is of that one.
    process = processes.look(login.pid)
    opened = replace(login, pidfd=pidfd)
    if process is None and not opened.has_ended():
        raise InvalidRegistration(f"/proc does not show process {login.pid} (mount option hidepid=)")
    return opened if process is not None and process.started == login.started else login


class LogindFailed(Exception):
    """loginctl did not do what it was asked to."""


@dataclass(frozen=True)
class LogindSession:
    """A session that the registered process has begun: it ends with the process and all that was started in it."""

    id: str
    graphical: bool
    locked: bool
    """Whether the screen is locked, if the desktop says so (LockedHint)."""
    group: str
    """The folder of the control group with all processes of the session; empty if there is none (cgroup v1)."""

    def terminate(self) -> None:
        """Ask every process of the session to end. Raises LogindFailed."""
        _loginctl("terminate-session", self.id)

    def has_processes(self) -> bool:
        """Whether any process is left in the control group or below it; True if that is unknown."""
        try:
            with open(f"{self.group}/cgroup.events", encoding="ascii") as file:
                return "populated 0" not in file.read()
        except OSError:  # it is gone
            return not self.group

    def kill(self) -> None:
        """Kill every process of the session. Raises LogindFailed."""
        if self.group:
            with contextlib.suppress(OSError), open(f"{self.group}/cgroup.kill", "wb", buffering=0) as file:
                file.write(b"1")  # none can fork past it; since Linux 5.14
                return
        _loginctl("kill-session", self.id, "--signal=KILL")

    def lock(self) -> None:
        """Ask the desktop to lock the screen. Raises LogindFailed."""
        _loginctl("lock-session", self.id)

    def unlock(self) -> None:
        """Ask the desktop to unlock the screen. Raises LogindFailed."""
        _loginctl("unlock-session", self.id)


def logind_session(login: RegisteredLogin) -> LogindSession | None:
    """The session whose leader is the registered process; None if there is none.

    su and sudo have the session of the login that they were started in: that is not theirs to end.
    """
    if login.xdg_session is None:
        return None
    try:
        shown = _loginctl("show-session", login.xdg_session, *_SHOWN)
    except LogindFailed:
        return None
    values = dict(line.partition("=")[::2] for line in shown.splitlines())
    if values.get("Leader") != str(login.pid):
        return None
    graphical, locked = values.get("Type") in _GRAPHICAL, values.get("LockedHint") == "yes"
    group = _control_group(login.pid, values.get("Scope", ""))
    return LogindSession(login.xdg_session, graphical, locked, group)


def _control_group(leader: int, scope: str) -> str:
    """The folder of a session's control group; empty without one, or if the leader is not in it.

    That is so if pam_systemd has failed: the leader is in the control group of its service, with all other logins.
    """
    with contextlib.suppress(OSError), open(f"/proc/{leader}/cgroup", encoding="utf-8") as file:
        # Other lines are of the hierarchies of cgroup v1, also beside this one (cgroups(7)).
        path = next((line[3:] for line in file.read().split("\n") if line.startswith("0::")), "")
        if scope and os.path.basename(path) == scope and os.path.exists(f"{_CGROUPS}{path}/cgroup.events"):
            return _CGROUPS + path
    return ""


def _loginctl(verb: str, session: str, *options: str) -> str:
    try:
        done = programs.run(["loginctl", verb, *options, "--no-pager", "--", session], timeout=10.0)
    except programs.CommandUnavailable as error:
        raise LogindFailed(error.what) from None
    if not done.ok:
        raise LogindFailed(f"loginctl {verb}: {done.complaint}")
    return done.output

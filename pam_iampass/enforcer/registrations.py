"""The login sessions that doors have registered: one file each, `SESSION.PID`, written by root.

Only what such a file names is ever touched. The agent's user cannot write in the folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
from collections.abc import Iterator
from dataclasses import dataclass

from pam_iampass.enforcer import processes
from pam_iampass.errors import MissingFile, UntrustedFile
from pam_iampass.system import paths, trusted_file
from pam_iampass.system.trusted_folder import trusted_folder

_LIMIT = 4096
_NAME = re.compile(r"([0-9a-f]{32})\.([1-9][0-9]{0,9})", re.ASCII)
#: The end of the name of the file that says that the screen of a login was locked here.
_LOCKED = ".locked"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,19}", re.ASCII)
#: logind numbers its sessions; c1, c2 where the kernel has no audit session for them.
_XDG_SESSION = re.compile(r"[A-Za-z0-9]{1,32}", re.ASCII)


@dataclass(frozen=True)
class Registration:
    """What the door wrote."""

    user: str
    uid: int
    """Of `user`, the account that the login session is for."""
    service: str
    pid: int
    """The process that called pam_open_session(3)."""
    started: int
    """When it was started: field 22 of /proc/PID/stat (proc(5))."""
    xdg_session: str | None
    """logind's session (pam_systemd(8)); it can be one that the process did not begin."""
    tty: str | None
    ruser: str | None = None
    """The user who called su or sudo (PAM_RUSER). Elsewhere the remote side can choose it."""
    audit_session: int | None = None
    """The kernel's audit session that the login has begun: all processes in it with its login uid belong to it."""
    inside: int | None = None
    """The audit session of the login of another account in which su or sudo was called."""


class InvalidRegistration(ValueError):
    """A file that no door can have written, or of a process that cannot be looked at."""


def decode(name: str, content: bytes) -> Registration:
    """The registration in a file of that name. Raises InvalidRegistration."""
    values: dict[str, str] = {}
    try:
        for line in content.decode("utf-8", "surrogateescape").removesuffix("\n").split("\n"):
            key, equals, value = line.partition("=")
            if not equals or key in values:
                raise InvalidRegistration(f"{name}: invalid line {line[:20]!r}")
            values[key] = value
        uid, pid, started = (_number(values[key]) for key in ("uid", "pid", "started"))
        if name.rpartition(".")[2] != str(pid):
            raise InvalidRegistration(f"{name}: is of process {pid}")
        xdg_session = values.get("xdg_session")
        if xdg_session is not None and not _XDG_SESSION.fullmatch(xdg_session):
            xdg_session = None
        user, service = values["user"], values["service"]
    except KeyError as error:
        raise InvalidRegistration(f"{name}: no {error.args[0]}") from None
    tty, ruser = values.get("tty"), values.get("ruser")
    audit_session, inside = (
        _number(values[key]) if key in values else None for key in ("audit_session", "inside")
    )
    return Registration(user, uid, service, pid, started, xdg_session, tty, ruser, audit_session, inside)


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise InvalidRegistration(f"{text[:20]!r} is not a number")
    return int(text)


@dataclass(frozen=True)
class RegisteredLogin:
    """A registered login session. A door that closes it removes its file; if its process ends otherwise, it is left."""

    name: str
    """Of its file."""
    registration: Registration
    pidfd: int | None
    """Refers to the process for good: its pid may be used again (pidfd_open(2)). None if it has ended before."""

    def has_ended(self, within: float = 0.0) -> bool:
        """Whether the process ends within so many seconds."""
        if self.pidfd is None:
            return True
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        return bool(poller.poll(within * 1000))


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
                    found.append(_opened(name, self._read(name), descriptors))
                except (InvalidRegistration, UntrustedFile, OSError) as error:
                    problems.append(str(error))
            yield found, problems

    def processes(self) -> frozenset[tuple[int, int]]:
        """Ids and start times of the registered processes of all kept sessions."""
        found = set()
        for name in filter(_NAME.fullmatch, self._names()):
            with contextlib.suppress(InvalidRegistration, UntrustedFile, OSError):
                registration = self._read(name)
                found.add((registration.pid, registration.started))
        return frozenset(found)

    def forget(self, login: RegisteredLogin) -> None:
        """Remove the file of a login of which nothing is left. Raises UntrustedFile."""
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

    def _read(self, name: str) -> Registration:
        return decode(name, trusted_file.read(f"{self.folder}/{name}", limit=_LIMIT))


def _opened(name: str, registration: Registration, descriptors: contextlib.ExitStack) -> RegisteredLogin:
    """The login with a pidfd of its process. Raises InvalidRegistration and OSError."""
    ended = RegisteredLogin(name, registration, None)
    try:
        pidfd = os.pidfd_open(registration.pid)
    except (ProcessLookupError, OverflowError):
        return ended
    descriptors.callback(os.close, pidfd)
    # Looked at after the pidfd was made: if it is the process now, the pidfd is of that one.
    process = processes.look(registration.pid)
    login = RegisteredLogin(name, registration, pidfd)
    if process is None and not login.has_ended():
        raise InvalidRegistration(f"/proc does not show process {registration.pid} (mount option hidepid=)")
    return login if process is not None and process.started == registration.started else ended
